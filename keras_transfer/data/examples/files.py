"""Examples whose content is the bytes of a file: files, rows of one array of bytes, or Python objects."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.storage.content_hashes import FileHashes, Stamp, hash_content
from keras_transfer.storage.inside import read_regular
from keras_transfer.storage.stored_arrays import StoredArray


class FileExamples(Examples, Protocol):
    """Examples that are encoded as files, wherever they are stored."""

    @property
    def home(self) -> str:
        """Where the examples are stored: results of the scan are cached for each such location."""

    @property
    def places(self) -> list[str]:
        """The location of each example, for messages and for cached results."""

    @property
    def stamps(self) -> list[Stamp]:
        """What is known about each example without reading it."""

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Store the hashes of examples that were read, by row."""

    def read(self, row: int) -> bytes:
        """Return the bytes of one example.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not an example of this kind.
        """


@dataclass(frozen=True)
class Files:
    """Files of a folder.

    Attributes:
        root: The folder that the names are relative to.
        hashes: Caches the hashes of their contents; by default one cache for the folder.
    """

    root: Path
    names: tuple[str, ...]
    hashes: FileHashes = field(default=None, compare=False, repr=False, kw_only=True)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.hashes is None:
            object.__setattr__(self, "hashes", FileHashes(str(self.root)))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> list[str]:
        """Absolute paths."""
        return [str(self.root / name) for name in self.names]

    @property
    def fingerprints(self) -> list[str]:
        return join_fingerprints(self)

    @property
    def content_hashes(self) -> list[str]:
        """The hash of each file; files that have changed since they were last read are read again."""
        return self.hashes.hash_all(self.files)

    @property
    def home(self) -> str:
        return str(self.root)

    @property
    def places(self) -> list[str]:
        return self.files

    @property
    def stamps(self) -> list[Stamp]:
        return [self.hashes.stamp(file) for file in self.files]

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        self.hashes.add({str(self.root / self.names[row]): stamp for row, stamp in stamps.items()})

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        return replace(self, names=tuple(self.names[row] for row in rows))

    def read(self, row: int) -> bytes:
        return read_regular(self.root / self.names[row])


@dataclass(frozen=True)
class EncodedFiles:
    """The bytes of files, concatenated in one array.

    Attributes:
        names: The name of each in messages.
        data: ``uint8[bytes]``, a memory map.
        bounds: ``int64[n, 2]``, where each starts and ends.
        digests: ``uint8[n, 32]``, the content hash of each.
    """

    home: str
    names: tuple[str, ...]
    data: StoredArray
    bounds: NDArray[np.int64]
    digests: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprints(self) -> list[str]:
        return join_fingerprints(self)

    @property
    def content_hashes(self) -> list[str]:
        return [digest.tobytes().hex() for digest in self.digests]

    @property
    def places(self) -> list[str]:
        return list(self.names)

    @property
    def stamps(self) -> list[Stamp]:
        """The hash of each: the array never changes."""
        return [Stamp((), content) for content in self.content_hashes]

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Do nothing: the hashes are stored with the array."""

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        index = np.asarray(rows, np.int64)
        names = tuple(self.names[row] for row in index)
        return replace(self, names=names, bounds=self.bounds[index], digests=self.digests[index])

    def read(self, row: int) -> bytes:
        begin, end = self.bounds[row]
        return self.data.read(int(begin), int(end)).tobytes()


@dataclass(frozen=True)
class GivenFiles:
    """Examples that are not one folder or one array: each is a path, or an object that :meth:`encode` encodes.

    Attributes:
        names: The name of each in messages and predictions.
        values: For each, a path, the bytes of a file, or an object that :meth:`encode` encodes.
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.values)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a file for an example that is not a path.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not an example of this kind.
        """
        return bytes(value)

    @property
    def fingerprints(self) -> list[str]:
        return join_fingerprints(self)

    @property
    def content_hashes(self) -> list[str]:
        return [self._hash(row) for row in range(len(self))]

    def _hash(self, row: int) -> str:
        try:
            return hash_content(self.read(row))
        except (OSError, ValueError):
            return ""

    @property
    def home(self) -> str:
        """They have no common location."""
        return ""

    @property
    def places(self) -> list[str]:
        return list(self.names)

    @property
    def stamps(self) -> list[Stamp]:
        """Return nothing for objects that are not files: a scan checks each of them again."""
        return [Stamp((), "")] * len(self)

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Do nothing: these examples are read once."""

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        return replace(
            self, names=tuple(self.names[row] for row in rows), values=tuple(self.values[row] for row in rows)
        )

    @property
    def are_paths(self) -> bool:
        """Whether each is a path."""
        return all(isinstance(value, (str, os.PathLike)) for value in self.values)

    def read(self, row: int) -> bytes:
        """Return the bytes of one example.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not an example of this kind.
        """
        value = self.values[row]
        return _read_file(value) if isinstance(value, (str, os.PathLike)) else self.encode(value)


def join_fingerprints(examples: Examples) -> list[str]:
    """Return name and content of each example."""
    return [f"{name}\0{content}" for name, content in zip(examples.names, examples.content_hashes, strict=True)]


def _read_file(file: str | os.PathLike[str]) -> bytes:
    if not str(file):
        raise ValueError("an empty path")
    if os.path.exists(file) and not os.path.isfile(file):
        raise ValueError("a folder" if os.path.isdir(file) else "not a file")
    return Path(file).read_bytes()
