"""Weights from a run folder: the backbone that an earlier run trained, for a recipe with another head to start from."""

from pathlib import Path

from keras_transfer.config.earlier import convert_earlier
from keras_transfer.config.recipe_file import parse_recipe, read_recipe
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.errors import BackboneError, ConfigError
from keras_transfer.storage.inside import check_inside
from keras_transfer.storage.sums import check_file

_RECIPE, _DATA, _MODEL = "recipe.yaml", "data.json", "model.keras"


def find_run_model(folder: Path, name: str) -> Path:
    """Find the model of an earlier run.

    Args:
        name: Name of the backbone in the recipe that starts from it; folders of presets are compared by path.

    Returns:
        The run's model file. Adapters that the run trained are merged in it.

    Raises:
        BackboneError: It is no run folder, the run did not finish, or it trained another backbone.
    """
    config = read_run_recipe(folder)
    if not _is_same(config.backbone.name, name):
        raise BackboneError(
            f"Run {folder} (task {config.task}) trained another backbone: {config.backbone.name}. "
            f"Received: backbone.name={name}. Set backbone.name={config.backbone.name}, or name a run of {name}."
        )
    check_file(folder, _MODEL)
    return folder / _MODEL


def read_run_recipe(folder: Path, key: str = "backbone.weights") -> RecipeConfig:
    """Read the recipe in the folder of a finished run.

    Raises:
        BackboneError: It is no run folder, its run did not finish, or its recipe is damaged.
        CheckpointError: Something in it is a link that leads out of it.
    """
    file = folder / _RECIPE
    if folder.is_dir():
        check_inside(folder, files=(_RECIPE, _DATA, _MODEL), folders=("tokenizer",))
    if not file.is_file():
        raise BackboneError(
            f"{folder} is not a run folder: it has no {_RECIPE}. Received: {key}={folder}. "
            f"Name the folder that `keras-transfer run` printed{', or a file of weights' * (key != 'data.splits_of')}."
        )
    missing = [name for name in (_DATA, _MODEL) if not (folder / name).is_file()]
    if missing:
        raise BackboneError(
            f"Run {folder} did not finish: it lacks {', '.join(missing)}. Received: {key}={folder}. "
            "Make the run again, or name another one."
        )
    try:
        return parse_recipe(convert_earlier(read_recipe(file)), known={}, where=str(file))
    except ConfigError as error:
        raise BackboneError(f"Run {folder} cannot be read. {error}\nTake a whole copy of the folder.") from error


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    folders = [Path(name).expanduser() for name in (one, other)]
    return all(folder.exists() for folder in folders) and folders[0].resolve() == folders[1].resolve()
