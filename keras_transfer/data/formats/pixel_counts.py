"""Read the number of an image's pixels from its header in a TensorFlow graph, before anything is decoded.

A decoder allocates memory for the size in the header: 10 KB of WebP may announce 16,383 x 16,383 pixels.
"""

import functools

import tensorflow as tf

from keras_transfer.data.formats.decoders import find_gif_frame
from keras_transfer.data.formats.npy import MARK, header_of_array
from keras_transfer.data.formats.orientation import rarely, read_number
from keras_transfer.networks.types import Tensor

# Padding after the last byte that is read, for formats whose headers have a fixed layout.
_HEADER = 70
_BMP_HEADERS, _BMP_DEPTHS = (40, 52, 56, 64, 108, 124), (1, 4, 8, 24, 32)
_BMP_BITFIELDS, _BMP_MASKS = 3, (0x00FF0000, 0x0000FF00, 0x000000FF)


def count_pixels(content: Tensor) -> Tensor:
    """Return the number of pixels according to the header of an image.

    Args:
        content: ``string[]``, the bytes of a file.

    Returns:
        ``int64[]``; 0 for other formats, and for variants that TensorFlow would decode as something else. Damage in a
        header may raise an ``InvalidArgumentError`` instead.
    """
    return _counter()(content)


@functools.cache
def _counter() -> Tensor:
    counters = {
        b"\xff\xd8": _count_jpeg,
        b"\x89P": _count_png,
        b"GI": _count_gif,
        b"BM": _count_bmp,
        b"RI": _count_webp,
        MARK[:2]: _count_array,
    }

    def count(content: Tensor) -> Tensor:
        kinds = tf.constant([*counters], tf.string)
        begins = tf.strings.substr(tf.strings.join([content, b"\x00\x00"]), 0, 2) == kinds
        kind = tf.argmax(tf.concat([begins, [True]], axis=0), output_type=tf.int32)
        branches = [functools.partial(one, content) for one in counters.values()]
        return tf.switch_case(kind, [*branches, lambda: tf.constant(0, tf.int64)])

    return tf.function(count, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _count_jpeg(content: Tensor) -> Tensor:
    height, width = tf.unstack(tf.io.extract_jpeg_shape(content, output_type=tf.int32)[:2])
    return tf.cast(height, tf.int64) * tf.cast(width, tf.int64)


def _count_png(content: Tensor) -> Tensor:
    data = _header(content)
    is_first = _has(content, 12, b"IHDR")
    return tf.where(is_first, read_number(data, 16, 4) * read_number(data, 20, 4), 0)


@rarely
def _count_gif(content: Tensor) -> Tensor:
    """The screen, and the part of the first frame beyond it."""
    data = tf.io.decode_raw(content, tf.uint8)
    frame, _ = find_gif_frame(data)
    numbers = [read_number(data, at, 2, little=True) for at in (6, 8, frame + 1, frame + 3, frame + 5, frame + 7)]
    width, height, left, top, frame_width, frame_height = numbers
    is_gif = tf.strings.regex_full_match(tf.strings.substr(content, 0, 6), "GIF8[79]a")
    there = is_gif & (read_number(data, frame, 1) == 0x2C)
    return tf.where(there, tf.maximum(width, left + frame_width) * tf.maximum(height, top + frame_height), 0)


@rarely
def _count_bmp(content: Tensor) -> Tensor:
    """Without the variants that TensorFlow would wrongly read as uncompressed pixels."""
    data = _header(content)
    header, width, height, compression = (read_number(data, at, 4, little=True) for at in (14, 18, 22, 30))
    depth = read_number(data, 28, 2, little=True)
    height = tf.where(height < 2**31, height, 2**32 - height)
    masks = tf.stack([read_number(data, at, 4, little=True) for at in (54, 58, 62)])
    has_masks = (
        (compression == _BMP_BITFIELDS) & (depth == 32) & tf.reduce_all(masks == tf.constant(_BMP_MASKS, tf.int64))
    )
    is_plain = tf.reduce_any(depth == tf.constant(_BMP_DEPTHS, tf.int64)) & ((compression == 0) | has_masks)
    # All rows are complete, and the palette ends before them.
    start, colours = (read_number(data, at, 4, little=True) for at in (10, 46))
    end = start + (width * depth + 31) // 32 * 4 * height
    is_whole = (14 + header <= start) & (end <= tf.cast(tf.strings.length(content), tf.int64)) & (width < 2**31)
    is_whole &= (depth > 8) | (colours <= 2 ** tf.minimum(depth, 8))
    is_known = tf.reduce_any(header == tf.constant(_BMP_HEADERS, tf.int64))
    return tf.where(is_plain & is_known & is_whole, width * height, 0)


@rarely
def _count_webp(content: Tensor) -> Tensor:
    data = _header(content)
    lossy = [read_number(data, at, 2, little=True) % 2**14 for at in (26, 28)]
    packed = read_number(data, 21, 4, little=True)
    lossless = [packed % 2**14 + 1, packed // 2**14 % 2**14 + 1]
    extended = [read_number(data, at, 3, little=True) + 1 for at in (24, 27)]
    found = tf.constant(0, tf.int64)
    for kind, (width, height) in ((b"VP8 ", lossy), (b"VP8L", lossless), (b"VP8X", extended)):
        found = tf.where(_has(content, 12, kind), width * height, found)
    return tf.where(_has(content, 8, b"WEBP"), found, 0)


@rarely
def _count_array(content: Tensor) -> Tensor:
    height, width = tf.unstack(header_of_array(content)[:2])
    return height * width


def _header(content: Tensor) -> Tensor:
    """``uint8[n]``, the first bytes of a file, padded with zeros."""
    padded = tf.strings.join([tf.strings.substr(content, 0, _HEADER), b"\x00" * _HEADER])
    return tf.io.decode_raw(padded, tf.uint8)


def _has(content: Tensor, at: int, expected: bytes) -> Tensor:
    padded = tf.strings.join([tf.strings.substr(content, 0, _HEADER), b"\x00" * _HEADER])
    return tf.strings.substr(padded, at, len(expected)) == expected
