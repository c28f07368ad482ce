"""predictions.npz: the trained model's predictions for the rows that it was evaluated on, with their targets."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.targets.base import Targets
from keras_transfer.storage.atomic import whole

PREDICTIONS = "predictions.npz"
MOST_BYTES = 200_000_000
"""Of all predictions; more are left out: ten thousand rows of five thousand classes."""

_PREDICTED, _TARGETS = "predicted", "targets"


@dataclass(frozen=True)
class Predicted:
    """The predictions for a split, in the order of its rows in data.json.

    Attributes:
        predicted: ``float32[rows, outputs]``, calibrated.
        targets: ``int64[rows]``, an index into the classes; ``float32[rows, outputs]``; or ``object[rows]`` of texts.
    """

    predicted: NDArray[np.float32]
    targets: Targets


def write_predictions(folder: Path, splits: Mapping[str, Predicted]) -> bool:
    """Write the predictions of a run.

    Returns:
        Whether they were written: there may be none, or too many.

    Raises:
        CheckpointError: The file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        arrays[f"{name}.{_PREDICTED}"] = np.asarray(split.predicted, np.float32)
        texts = split.targets.dtype == object  # which NumPy would pickle
        arrays[f"{name}.{_TARGETS}"] = split.targets.astype(str) if texts else split.targets
    if not arrays or sum(array.nbytes for array in arrays.values()) > MOST_BYTES:
        return False
    with whole(folder / PREDICTIONS) as file:
        np.savez(file, allow_pickle=False, **arrays)
    return True


def read_predictions(file: Path, counts: Mapping[str, int], outputs: int | None) -> dict[str, Predicted]:
    """Read the predictions of a run, whose file may come from an untrusted source: shapes are checked before reading.

    Args:
        file: ``predictions.npz``.
        outputs: How many outputs the model has; None if that depends on the rows, whose targets are texts then.

    Returns:
        By the name of the split.

    Raises:
        ValueError: The file has other shapes, has values that are NaN or infinite, or is not a file of predictions.
        OSError: The file cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = set(archive.namelist())
            return {
                name: _read_split(archive, name, count, outputs)
                for name, count in counts.items()
                if f"{name}.{_PREDICTED}.npy" in members
            }
    except (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is not a file of predictions ({error})") from error


def _read_split(archive: zipfile.ZipFile, name: str, count: int, outputs: int | None) -> Predicted:
    if outputs is None:
        predicted = _read_array(archive, f"{name}.{_PREDICTED}", ((count, None),), "f")
        return Predicted(np.asarray(predicted, np.float32), _read_texts(archive, f"{name}.{_TARGETS}", count))
    predicted = _read_array(archive, f"{name}.{_PREDICTED}", ((count, outputs),), "f")
    targets = _read_array(archive, f"{name}.{_TARGETS}", ((count,), (count, outputs)), "fi")
    if targets.ndim == 1 and len(targets) and not 0 <= targets.min() <= targets.max() < outputs:
        raise ValueError(f"the targets of {name} are not classes")
    return Predicted(np.asarray(predicted, np.float32), targets)


_Shape = tuple[int | None, ...]
"""None for a size that is not known."""


def _read_texts(archive: zipfile.ZipFile, name: str, count: int) -> NDArray[Any]:
    """``object[count]`` of ``str``; characters that cannot be written to a page are replaced."""
    texts = _read_values(archive, name, ((count,),), "U").tolist()
    return np.array([text.encode("utf-8", "replace").decode("utf-8") for text in texts], object)


def _read_array(archive: zipfile.ZipFile, name: str, shapes: tuple[_Shape, ...], kinds: str) -> NDArray[Any]:
    values = _read_values(archive, name, shapes, kinds)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are NaN or infinite")
    return values


def _read_values(archive: zipfile.ZipFile, name: str, shapes: tuple[_Shape, ...], kinds: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as stream:
        shape, is_fortran, dtype = _read_header(stream)
        size = dtype.itemsize * math.prod(shape)
        is_wide = (dtype.kind != "U" and dtype.itemsize > 8) or size > MOST_BYTES
        if not any(_fits(shape, one) for one in shapes) or is_fortran or dtype.kind not in kinds or is_wide:
            expected = ["any" if one is None else one for one in shapes[0]]
            raise ValueError(f"{name} is {dtype}{list(shape)}; expected {expected}")
        content = stream.read(size)
    if len(content) != size:
        raise ValueError(f"{name} is truncated")
    return np.frombuffer(content, dtype).reshape(shape)


def _fits(shape: tuple[int, ...], expected: _Shape) -> bool:
    return len(shape) == len(expected) and all(
        size == wanted or (wanted is None and size > 0) for size, wanted in zip(shape, expected, strict=True)
    )


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"unknown version {version} of the .npy format")
