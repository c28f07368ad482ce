"""Images with any number of channels in NumPy's format: version 1.0, ``uint8[height, width, channels]``."""

import io

import numpy as np
import tensorflow as tf
from numpy.lib import format as npy
from numpy.typing import NDArray

from keras_transfer.data.formats.orientation import rarely, read_number
from keras_transfer.networks.types import Tensor

MARK = b"\x93NUMPY"
# Offsets of the length of the header, and of the header.
_LENGTH, _HEADER = 8, 10
_DUE = "a .npy image is uint8[height, width, channels], written by numpy.save"


def encode_array(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as the bytes of a file.

    Args:
        pixels: ``uint8[height, width, channels]``.
    """
    with io.BytesIO() as file:
        npy.write_array(file, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
        return file.getvalue()


def read_array_shape(content: bytes) -> tuple[int, int, int]:
    """Return height, width and channels of a complete file.

    Raises:
        ValueError: It has other content, or is truncated.
    """
    with io.BytesIO(content) as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError(_DUE)
        shape, fortran_order, dtype = npy.read_array_header_1_0(file)
        if len(shape) != 3 or fortran_order or dtype != np.uint8 or 0 in shape:
            raise ValueError(f"{_DUE}, and this is {dtype}{list(shape)}")
        if len(content) - file.tell() != int(np.prod(shape)):
            raise ValueError("cut off")
    height, width, channels = shape
    return height, width, channels


def header_of_array(content: Tensor) -> Tensor:
    """Read the shape of such a file inside a TensorFlow graph.

    Args:
        content: ``string[]``.

    Returns:
        ``int64[3]``: height, width and channels; zeros if it is not an image.
    """
    header = _read_header(content)[0]
    # A pattern is UTF-8: the caller checks the first byte when it chooses a format.
    is_array = tf.strings.regex_full_match(tf.strings.substr(content, 1, 7), r"NUMPY\x01\x00")
    is_image = is_array & tf.strings.regex_full_match(header, _HEADER_OF_IMAGE)
    return tf.cond(is_image, lambda: _read_shape(header), lambda: tf.zeros([3], tf.int64))


_HEADER_OF_IMAGE = r"\{'descr': '\|u1', 'fortran_order': False, 'shape': \(\d+, \d+, \d+\),? ?\}\s*"
_SHAPE = r".*'shape': \((\d+), (\d+), (\d+)\).*"


def _read_header(content: Tensor) -> tuple[Tensor, Tensor]:
    """The text of the header, and the offset after it."""
    first = tf.io.decode_raw(tf.strings.substr(content, 0, _HEADER), tf.uint8)
    start = _HEADER + read_number(first, _LENGTH, 2, little=True)
    return tf.strings.substr(content, _HEADER, tf.cast(start, tf.int32) - _HEADER), start


def _read_shape(header: Tensor) -> Tensor:
    shape = tf.strings.regex_replace(header, f"(?s){_SHAPE}", r"\1 \2 \3")
    return tf.reshape(tf.strings.to_number(tf.strings.split(shape), tf.int64), [3])


@rarely
def decode_array(content: Tensor) -> Tensor:
    """Decode such a file inside a TensorFlow graph.

    Args:
        content: ``string[]``.

    Returns:
        ``uint8[height, width, channels]``.
    """
    header, start = _read_header(content)
    return tf.reshape(tf.io.decode_raw(content, tf.uint8)[start:], _read_shape(header))
