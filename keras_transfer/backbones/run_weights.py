"""Weights from a run folder: the backbone that an earlier run trained, for a recipe with another head to start from."""

import json
from collections.abc import Sequence
from pathlib import Path

from keras_transfer.config import DataConfig, RecipeConfig, parse_recipe, read_recipe
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.texts import TEXT_SAMPLES
from keras_transfer.errors import BackboneError, ConfigError, DataError

_RECIPE, _DATA, _MODEL = "recipe.yaml", "data.json", "model.keras"


def find_run_model(folder: Path, name: str) -> Path:
    """Find the model of an earlier run.

    Args:
        folder: The run folder.
        name: What the recipe that starts from it calls its backbone; a preset's folder is told by its place.

    Returns:
        The run's model file. Adapters, where the run trained some, are merged in it.

    Raises:
        BackboneError: It is no run folder, the run did not finish, or it trained another backbone.
    """
    config = read_run_recipe(folder)
    if not _is_same(config.backbone.name, name):
        raise BackboneError(
            f"Run {folder} (task {config.task}) trained another backbone: {config.backbone.name}. "
            f"Received: backbone.name={name}. Set backbone.name={config.backbone.name}, or name a run of {name}."
        )
    return folder / _MODEL


def read_run_recipe(folder: Path) -> RecipeConfig:
    """Read the recipe that the folder of a finished run keeps.

    Args:
        folder: The run folder.

    Raises:
        BackboneError: It is no run folder, its run did not finish, or its recipe is damaged.
    """
    file = folder / _RECIPE
    if not file.is_file():
        raise BackboneError(
            f"{folder} is no run folder: it has no {_RECIPE}. Received: backbone.weights={folder}. "
            "Name the folder that `keras-transfer run` printed, or a file of weights."
        )
    missing = [name for name in (_DATA, _MODEL) if not (folder / name).is_file()]
    if missing:
        raise BackboneError(
            f"Run {folder} did not finish: it lacks {', '.join(missing)}. Received: backbone.weights={folder}. "
            "Make the run again, or name another one."
        )
    try:
        return parse_recipe(read_recipe(file), known={}, where=str(file))
    except ConfigError as error:
        raise BackboneError(f"Run {folder} cannot be read. {error}\nTake a whole copy of the folder.") from error


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    folders = [Path(name).expanduser() for name in (one, other)]
    return all(folder.exists() for folder in folders) and folders[0].resolve() == folders[1].resolve()


def check_rows_apart(folder: Path, data: DataConfig, test: Sequence[str], *, seed: int) -> None:
    """Refuse a run that learned from rows, or chose its weights by rows, which another recipe is judged by.

    Two sources are the same where they are read from the same place, as the articles and the headlines of BBC News are.

    Args:
        folder: The run folder.
        data: The recipe's data section.
        test: Names of its test rows.
        seed: Of its draws.

    Raises:
        DataError: There are such rows.
        BackboneError: It is no folder of a finished run, or a damaged one.
    """
    config = read_run_recipe(folder)
    try:
        splits = json.loads((folder / _DATA).read_text(encoding="utf-8"))["splits"]
        learned = {
            (place, row[0])
            for part in ("train", "validation")
            for place in [_place(config.data, part)]
            for row in splits[part]["rows"]
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BackboneError(f"{folder / _DATA} is damaged: {error}. Take a whole copy of the run folder.") from error
    earlier = Path(config.backbone.weights)
    if earlier.is_dir() and config.backbone.weights not in ("pretrained", "none"):  # that run started from one, too
        check_rows_apart(earlier, data, test, seed=seed)
    place = _place(data, "test")
    seen = [name for name in test if (place, name) in learned]
    if seen:
        raise DataError(
            f"{len(seen)} of {len(test)} test rows are among those that run {folder} learned from, such as {seen[0]}: "
            f"a figure on them would say too much. Received: seed={seed}, and the run has seed={config.seed}. "
            "Use its seed, shares and strata, so that both leave out the same rows, or name a source for data.test."
        )


def _place(data: DataConfig, part: str) -> str:
    """Where the rows of a split are read from."""
    own = getattr(data, part, None)
    source = own if isinstance(own, str) else data.source
    for samples in (SAMPLES, TEXT_SAMPLES):
        if source in samples:
            return str(samples[source]().root)
    return str(Path(source).expanduser().resolve())
