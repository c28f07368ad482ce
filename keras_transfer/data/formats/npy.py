"""Images of any number of channels, in NumPy's own files: format version 1.0, ``uint8[height, width, channels]``."""

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
    """Return height, width and channels of a file that is whole.

    Args:
        content: Its bytes.

    Raises:
        ValueError: It holds something else, or was cut off.
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


@rarely
def decode_array(content: Tensor) -> Tensor:
    """Decode such a file inside a TensorFlow graph.

    Args:
        content: ``string[]``.

    Returns:
        ``uint8[height, width, channels]``.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    start = _HEADER + read_number(data, _LENGTH, 2, little=True)
    header = tf.strings.substr(content, _HEADER, tf.cast(start, tf.int32) - _HEADER)
    shape = tf.strings.regex_replace(header, r"(?s).*'shape': \((\d+), (\d+), (\d+)\).*", r"\1 \2 \3")
    return tf.reshape(data[start:], tf.strings.to_number(tf.strings.split(shape), tf.int64))
