"""Checkpoints on disk: states are written atomically, and SHA-256 checksums detect damage.

A checkpoint is a folder of three files. ``arrays.safetensors`` has each array once, under the checksum of its content;
``state.json`` has the rest, with these checksums in place of the arrays; ``manifest.json`` has its checksum.
"""

import contextlib
import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from keras_transfer.errors import CheckpointError, TransferWarning
from keras_transfer.storage.atomic import UNFINISHED, sync

_FORMAT = 1
_KEPT = 2
_PREFIX = "checkpoint-"
_NAME = re.compile(rf"{_PREFIX}[0-9]{{6,18}}")
_ARRAYS, _STATE, _MANIFEST = "arrays.safetensors", "state.json", "manifest.json"
_ARRAY = "$array"


class CheckpointStore:
    """Stores the last two checkpoints of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Return the names of all checkpoints, damaged ones included, from the oldest to the newest."""
        return sorted(entry.name for entry in self.folder.glob(f"{_PREFIX}*") if _NAME.fullmatch(entry.name))

    def write(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, then remove the oldest.

        Args:
            state: Nested mappings and sequences of numbers, strings, None and arrays. If it cannot be written and there
                is an earlier checkpoint, that one stays, with a warning.

        Raises:
            CheckpointError: It cannot be written, and there is no earlier one.
        """
        names = self.names()
        name = f"{_PREFIX}{int(names[-1].removeprefix(_PREFIX)) + 1 if names else 1:06}"
        unfinished = self.folder / (UNFINISHED + name)
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(parents=True)
            _write(unfinished, state)
            unfinished.rename(self.folder / name)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            problem = f"The checkpoint cannot be written to {self.folder}: {getattr(error, 'strerror', None) or error}."
            if not names:
                raise CheckpointError(f"{problem} Free disk space there, or choose another --out.") from error
            warnings.warn(
                f"{problem} The run continues, and {names[-1]} stays. Free disk space there.",
                TransferWarning,
                stacklevel=2,
            )
            return
        for old in self.names()[:-_KEPT]:
            self._remove(old)

    def read(self) -> tuple[str, dict[str, Any]] | None:
        """Return name and state of the newest undamaged checkpoint; None if there is no checkpoint at all.

        A damaged one is named in a warning, and removed once an earlier one has been read.

        Raises:
            CheckpointError: All are damaged.
        """
        damaged: list[str] = []
        for name in reversed(self.names()):
            try:
                state = _read(self.folder / name)
            except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
                damaged.append(f"{self.folder / name} is damaged: {error}.")
                continue
            for problem in damaged:
                warnings.warn(f"{problem} Using {name} instead.", TransferWarning, stacklevel=2)
            for newer in self.names()[-len(damaged) :] if damaged else ():
                self._remove(newer)
            return name, state
        if damaged:
            problems = " ".join(damaged)
            raise CheckpointError(
                f"{problems} There is no other checkpoint to resume from. Start the run again in another --out."
            )
        return None

    def clear(self) -> None:
        """Remove the folder with all checkpoints, atomically for other processes."""
        unfinished = self.folder.with_name(UNFINISHED + self.folder.name)
        shutil.rmtree(unfinished, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(unfinished)
            sync(unfinished.parent)
        shutil.rmtree(unfinished, ignore_errors=True)

    def _remove(self, name: str) -> None:
        unfinished = self.folder / (UNFINISHED + name)
        with contextlib.suppress(OSError):
            (self.folder / name).rename(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, state: Mapping[str, Any]) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    content = json.dumps(_pack(state, arrays), ensure_ascii=False).encode()
    save_file(arrays, folder / _ARRAYS)
    (folder / _STATE).write_bytes(content)
    manifest = {"format": _FORMAT, _STATE: hashlib.sha256(content).hexdigest()}
    (folder / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for name in (_ARRAYS, _STATE, _MANIFEST):
        sync(folder / name)
    sync(folder)


def _read(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / _MANIFEST).read_bytes())
    if manifest["format"] != _FORMAT:
        raise ValueError(f"{_MANIFEST}: expected format {_FORMAT}. Received: {manifest['format']}")
    content = (folder / _STATE).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest[_STATE]:
        raise ValueError(f"the checksum of {_STATE} is wrong")
    arrays = load_file(folder / _ARRAYS)
    wrong = sum(_sum(array) != name for name, array in arrays.items())
    if wrong:
        raise ValueError(f"the checksums of {wrong} of {len(arrays)} arrays in {_ARRAYS} are wrong")
    state = _unpack(json.loads(content), arrays)
    if not isinstance(state, dict):
        raise ValueError(f"{_STATE} does not hold a JSON object")
    return state


def _sum(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _pack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return the value with each array replaced by a name; collect the arrays by name, equal ones once."""
    if isinstance(value, np.ndarray):
        array = np.asarray(value, order="C")
        name = _sum(array)
        arrays[name] = array
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {key: _pack(inner, arrays) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(inner, arrays) for inner in value]
    return value


def find_unstorable(value: Any, path: str = "it") -> str | None:
    """Find values that a checkpoint cannot store, so that their origin can be named before one is written.

    Returns:
        A phrase that names the first such value and what it is; None if there is none.
    """
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str) or key == _ARRAY), None)
        if wrong is not None:
            return f"{path} has the key {wrong!r}"
        inner = ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        inner = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        storable = value is None or isinstance(value, str | int | float | np.ndarray)
        return None if storable else f"{path} is of type {type(value).__name__}"
    return next((problem for name, item in inner if (problem := find_unstorable(item, name))), None)


STORABLE = "mappings with string keys, sequences, numbers, strings, None and NumPy arrays"
"""What a checkpoint holds, for messages."""


def _unpack(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        return {key: _unpack(inner, arrays) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unpack(inner, arrays) for inner in value]
    return value
