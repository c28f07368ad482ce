"""Write ``.keras`` files, and load untrusted ones without running code that they name."""

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_transfer.errors import TransferError
from keras_transfer.networks.batch_norm import plain_batch_norm
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.types import Model
from keras_transfer.storage.atomic import whole

_OUR_PACKAGES = ("keras", "keras_hub", "keras_transfer")
_PLAIN_VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__")


def write_keras_file(model: keras.Model, file: Path) -> None:
    """Save a model so that it can be loaded without this package.

    Args:
        file: Ends in ``.keras``.
    """
    with plain_batch_norm(model), _uncompiled(model), whole(file) as unfinished:
        model.save(unfinished)


@contextlib.contextmanager
def _uncompiled(model: Model) -> Iterator[None]:
    """Omit the compile configuration of nested models: loss, metrics and optimizer may be a user's own classes."""
    compiled = [part for part in parts(model) if isinstance(part, keras.Model) and part.compiled]
    for part in compiled:
        part.compiled = False
    try:
        yield
    finally:
        for part in compiled:
            part.compiled = True


def read_keras_file(file: Path, error: type[TransferError]) -> keras.Model:
    """Load a ``.keras`` file if it has only classes of Keras, KerasHub and this package.

    Returns:
        The model, not compiled.

    Raises:
        TransferError: The file is damaged, or names a class or function that could run arbitrary code.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, RecursionError, RuntimeError) as cause:
        raise error(
            f"Model file {file} cannot be read as a .keras file: {cause}. Save it again with model.save()."
        ) from cause
    if damaged is not None:
        raise error(f"Model file {file} is damaged: the checksum of {damaged} in it is wrong. Copy the file again.")
    # The compile configuration is not read.
    parts = {key: value for key, value in config.items() if key != "compile_config"} if isinstance(config, dict) else {}
    try:
        foreign = sorted(set(_foreign_classes(parts)))
    except RecursionError as cause:
        raise error(f"Model file {file} is nested too deep to be a model. Save it again with model.save().") from cause
    if foreign:
        raise error(
            f"Model file {file} contains {', '.join(foreign)}, which could run arbitrary code; only classes of Keras "
            "are loaded. If you trust it, load it yourself and save its weights with save_weights('NAME.weights.h5')."
        )
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as cause:  # Keras raises nearly every kind
        reason = " ".join(str(cause).split())[:500]
        raise error(
            f"Model file {file} cannot be loaded. Keras' message: {reason} Save it again with model.save()."
        ) from cause


def _foreign_classes(config: Any) -> Iterator[str]:
    """Yield each class or function in a saved configuration that comes from elsewhere, and each Lambda."""
    if isinstance(config, list):
        for value in config:
            yield from _foreign_classes(value)
    if not isinstance(config, dict):
        return
    class_name, module = config.get("class_name"), config.get("module")
    if class_name in ("Lambda", "__lambda__"):
        yield "a Lambda layer"
    elif class_name == "function":
        yield f"the function {config.get('config')}"
    elif class_name is not None and class_name not in _PLAIN_VALUES:
        origin = str(module or config.get("registered_name"))
        if origin.split(".")[0] not in _OUR_PACKAGES:
            yield f"the class {class_name} of {origin}"
    for value in config.values():
        yield from _foreign_classes(value)
