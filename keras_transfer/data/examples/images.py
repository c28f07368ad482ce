"""Images before they are decoded: files, rows of one array of bytes, or Python objects."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from keras_transfer.data.examples.files import EncodedFiles, FileExamples, Files, GivenFiles
from keras_transfer.data.formats.pixels import encode_pillow, encode_pixels
from keras_transfer.networks.types import Tensor


class ImageExamples(FileExamples, Protocol):
    """Images, wherever their bytes are stored."""

    @property
    def kinds(self) -> frozenset[bytes] | None:
        """The bytes that identify the formats of the images; None before a scan."""

    def with_kinds(self, kinds: frozenset[bytes]) -> Self:
        """Return the same images with known formats."""

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function, for a graph, from row numbers ``int64[batch]`` to their bytes, ``string[batch]``."""


@dataclass(frozen=True)
class Images(Files):
    """Image files.

    Attributes:
        kinds: The bytes that identify their formats, after a scan.
    """

    kinds: frozenset[bytes] | None = None

    def with_kinds(self, kinds: frozenset[bytes]) -> Self:
        return replace(self, kinds=kinds)

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that reads files inside the graph."""
        return read_in_graph(self.files)


@dataclass(frozen=True)
class EncodedImages(EncodedFiles):
    """Images whose encoded bytes are concatenated in one array.

    Attributes:
        kinds: The bytes that identify their formats, after a scan.
    """

    kinds: frozenset[bytes] | None = None

    @classmethod
    def of(cls, files: EncodedFiles) -> Self:
        """Return files as images; the bytes are shared."""
        return cls(files.home, files.names, files.data, files.bounds, files.digests)

    def with_kinds(self, kinds: frozenset[bytes]) -> Self:
        return replace(self, kinds=kinds)

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that gathers bytes from the array, with one call per batch."""
        return gather_in_graph(self)


def read_in_graph(files: list[str]) -> Callable[[Tensor], Tensor]:
    """Return a function, for a graph, from row numbers ``int64[batch]`` to the bytes of files, ``string[batch]``."""
    # A name may contain bytes that are not UTF-8.
    names = tf.constant([os.fsencode(file) for file in files], tf.string)
    return lambda rows: tf.map_fn(tf.io.read_file, tf.gather(names, rows))


def gather_in_graph(files: FileExamples) -> Callable[[Tensor], Tensor]:
    """Return a function, for a graph, that reads a batch with one Python call."""

    def gather(rows: NDArray[np.int64]) -> NDArray[np.object_]:
        return np.array([files.read(row) for row in rows], object)

    return lambda rows: tf.ensure_shape(tf.numpy_function(gather, [rows], tf.string, stateful=False), [None])


# Images are read in several threads, and a PIL image that occurs twice would be loaded from its file in both.
_LOADING = threading.Lock()


@dataclass(frozen=True)
class GivenImages(GivenFiles):
    """Images that are not one folder or one array; objects that are not encoded yet are encoded when they are read.

    Attributes:
        names: The name of each in messages and predictions.
        values: For each, a path, the bytes of an image file, ``uint8[height, width, channels]``, or a PIL image.
        kinds: The bytes that identify their formats, once they are known.
    """

    kinds: frozenset[bytes] | None = None

    def encode(self, value: Any) -> bytes:
        """Return bytes unchanged, and pixels as an image file."""
        if isinstance(value, Image.Image):
            with _LOADING:
                return encode_pillow(value)
        return encode_pixels(value) if isinstance(value, np.ndarray) else bytes(value)

    def with_kinds(self, kinds: frozenset[bytes]) -> Self:
        return replace(self, kinds=kinds)

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that reads files inside the graph, or encodes a batch with one call."""
        return read_in_graph([os.fspath(value) for value in self.values]) if self.are_paths else gather_in_graph(self)
