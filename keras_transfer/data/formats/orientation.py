"""EXIF orientation, read from the bytes of an image in a TensorFlow graph: TensorFlow's decoder ignores it.

EXIF 2.32, section 4.6.4: tag 0x0112 of the first directory; 1 is upright. Damaged EXIF is upright too.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_transfer.networks.types import Tensor

_TAG, _SHORT, _LONG = 0x0112, 3, 4
_BEFORE_TIFF = b"Exif\x00\x00"


def rarely(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function for graphs into one operation.

    If they were inlined, the operations of a branch that is not taken would be visited one by one, too.
    """
    whole: Callable[..., Any] = tf.function(
        function, autograph=False, reduce_retracing=True, experimental_attributes={"_noinline": True}
    )
    return whole


def orient(pixels: Tensor, orientation: Tensor) -> Tensor:
    """Rotate and flip an image upright.

    Args:
        pixels: ``[height, width, channels]``, as stored in the file.
        orientation: ``int64[]``, 1 to 8, as EXIF counts.

    Returns:
        The same pixels upright; 5 to 8 swap height and width.
    """
    return tf.cond(orientation > 1, lambda: _turn(pixels, orientation), lambda: pixels)


@rarely
def _turn(pixels: Tensor, orientation: Tensor) -> Tensor:
    turned = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    turned = tf.cond(_is_one_of(orientation, (2, 3, 6, 7)), lambda: tf.reverse(turned, [1]), lambda: turned)
    return tf.cond(_is_one_of(orientation, (3, 4, 7, 8)), lambda: tf.reverse(turned, [0]), lambda: turned)


def orientation_of_jpeg(content: Tensor) -> Tensor:
    """Read the orientation from a JPEG's APP1 segment.

    Args:
        content: ``string[]``, the bytes of the file.

    Returns:
        ``int64[]``, 1 to 8.
    """
    # Most files have none, and searching for the tag is one fast operation; iterating over segments takes many.
    parts = _divide(content, _BEFORE_TIFF)
    return tf.cond(tf.size(parts) > 1, lambda: _orientation_of_app1(parts), _upright)


@rarely
def _orientation_of_app1(parts: Tensor) -> Tensor:
    return tf.cond(_is_app1(parts[0]), lambda: _orientation_of_tiff(parts[1]), _upright)


def orientation_of_png(content: Tensor) -> Tensor:
    """Read the orientation from a PNG's eXIf chunk; see :func:`orientation_of_jpeg`."""
    parts = _divide(content, b"eXIf")
    return tf.cond(tf.size(parts) > 1, lambda: _orientation_of_tiff(parts[1]), _upright)


def orientation_of_webp(content: Tensor) -> Tensor:
    """Read the orientation from a WebP's EXIF chunk; see :func:`orientation_of_jpeg`."""
    parts = _divide(content, b"EXIF")

    def read() -> Tensor:
        chunk = tf.strings.substr(parts[1], tf.minimum(4, tf.strings.length(parts[1])), 2**31 - 1)  # after its length
        # Some writers put JPEG's prefix before it.
        tiff = tf.strings.regex_replace(chunk, rb"\AExif\x00\x00", b"")
        return _orientation_of_tiff(tiff)

    return tf.cond(tf.size(parts) > 1, read, _upright)


def _upright() -> Tensor:
    return tf.constant(1, tf.int64)


def _is_one_of(orientation: Tensor, numbers: tuple[int, ...]) -> Tensor:
    return tf.reduce_any(orientation == tf.constant(numbers, tf.int64))


def _divide(content: Tensor, mark: bytes) -> Tensor:
    """``string[2]``: the parts before and after a marker; ``string[1]`` if there is none."""
    return tf.strings.split([content], mark, maxsplit=1).flat_values


def _is_app1(before: Tensor) -> Tensor:
    """Whether a JPEG's segments are valid up to an APP1 at the end of the given bytes.

    Otherwise, the EXIF may be that of a thumbnail, or of a second image after the first.
    """
    data = tf.io.decode_raw(before, tf.uint8)
    end = tf.size(data, tf.int64) - 4

    def is_segment(at: Tensor) -> Tensor:
        mark, kind = read_number(data, at, 1), read_number(data, at + 1, 1)
        return (at < end) & (mark == 0xFF) & (kind >= 0xC0) & (kind != 0xDA) & (read_number(data, at + 2, 2) >= 2)

    (at,) = tf.while_loop(is_segment, lambda at: [at + 2 + read_number(data, at + 2, 2)], [tf.constant(2, tf.int64)])
    return (at == end) & (read_number(data, end, 2) == 0xFFE1)


@rarely
def _orientation_of_tiff(tiff: Tensor) -> Tensor:
    data = tf.io.decode_raw(tiff, tf.uint8)
    size = tf.size(data, tf.int64)
    start = tf.strings.substr(tf.strings.join([tiff, b"\x00" * 4]), 0, 4)
    little = start == b"II*\x00"
    directory = read_number(data, 4, 4, little=little)
    count = tf.minimum(read_number(data, directory, 2, little=little), (size - directory - 2) // 12)
    entries = directory + 2 + 12 * tf.range(tf.maximum(count, 0))
    found = tf.boolean_mask(entries, read_number(data, entries, 2, little=little) == _TAG)
    entry = tf.concat([found, [0]], axis=0)[0]
    kind = read_number(data, entry + 2, 2, little=little)
    short, long = (read_number(data, entry + 8, width, little=little) for width in (2, 4))
    value = tf.where(kind == _LONG, long, short)
    holds = (little | (start == b"MM\x00*")) & (tf.size(found) > 0) & ((kind == _SHORT) | (kind == _LONG))
    return tf.where(holds & (value >= 1) & (value <= 8), value, 1)


def read_number(data: Tensor, at: Tensor, width: int, *, little: Tensor = False) -> Tensor:
    """Read integers from bytes.

    Args:
        data: ``uint8[n]``.
        at: Offsets, integers of any shape; bytes outside of the data have arbitrary values.
        width: Number of bytes of each integer, up to 4.
        little: ``bool[]``, whether the byte order is little-endian.

    Returns:
        ``int64[...]``, at least 0.
    """
    places = tf.expand_dims(tf.cast(at, tf.int64), -1) + tf.range(width, dtype=tf.int64)
    # One more byte, in case the data is empty.
    digits = tf.gather(tf.concat([data, [0]], axis=0), tf.clip_by_value(places, 0, tf.size(data, tf.int64)))
    factors = [256**place for place in range(width)]
    factors = tf.where(little, tf.constant(factors, tf.int64), tf.constant(factors[::-1], tf.int64))
    return tf.reduce_sum(tf.cast(digits, tf.int64) * factors, axis=-1)
