"""Images before they are decoded: files, or rows of one array of bytes."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.networks.types import Tensor
from keras_transfer.storage.content_hashes import FileHashes, Stamp
from keras_transfer.storage.inside import read_regular
from keras_transfer.storage.stored_arrays import StoredArray


class ImageExamples(Examples, Protocol):
    """Images, wherever their bytes are stored."""

    @property
    def home(self) -> str:
        """Where they are stored: results of the scan are cached for each such location."""

    @property
    def places(self) -> list[str]:
        """Where each is, for messages and for cached results."""

    @property
    def stamps(self) -> list[Stamp]:
        """What is known of each without reading it."""

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Remember the hashes of images that were read, by row."""

    @property
    def kinds(self) -> frozenset[bytes] | None:
        """The bytes that identify the formats of the images; None before a scan."""

    def with_kinds(self, kinds: frozenset[bytes]) -> Self:
        """Return the same images with known formats."""

    def read(self, row: int) -> bytes:
        """Return the bytes of one.

        Raises:
            OSError: It cannot be read.
        """

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function, for a graph, from row numbers ``int64[batch]`` to their bytes, ``string[batch]``."""


@dataclass(frozen=True)
class Images:
    """Image files.

    Attributes:
        root: The folder that the names are relative to.
        names: The files' paths.
        kinds: The bytes that identify their formats, after a scan.
        hashes: Remembers the hashes of their contents; by default one for the folder.
    """

    root: Path
    names: tuple[str, ...]
    kinds: frozenset[bytes] | None = None
    hashes: FileHashes = field(default=None, compare=False, repr=False)  # type: ignore[assignment]

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
        """Path and content of each."""
        return [f"{name}\0{content}" for name, content in zip(self.names, self.content_hashes, strict=True)]

    @property
    def content_hashes(self) -> list[str]:
        """The hash of each file; those that have changed since they were last read are read again."""
        return self.hashes.hash_all(self.files)

    @property
    def home(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def places(self) -> list[str]:
        """Absolute paths."""
        return self.files

    @property
    def stamps(self) -> list[Stamp]:
        """State and hash of each."""
        return [self.hashes.stamp(file) for file in self.files]

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Remember hashes of files that were read."""
        self.hashes.add({str(self.root / self.names[row]): stamp for row, stamp in stamps.items()})

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Images":
        """Return some, in this order."""
        return replace(self, names=tuple(self.names[row] for row in rows))

    def with_kinds(self, kinds: frozenset[bytes]) -> "Images":
        """Return the same images with known formats."""
        return replace(self, kinds=kinds)

    def read(self, row: int) -> bytes:
        """Return the bytes of one."""
        return read_regular(self.root / self.names[row])

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that reads files inside the graph."""
        # A name may have bytes that are not UTF-8.
        files = tf.constant([os.fsencode(file) for file in self.files], tf.string)
        return lambda rows: tf.map_fn(tf.io.read_file, tf.gather(files, rows))


@dataclass(frozen=True)
class EncodedImages:
    """Images whose encoded bytes are stored one after the other in one array.

    Attributes:
        home: Where the array is stored.
        names: The name of each in messages.
        data: ``uint8[bytes]``, read when an image is.
        bounds: ``int64[n, 2]``, where each starts and ends.
        digests: ``uint8[n, 32]``, the hash of each.
        kinds: The bytes that identify their formats, after a scan.
    """

    home: str
    names: tuple[str, ...]
    data: StoredArray
    bounds: NDArray[np.int64]
    digests: NDArray[np.uint8]
    kinds: frozenset[bytes] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each."""
        return [f"{name}\0{content}" for name, content in zip(self.names, self.content_hashes, strict=True)]

    @property
    def content_hashes(self) -> list[str]:
        """The hash of each one's content, whatever its name."""
        return [digest.tobytes().hex() for digest in self.digests]

    @property
    def places(self) -> list[str]:
        """Their names."""
        return list(self.names)

    @property
    def stamps(self) -> list[Stamp]:
        """The hash of each: the array never changes."""
        return [Stamp((), content) for content in self.content_hashes]

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Do nothing: the hashes are stored with the array."""

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "EncodedImages":
        """Return some, in this order; the bytes are shared."""
        index = np.asarray(rows, np.int64)
        names = tuple(self.names[row] for row in index)
        return replace(self, names=names, bounds=self.bounds[index], digests=self.digests[index])

    def with_kinds(self, kinds: frozenset[bytes]) -> "EncodedImages":
        """Return the same images with known formats."""
        return replace(self, kinds=kinds)

    def read(self, row: int) -> bytes:
        """Return the bytes of one."""
        begin, end = self.bounds[row]
        return self.data.read(int(begin), int(end)).tobytes()

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that takes bytes from the array, with one call per batch."""

        def gather(rows: NDArray[np.int64]) -> NDArray[np.object_]:
            return np.array([self.read(row) for row in rows], object)

        return lambda rows: tf.ensure_shape(tf.numpy_function(gather, [rows], tf.string, stateful=False), [None])
