"""A cache of files under a budget: an entry exists as a whole or not at all.

It has features as arrays that are memory-mapped, and the images of sources that are not image files. An entry is a
folder that is written under a temporary name and renamed when it is complete. If two processes write the same entry at
once, the second one discards its own.
"""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.errors import TransferWarning

Arrays = tuple[NDArray[Any], ...]

_META = "entry.json"
_UNFINISHED = ".unfinished-"
_OF_THIS_MACHINE = f"{_UNFINISHED}{socket.gethostname()}-"
_SECONDS_UNTIL_ABANDONED = 24 * 3600.0
_CHECKED_BYTES = 1 << 24


def cache_folder() -> Path:
    """Return the cache folder: ``KERAS_TRANSFER_CACHE``, or a folder in the user's cache folder.

    A user without a home has a folder of their own among the temporary files.
    """
    own = os.environ.get("KERAS_TRANSFER_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "keras_transfer"
    except RuntimeError:
        user = getattr(os, "getuid", int)()
        return Path(tempfile.gettempdir()) / f"keras_transfer-{user}"


@dataclass(frozen=True)
class Entry:
    """An entry of the store.

    Attributes:
        key: Names it.
        description: What it is, for people.
        size: Bytes on disk.
        used: When it was last read or written, in seconds since 1970.
    """

    key: str
    description: str
    size: int
    used: float


class FeatureStore:
    """Stores files, most of them arrays, by key.

    Args:
        folder: Made when the first entry is written.
        max_bytes: The least recently used entries are removed to stay below it; None removes none.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._checked: set[str] = set()

    def entries(self) -> list[Entry]:
        """Return all entries, least recently used first."""
        found = []
        for meta in self._folder.glob(f"*/{_META}"):
            with contextlib.suppress(OSError):  # another process may just have removed it
                size = sum(file.stat().st_size for file in meta.parent.iterdir())
                found.append(Entry(meta.parent.name, _description(meta), size, meta.stat().st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def leftovers(self) -> list[Entry]:
        """Return what processes have left that were killed while they wrote an entry."""
        found = []
        for folder in filter(_is_abandoned, self._folder.glob(f"{_UNFINISHED}*")):
            with contextlib.suppress(OSError):
                size = sum(file.stat().st_size for file in folder.iterdir())
                found.append(Entry(folder.name, "left by a process that was killed", size, folder.stat().st_mtime))
        return found

    def clear_leftovers(self) -> None:
        """Remove what processes have left that were killed while they wrote an entry."""
        for entry in self.leftovers():
            _remove(self._folder / entry.key)

    def clear(self) -> None:
        """Remove every entry, and what interrupted writing has left."""
        for folder in self._folder.glob("*"):
            _remove(folder)

    def find(self, key: str) -> Arrays | None:
        """Return an entry's arrays, memory-mapped and read-only; None if there is no such entry.

        A damaged entry is removed, with a warning.
        """
        names = self.find_files(key)
        return None if names is None else tuple(np.load(file, mmap_mode="r", allow_pickle=False) for file in names)

    def find_files(self, key: str) -> list[Path] | None:
        """Return an entry's files, in the order in which they were published; None if there is no such entry.

        A damaged entry is removed, with a warning.
        """
        folder = self._folder / key
        if not folder.is_dir():
            return None
        try:
            names = self._check(folder)
            os.utime(folder / _META)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"The cached files in {folder} are damaged ({error}) and were removed; they will be computed again.",
                TransferWarning,
                stacklevel=2,
            )
            _remove(folder)
            return None
        return [folder / name for name in names]

    def _check(self, folder: Path) -> list[str]:
        """Check the checksums of an entry's files, since a crash of the machine can leave zeros; return their names."""
        files = json.loads((folder / _META).read_text(encoding="utf-8"))["files"]
        if folder.name not in self._checked:
            for name, checksum in files.items():
                if _checksum(folder / name) != checksum:
                    raise ValueError(f"the checksum of {name} is wrong")
            self._checked.add(folder.name)
        return list(files)

    def write(
        self, key: str, description: str, *, shapes: Sequence[tuple[int, ...]], dtype: str, batches: Iterable[Arrays]
    ) -> Arrays | None:
        """Add an entry of arrays.

        Args:
            key: Names it.
            description: What it is, for people.
            shapes: Of each array.
            dtype: Of all of them.
            batches: The arrays in pieces along the first axis, or along the first two axes flattened, in order.

        Returns:
            The arrays, memory-mapped; None, with a warning, if they exceed the budget or cannot be written.
        """
        needed = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape in shapes)
        if self._max_bytes is not None and needed > self._max_bytes:
            _warn(f"Features of {needed:,} bytes exceed cache.max_bytes ({self._max_bytes:,})")
            return None
        try:
            with self.begin(needed) as unfinished:
                names = _write_arrays(unfinished, shapes, np.dtype(dtype), batches)
                self.publish(unfinished, key, description, names)
        except OSError as error:
            _warn(f"Features cannot be cached in {self._folder}: {error.strerror or error}")
            return None
        return self.find(key)

    @contextlib.contextmanager
    def begin(self, needed: int = 0) -> Iterator[Path]:
        """Make a folder for the files of an entry; it is removed if it is not published.

        Args:
            needed: Bytes to make room for, if they are known.

        Raises:
            OSError: The folder cannot be written.
        """
        unfinished = self._folder / _name_unfinished()
        try:
            self._make_room(needed)
            unfinished.mkdir(parents=True)
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def publish(self, unfinished: Path, key: str, description: str, names: Sequence[str]) -> None:
        """Make an entry of the files in a folder.

        Args:
            unfinished: From :meth:`begin`.
            key: Names the entry; an existing one of this name stays.
            description: What it is, for people.
            names: Of the files.

        Raises:
            OSError: It cannot be written.
        """
        files = {name: _checksum(unfinished / name) for name in names}
        (unfinished / _META).write_text(json.dumps({"description": description, "files": files}), encoding="utf-8")
        try:
            unfinished.rename(self._folder / key)
        except OSError:
            if not (self._folder / key).is_dir():
                raise
            return  # another process was faster
        self._checked.add(key)

    def _make_room(self, needed: int) -> None:
        self.clear_leftovers()
        if self._max_bytes is None:
            return
        entries = self.entries()
        excess = sum(entry.size for entry in entries) + needed - self._max_bytes
        for entry in entries:
            if excess <= 0:
                break
            _remove(self._folder / entry.key)
            excess -= entry.size


def _write_arrays(
    folder: Path, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any], batches: Iterable[Arrays]
) -> list[str]:
    """Write arrays piece by piece; return the name of each file.

    They are not memory-mapped for writing: on a full disk that kills the process, while a write raises an error.
    """
    names = [f"{index}.npy" for index in range(len(shapes))]
    written = [0] * len(shapes)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in names]
        for file, shape in zip(files, shapes, strict=True):
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            for index, (file, array) in enumerate(zip(files, batch, strict=True)):
                file.write(np.ascontiguousarray(array, dtype).data)
                written[index] += array.size
    expected = [int(np.prod(shape)) for shape in shapes]
    if written != expected:
        raise ValueError(f"The pieces of an entry hold {written} numbers. Its shapes need {expected}.")
    return names


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while piece := stream.read(_CHECKED_BYTES):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _description(meta: Path) -> str:
    try:
        return str(json.loads(meta.read_text(encoding="utf-8"))["description"])
    except (ValueError, KeyError, TypeError):
        return "damaged"


def _remove(folder: Path) -> None:
    """Rename the folder first, so that nobody finds half an entry. Who has it memory-mapped can still read it."""
    unfinished = folder.parent / _name_unfinished()
    with contextlib.suppress(OSError):
        folder.rename(unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)


def _name_unfinished() -> str:
    """A folder that nobody reads, named after the process that writes it."""
    return f"{_OF_THIS_MACHINE}{os.getpid()}-{uuid.uuid4().hex}"


def _is_abandoned(folder: Path) -> bool:
    """Whether no process writes an unfinished entry any more: its process has ended, or nobody wrote for a day."""
    number = folder.name.removeprefix(_OF_THIS_MACHINE).partition("-")[0]
    if folder.name.startswith(_OF_THIS_MACHINE) and number.isdecimal() and os.name == "posix":
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # it is another user's
            return False
    try:
        return time.time() - folder.stat().st_mtime > _SECONDS_UNTIL_ABANDONED
    except OSError:
        return False


def _warn(problem: str) -> None:
    warnings.warn(f"{problem}. This phase runs without the cache.", TransferWarning, stacklevel=3)
