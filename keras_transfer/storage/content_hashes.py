"""Hashes that identify examples: BLAKE3 of their content, regardless of name and location; cached results of scans."""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from keras_transfer.storage.cache_store import cache_folder


def recall(record: Path, kinds: Sequence[type]) -> dict[str, list[Any]]:
    """Return cached results; damaged ones count as missing.

    Args:
        kinds: The exact type of each value of a row.
    """
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    expected = list(kinds)
    return {key: row for key, row in values.items() if isinstance(row, list) and list(map(type, row)) == expected}


def remember(record: Path, values: Mapping[str, Sequence[Any]]) -> None:
    """Cache results. If this fails, the next run scans again."""
    temporary = record.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(values), encoding="utf-8")
            temporary.replace(record)
        finally:
            temporary.unlink(missing_ok=True)


HASH = "blake3"
"""What the hashes are called where they are recorded."""

_PIECE = 1 << 24
_TICK_SECONDS = 0.02


class Stamp(NamedTuple):
    """What is known about a file without reading it.

    Attributes:
        state: Size, modification time and change time in nanoseconds, and inode; empty if there is no such file.
        content_hash: The hash of its content, if it was computed in this state, else empty.
    """

    state: tuple[int, ...]
    content_hash: str


def hash_content(*pieces: bytes) -> str:
    """Return the hash of bytes; several pieces are hashed with their lengths, so that their bounds matter."""
    if len(pieces) == 1:
        return blake3(pieces[0]).hexdigest()
    digest = blake3()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little") + piece)
    return digest.hexdigest()


def hash_file(file: str | Path) -> str:
    """Return the hash of a file's content.

    Raises:
        OSError: It cannot be read.
    """
    digest = blake3()
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


class FileHashes:
    """Hashes of files, cached between runs: an unchanged file is not read again.

    A file counts as unchanged if its absolute path, size, modification time, change time and inode are. Copying with
    ``cp -p`` sets the modification time of an earlier file, but no program can set the change time.

    Args:
        home: What the files have in common, such as their folder: there is one cache file for each.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self._known: dict[str, Stamp] | None = None

    def stamp(self, file: str) -> Stamp:
        """Return what is known about a file without reading it."""
        try:
            status = os.stat(file)
        except (OSError, ValueError):
            return Stamp((), "")
        if not stat.S_ISREG(status.st_mode):  # whoever reads a named pipe may wait for ever
            return Stamp((), "")
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self._load().get(_absolute(file))
        if known is not None and known.state == state:
            return known
        if 0 <= time.time_ns() - status.st_ctime_ns < _TICK_SECONDS * 1e9:
            # Times are those of the last tick of the kernel's clock: changes are visible after the next one.
            time.sleep(_TICK_SECONDS)
        return Stamp(state, "")

    def add(self, stamps: Mapping[str, Stamp]) -> None:
        """Cache hashes of files, each with the state of the file before it was read."""
        new = {_absolute(file): stamp for file, stamp in stamps.items() if stamp.state and stamp.content_hash}
        if not new:
            return
        # Another object, or another process, may have added files to the cache.
        self._known = {**self._read(), **(self._known or {}), **new}
        remember(self._record, {file: [*stamp.state, stamp.content_hash] for file, stamp in self._known.items()})

    def hash_all(self, files: Sequence[str]) -> list[str]:
        """Return the hash of each file; empty for files that cannot be read."""
        stamps = {file: self.stamp(file) for file in files}
        unknown = [file for file, stamp in stamps.items() if stamp.state and not stamp.content_hash]
        if unknown:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = list(pool.map(_try_to_hash, unknown, chunksize=16))
            new = {file: Stamp(stamps[file].state, digest) for file, digest in zip(unknown, found, strict=True)}
            self.add(new)
            stamps |= new
        return [stamps[file].content_hash for file in files]

    @property
    def _record(self) -> Path:
        name = hashlib.sha256(os.path.abspath(self._home).encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return cache_folder() / "contents" / f"{name}.json"

    def _load(self) -> dict[str, Stamp]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, Stamp]:
        rows = recall(self._record, (int, int, int, int, str))
        return {file: Stamp(tuple(row[:-1]), row[-1]) for file, row in rows.items()}


def hash_folder(files: Iterable[Path], root: Path) -> list[list[str]]:
    """Return the relative path and the hash of each file, in the order of the paths.

    Raises:
        OSError: One cannot be read.
    """
    ordered = sorted(files)
    hashes = FileHashes(str(root)).hash_all([str(file) for file in ordered])
    lost = [file for file, found in zip(ordered, hashes, strict=True) if not found]
    for file in lost:
        hash_file(file)  # raises what is wrong with it
    return [[file.relative_to(root).as_posix(), found] for file, found in zip(ordered, hashes, strict=True)]


def _absolute(file: str) -> str:
    return file if os.path.isabs(file) else os.path.abspath(file)


def _try_to_hash(file: str) -> str:
    try:
        return hash_file(file)
    except OSError:
        return ""
