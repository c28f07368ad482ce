"""A cache of files with a budget, whose entries are written atomically.

It stores features as arrays, and images of sources that are not image files. An entry is a folder that is written under
a temporary name and renamed when it is complete. If two processes write the same entry at once, the second one discards
its own. Several users may share the folder: entries of others are read, and never removed.
"""

import contextlib
import errno
import io
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel, StrictInt, StrictStr, ValidationError

from keras_transfer.errors import TransferWarning, first_line
from keras_transfer.storage.atomic import UNFINISHED
from keras_transfer.storage.stored_arrays import (
    ArrayFile,
    Arrays,
    HeldArray,
    StoredArray,
    read_held,
    size_of,
    write_arrays,
)

Stored = tuple[StoredArray, ...]

_META = "entry.json"
_OF_THIS_MACHINE = f"{UNFINISHED}{socket.gethostname()}-"
_SECONDS_UNTIL_ABANDONED = 24 * 3600.0
_CHECKED_BYTES = 1 << 24
# Small entries are kept in memory, such as features that a solved head needs.
_MOST_HELD_BYTES = 1 << 26


def cache_folder() -> Path:
    """Return the cache folder: ``KERAS_TRANSFER_CACHE``, or a folder in the user's cache folder.

    A user without a home has a separate folder among the temporary files.
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
        size: Bytes on disk.
        used: When it was last read or written, in seconds since 1970.
    """

    key: str
    description: str
    size: int
    used: float


@dataclass(frozen=True)
class Cleared:
    """The result of :meth:`FeatureStore.clear`.

    Attributes:
        kept: Entries that could not be removed, each with the reason.
    """

    removed: tuple[Entry, ...]
    kept: tuple[tuple[Entry, str], ...]


class _Record(BaseModel):
    """The content of an entry's ``entry.json``: what it is, and the checksum of each file."""

    description: StrictStr
    files: dict[StrictStr, StrictInt]


class FeatureStore:
    """Stores files, most of them arrays, by key.

    Args:
        max_bytes: The user's least recently used entries are removed to stay below it; None removes none.
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
        """Return unfinished entries of processes that were killed."""
        found = []
        for folder in filter(_is_abandoned, self._folder.glob(f"{UNFINISHED}*")):
            with contextlib.suppress(OSError):
                size = sum(file.stat().st_size for file in folder.iterdir())
                found.append(Entry(folder.name, "left by a process that was killed", size, folder.stat().st_mtime))
        return found

    def clear_leftovers(self) -> None:
        """Remove unfinished entries of processes that were killed."""
        for entry in self.leftovers():
            _remove(self._folder / entry.key)

    def clear(self) -> Cleared:
        """Remove every entry of this user, and unfinished ones of killed processes."""
        removed, kept = [], []
        for entry in self.entries():
            reason = _remove(self._folder / entry.key)
            if reason is None:
                removed.append(entry)
            else:
                kept.append((entry, reason))
        for folder in self._folder.glob("*"):
            if not (folder / _META).exists():
                _remove(folder)
        for name in [name for name in _TEMPORARY if name[0] == str(self._folder)]:
            del _TEMPORARY[name]
        return Cleared(tuple(removed), tuple(kept))

    def find(self, key: str, *, shapes: Sequence[tuple[int, ...]], dtype: str) -> Stored | None:
        """Return an entry's arrays; None if there is no such entry."""
        names = self.find_files(key)
        if names is None:
            return _TEMPORARY.get((str(self._folder), key))
        try:
            arrays = tuple(ArrayFile(file) for file in names)
            found = [(array.shape, array.dtype) for array in arrays]
            if found != [(tuple(shape), np.dtype(dtype)) for shape in shapes]:
                raise ValueError("unexpected arrays")
            return tuple(map(HeldArray, map(np.asarray, arrays))) if size_of(arrays) <= _MOST_HELD_BYTES else arrays
        except (OSError, ValueError) as error:
            self.discard(key, error)
            return None

    def find_files(self, key: str) -> list[Path] | None:
        """Return an entry's files, in the order in which they were published; None if there is no such entry.

        A damaged entry counts as missing, with a warning; it is removed if this user has permission.
        """
        folder = self._folder / key
        try:
            if not folder.is_dir():
                return None
            names = self._check(folder)
        except PermissionError:
            return None  # another user's, who keeps it private
        except (OSError, ValueError, RecursionError) as error:
            self.discard(key, error)
            return None
        with contextlib.suppress(OSError):  # a read-only cache, or another user's entry
            os.utime(folder / _META)
        return [folder / name for name in names]

    def discard(self, key: str, error: Exception) -> None:
        """Remove a damaged entry if this user has permission, with a warning."""
        folder = self._folder / key
        reason = _remove(folder)
        done = "were removed" if reason is None else f"could not be removed ({reason})"
        problem = first_line(error) if not isinstance(error, ValidationError) else f"{_META} is not valid"
        warnings.warn(
            f"The cached files in {folder} are damaged ({problem}) and {done}; they will be computed again.",
            TransferWarning,
            stacklevel=3,
        )

    def _check(self, folder: Path) -> list[str]:
        """Check the checksums of an entry's files, since a crash of the machine can leave zeros; return their names."""
        files = _Record.model_validate_json((folder / _META).read_bytes()).files
        if any(name in ("", ".", "..") or Path(name).name != name for name in files):
            raise ValueError(f"{_META} refers to files outside of the entry")
        if folder.name not in self._checked:
            for name, checksum in files.items():
                if _checksum(folder / name) != checksum:
                    raise ValueError(f"the checksum of {name} is wrong")
            self._checked.add(folder.name)
        return list(files)

    def write(
        self,
        key: str,
        description: str,
        *,
        shapes: Sequence[tuple[int, ...]],
        dtype: str,
        batches: Callable[[], Iterable[Arrays]],
    ) -> Stored | None:
        """Add an entry of arrays. If it cannot be written to the folder, only this process can use it.

        Args:
            batches: Computes the arrays in pieces along the first axis, or along the first two axes flattened, in
                order.

        Returns:
            The arrays; None, with a warning, if they exceed the budget, or if there is no space for them anywhere.
        """
        needed = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape in shapes)
        if self._max_bytes is not None and needed > self._max_bytes:
            _warn(f"Features of {needed:,} bytes exceed cache.max_bytes ({self._max_bytes:,}); {_SLOWER}")
            return None
        kind = np.dtype(dtype)

        def fill(files: Sequence[BinaryIO]) -> None:
            write_arrays(files, shapes, kind, batches())

        try:
            with self.begin(needed) as unfinished:
                names = [f"{index}.npy" for index in range(len(shapes))]
                with contextlib.ExitStack() as stack:
                    fill([stack.enter_context((unfinished / name).open("wb")) for name in names])
                self.publish(unfinished, key, description, names)
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            found = self.find(key, shapes=shapes, dtype=dtype)
            if found is not None:
                return found
            problem = f"{key} exists, but cannot be used"
        return self._write_temporarily(key, needed, problem, len(shapes), fill)

    def _write_temporarily(
        self, key: str, needed: int, problem: str, count: int, fill: Callable[[Sequence[BinaryIO]], None]
    ) -> Stored | None:
        """Write arrays to memory, or to files without a name if they are large."""
        problem = f"Features cannot be cached in {self._folder}: {problem}"
        small = needed <= _MOST_HELD_BYTES
        try:
            # On Windows, a temporary file cannot be opened twice.
            files: list[BinaryIO] = [io.BytesIO() if small else _open_temporary() for _ in range(count)]
            fill(files)
            arrays: Stored = tuple(map(ArrayFile, files)) if not small else tuple(map(read_held, files))
        except (OSError, MemoryError):
            _warn(f"{problem}; {_SLOWER}")
            return None
        _warn(f"{problem}. They are computed for this run alone.")
        _hold((str(self._folder), key), arrays, self._max_bytes)
        return arrays

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
            if shutil.disk_usage(unfinished).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def publish(self, unfinished: Path, key: str, description: str, names: Sequence[str]) -> None:
        """Make an entry of the files in a folder.

        Args:
            unfinished: From :meth:`begin`.
            key: The name of the entry; an existing one is kept.

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
        entries = [entry for entry in self.entries() if _is_own(self._folder / entry.key)]
        excess = sum(entry.size for entry in entries) + needed - self._max_bytes
        for entry in entries:
            if excess <= 0:
                break
            _remove(self._folder / entry.key)
            excess -= entry.size


_TEMPORARY: dict[tuple[str, str], Stored] = {}
"""What could not be written to a store's folder, by folder and key: phases and folds of a run share it."""


def _hold(name: tuple[str, str], arrays: Stored, most: int | None) -> None:
    """Keep arrays for this process; the oldest ones are dropped to stay below the budget."""
    _TEMPORARY[name] = arrays
    while most is not None and len(_TEMPORARY) > 1 and sum(map(size_of, _TEMPORARY.values())) > most:
        del _TEMPORARY[next(iter(_TEMPORARY))]


def _open_temporary() -> BinaryIO:
    return tempfile.TemporaryFile(buffering=0)


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


def _is_own(folder: Path) -> bool:
    """Whether this user created a folder; on Windows, where ownership differs, this relies on permissions."""
    find_user = getattr(os, "geteuid", None)
    return find_user is None or folder.stat().st_uid == find_user()


def _remove(folder: Path) -> str | None:
    """Remove an entry of this user; return the reason if that is impossible.

    The folder is renamed first, so that no process finds half an entry. Processes that have it open can still read it.
    """
    unfinished = folder.parent / _name_unfinished()
    try:
        if not _is_own(folder):
            return "it belongs to another user"
        folder.rename(unfinished)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    shutil.rmtree(unfinished, ignore_errors=True)
    return f"{unfinished} is left of it" if unfinished.exists() else None


_SLOWER = "this phase computes them at every step, which is slower"


def _name_unfinished() -> str:
    """The name of an unfinished folder, which includes the process that writes it."""
    return f"{_OF_THIS_MACHINE}{os.getpid()}-{uuid.uuid4().hex}"


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that wrote an unfinished entry has ended; or, if unknown, it has not changed for a day."""
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
    warnings.warn(f"{problem}{'' if problem.endswith('.') else '.'}", TransferWarning, stacklevel=4)
