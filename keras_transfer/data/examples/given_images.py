"""Images that a user holds, each in a form of its own: a path, encoded bytes, pixels, a PIL image."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from PIL import Image

from keras_transfer.data.examples.files import GivenFiles
from keras_transfer.data.examples.images import gather_in_graph, read_in_graph
from keras_transfer.data.formats.pixels import encode_pillow, encode_pixels
from keras_transfer.networks.types import Tensor

# Images are read in several threads, and a PIL image that is given twice would be loaded from its file in both.
_LOADING = threading.Lock()


@dataclass(frozen=True)
class GivenImages(GivenFiles):
    """Images that are not one folder or one array; what is not encoded is encoded when it is read.

    Attributes:
        names: Of each, in messages and predictions.
        values: Of each, a path, the bytes of an image file, ``uint8[height, width, channels]``, or a PIL image.
        kinds: The bytes that identify their formats, once they are known.
    """

    kinds: frozenset[bytes] | None = None

    def encode(self, value: Any) -> bytes:
        """Return bytes as they are, and pixels as an image file."""
        if isinstance(value, Image.Image):
            with _LOADING:
                return encode_pillow(value)
        return encode_pixels(value) if isinstance(value, np.ndarray) else bytes(value)

    def with_kinds(self, kinds: frozenset[bytes]) -> Self:
        """Return the same images with known formats."""
        return replace(self, kinds=kinds)

    def contents(self) -> Callable[[Tensor], Tensor]:
        """Return a function that reads files inside the graph, or encodes a batch with one call."""
        return read_in_graph([os.fspath(value) for value in self.values]) if self.are_paths else gather_in_graph(self)
