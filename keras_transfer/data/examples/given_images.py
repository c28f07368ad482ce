"""Images that a user holds, each in a form of its own: a path, encoded bytes, pixels, a PIL image."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from keras_transfer.data.formats.pixels import encode_pillow, encode_pixels
from keras_transfer.networks.types import Tensor
from keras_transfer.storage.content_hashes import Stamp, hash_content

# Images are read in several threads, and a PIL image that is given twice would be loaded from its file in both.
_LOADING = threading.Lock()


@dataclass(frozen=True)
class GivenImages:
    """Images that are not one folder or one array; what is not encoded is encoded when it is read.

    Attributes:
        names: Of each, in messages and predictions.
        values: Of each, a path, the bytes of an image file, ``uint8[height, width, channels]``, or a PIL image.
        kinds: The bytes that identify their formats, once they are known.
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]
    kinds: frozenset[bytes] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each."""
        return [f"{name}\0{content}" for name, content in zip(self.names, self.content_hashes, strict=True)]

    @property
    def content_hashes(self) -> list[str]:
        """The hash of each one's content; empty if it cannot be read."""
        return [self._hash(row) for row in range(len(self))]

    def _hash(self, row: int) -> str:
        try:
            return hash_content(self.read(row))
        except (OSError, ValueError):
            return ""

    @property
    def home(self) -> str:
        """They have no common place."""
        return ""

    @property
    def places(self) -> list[str]:
        """Their names."""
        return list(self.names)

    @property
    def stamps(self) -> list[Stamp]:
        """Nothing is known of what is not a file: a scan looks at each again."""
        return [Stamp((), "")] * len(self)

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Do nothing: these images are read once."""

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "GivenImages":
        """Return some, in this order."""
        return GivenImages(tuple(self.names[row] for row in rows), tuple(self.values[row] for row in rows), self.kinds)

    def with_kinds(self, kinds: frozenset[bytes]) -> "GivenImages":
        """Return the same images with known formats."""
        return replace(self, kinds=kinds)

    def read(self, row: int) -> bytes:
        """Return the bytes of one.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not an image.
        """
        value = self.values[row]
        if isinstance(value, (str, os.PathLike)):
            return _read_file(value)
        if isinstance(value, Image.Image):
            with _LOADING:
                return encode_pillow(value)
        return encode_pixels(value) if isinstance(value, np.ndarray) else bytes(value)

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that reads files inside the graph, or encodes a batch with one call."""
        if all(isinstance(value, (str, os.PathLike)) for value in self.values):
            files = tf.constant([os.fsencode(value) for value in self.values], tf.string)
            return lambda rows: tf.map_fn(tf.io.read_file, tf.gather(files, rows))

        def gather(rows: NDArray[np.int64]) -> NDArray[np.object_]:
            return np.array([self.read(row) for row in rows], object)

        return lambda rows: tf.ensure_shape(tf.numpy_function(gather, [rows], tf.string, stateful=False), [None])


def _read_file(file: str | os.PathLike[str]) -> bytes:
    if not str(file):
        raise ValueError("an empty path")
    if os.path.exists(file) and not os.path.isfile(file):
        raise ValueError("a folder" if os.path.isdir(file) else "not a file")
    return Path(file).read_bytes()
