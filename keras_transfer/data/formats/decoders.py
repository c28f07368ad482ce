"""From the bytes of an image file to its pixels as a person sees them, in a TensorFlow graph, format by format.

TensorFlow's decoders are used; what they do not support is done here: EXIF orientation, transparent colours of GIF and
PNG, palettes of BMP.
"""

import functools

import tensorflow as tf

from keras_transfer.data.formats.npy import MARK, decode_array
from keras_transfer.data.formats.orientation import (
    orient,
    orientation_of_jpeg,
    orientation_of_png,
    orientation_of_webp,
    rarely,
    read_number,
)
from keras_transfer.networks.types import Tensor

DECODES_WEBP = hasattr(tf.io, "decode_webp")
"""Whether the installed TensorFlow supports WebP."""

# What TensorFlow's own decoders consider too large.
_MOST_NUMBERS = 2**29
_REST = 2**31 - 1
# A minimal APP14 segment.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64" + b"\x00" * 5
_BYTES = [bytes([number]) for number in range(256)]
# The size of a GIF that unpacks from that many bytes is bounded, at 170 MB.
_SMALL_GIF = 2**16
# Offsets of the flags of a GIF's global palette, and of the palette.
_SHARED_FLAGS, _SHARED_PALETTE = 10, 13


def kind_of(content: bytes) -> bytes:
    """Return the first two bytes, which determine the format of an image."""
    return content[:2]


def decode_pixels(content: Tensor, kinds: frozenset[bytes] | None = None) -> Tensor:
    """Decode JPEG, PNG, BMP, WebP, the first frame of a GIF, or NumPy's own file of an image.

    Args:
        content: ``string[]``, the bytes of a file.
        kinds: The values of :func:`kind_of` that will occur; None if any may. Each dataset has a separate graph; one
            for all formats takes half a second to set up, one for PNG a fifth.

    Returns:
        ``uint8[height, width, channels]``, upright: grey, RGB, or either with alpha last; for NumPy's files, their
        channels.
    """
    pixels = _decoder(kinds)(content)
    pixels.set_shape([None, None, None])
    return pixels


@functools.cache
def _decoder(kinds: frozenset[bytes] | None) -> Tensor:
    """Traced once per process, not for every dataset."""
    decoders = {b"\xff\xd8": _decode_jpeg, b"\x89P": _decode_png, b"GI": _decode_gif, b"BM": _decode_bmp}
    decoders[kind_of(MARK)] = decode_array
    if DECODES_WEBP:
        decoders[b"RI"] = _decode_webp
    decoders = {kind: decode for kind, decode in decoders.items() if kinds is None or kind in kinds}

    def dispatch(content: Tensor) -> Tensor:
        begins = tf.strings.substr(tf.strings.join([content, b"\x00\x00"]), 0, 2) == tf.constant([*decoders], tf.string)
        kind = tf.argmax(tf.concat([begins, [True]], axis=0), output_type=tf.int32)
        branches = (*decoders.values(), _decode_any)
        return tf.switch_case(kind, [functools.partial(decode, content) for decode in branches])

    return tf.function(dispatch, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


@rarely
def _decode_any(content: Tensor) -> Tensor:
    return tf.io.decode_image(content, expand_animations=False)


def _decode_jpeg(content: Tensor) -> Tensor:
    # The decoder's default transform is up to five levels off.
    pixels = tf.io.decode_jpeg(_mark_cmyk(content), dct_method="INTEGER_ACCURATE")
    return orient(pixels, orientation_of_jpeg(content))


def _mark_cmyk(content: Tensor) -> Tensor:
    """Add Adobe's marker to CMYK images without it.

    Like browsers and Pillow, this treats all CMYK as inverted, as Adobe writes it; TensorFlow does so only with the
    marker.
    """

    @rarely
    def mark(content: Tensor) -> Tensor:
        has_mark = tf.strings.regex_full_match(content, rb"\C*\x0eAdobe\C*")
        is_cmyk = tf.io.extract_jpeg_shape(content)[2] == 4
        marked = tf.strings.join([b"\xff\xd8", _ADOBE, tf.strings.substr(content, 2, _REST)])
        return tf.where(is_cmyk & ~has_mark, marked, content)

    # Images in JFIF are not CMYK.
    is_jfif = tf.strings.regex_full_match(tf.strings.substr(content, 0, 11), r"\C{6}JFIF\C*")
    return tf.cond(is_jfif, lambda: content, lambda: mark(content))


def _decode_png(content: Tensor) -> Tensor:
    # The transparent colour of an image without a palette only becomes alpha if four channels are requested.
    header = tf.strings.split([content], b"IDAT", maxsplit=1).flat_values[0]
    has_key = tf.strings.regex_full_match(header, r"\C*tRNS\C*")
    pixels = tf.cond(has_key, lambda: tf.io.decode_png(content, channels=4), lambda: tf.io.decode_png(content))
    return orient(pixels, orientation_of_png(content))


@rarely
def _decode_webp(content: Tensor) -> Tensor:
    # An animation without alpha writes past the end of its memory (TensorFlow 2.21); here its header is changed to
    # announce alpha, which avoids that.
    flags = tf.io.decode_raw(tf.strings.substr(tf.strings.join([content, b"\x00" * 21]), 20, 1), tf.uint8)[0]
    kind = tf.strings.regex_full_match(content, r"\C{12}VP8X\C*")
    with_alpha = tf.gather(_BYTES, tf.cast(flags | 0x10, tf.int32))
    is_opaque_animation = kind & (flags & 0x02 > 0)
    content = tf.cond(is_opaque_animation, lambda: _replace(content, 20, with_alpha), lambda: content)
    return orient(_decode_any(content), orientation_of_webp(content))


@rarely
def _decode_gif(content: Tensor) -> Tensor:
    """The first frame on white.

    TensorFlow makes transparent pixels black, and its canvas is no larger than the largest frame. Therefore, before the
    file is decoded, the transparent colour is changed to white in the palette and made opaque, and the frame is moved
    to the corner. The rest of the screen is filled with the transparent colour, or the palette's first.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    frame, control = find_gif_frame(data)
    own, shared = _palette_size(data, frame + 9), _palette_size(data, _SHARED_FLAGS)
    palette, size = tf.where(own > 0, frame + 10, _SHARED_PALETTE), tf.where(own > 0, own, shared)
    colour = read_number(data, control + 6, 1)
    transparent = (control > 0) & (read_number(data, control + 3, 1) % 2 == 1)

    def paint() -> Tensor:
        opaque = _replace(content, control + 3, b"\x00")
        return tf.cond(colour < size, lambda: _replace(opaque, palette + 3 * colour, b"\xff" * 3), lambda: opaque)

    painted = tf.cond(transparent, paint, lambda: content)
    # GIF pixels are bytes, and one code can represent several thousand of them.
    painted = tf.cond(tf.size(data) > _SMALL_GIF, lambda: _cut_behind(painted, data, frame, own), lambda: painted)
    pixels = _decode_any(_replace(painted, frame + 1, b"\x00" * 4))
    free = tf.where(transparent, tf.constant(255, tf.uint8), data[palette : palette + 3])
    return _put_on_screen(pixels, data, frame, free)


def _cut_behind(content: Tensor, data: Tensor, frame: Tensor, colours: Tensor) -> Tensor:
    """A GIF without the part after its first frame: TensorFlow allocates all frames, even to return the first."""
    start = frame + 10 + 3 * colours + 1
    last = tf.size(data, tf.int64) - 1
    (end,) = tf.while_loop(
        lambda at: (at < last) & (data[at] > 0), lambda at: [at + 1 + tf.cast(data[at], tf.int64)], [start]
    )
    return tf.strings.join([tf.strings.substr(content, 0, tf.cast(end + 1, tf.int32)), b";"])


def _put_on_screen(pixels: Tensor, data: Tensor, frame: Tensor, free: Tensor) -> Tensor:
    numbers = [read_number(data, at, 2, little=True) for at in (6, 8, frame + 1, frame + 3, frame + 5, frame + 7)]
    screen_width, screen_height, left, top, width, height = (tf.cast(number, tf.int32) for number in numbers)
    below, right = tf.maximum(screen_height - top - height, 0), tf.maximum(screen_width - left - width, 0)
    around = [[top, below], [left, right], [0, 0]]
    size = tf.cast(top + height + below, tf.int64) * tf.cast(left + width + right, tf.int64)
    with tf.control_dependencies([tf.debugging.assert_less(size * 3, tf.constant(_MOST_NUMBERS, tf.int64))]):
        # Padding adds zeros: the value added to them is the difference from the background colour, modulo 256.
        return tf.pad(pixels[:height, :width] - free, around) + free


def find_gif_frame(data: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets of a GIF's first frame, and of the graphic control extension before it, or 0."""
    end = tf.size(data, tf.int64)

    def goes_on(at: Tensor, control: Tensor, inside: Tensor) -> Tensor:
        return (at < end) & (inside | (read_number(data, at, 1) == 0x21))

    def step(at: Tensor, control: Tensor, inside: Tensor) -> Tensor:
        length = read_number(data, at, 1)
        is_control = ~inside & (read_number(data, at + 1, 1) == 0xF9)
        # An extension consists of blocks with their lengths, up to an empty one.
        return tf.where(inside, at + 1 + length, at + 2), tf.where(is_control, at, control), ~inside | (length > 0)

    start = _SHARED_PALETTE + 3 * _palette_size(data, _SHARED_FLAGS)
    at, control, _ = tf.while_loop(goes_on, step, [start, tf.constant(0, tf.int64), tf.constant(False)])
    return at, control


def _palette_size(data: Tensor, flags_at: Tensor) -> Tensor:
    """Number of colours of a GIF's palette according to its flags; 0 if there is none."""
    flags = read_number(data, flags_at, 1)
    return tf.where(flags >= 0x80, tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8), 0)


def _replace(content: Tensor, at: Tensor, new: Tensor) -> Tensor:
    at = tf.cast(at, tf.int32)
    before, after = tf.strings.substr(content, 0, at), tf.strings.substr(content, at + tf.strings.length(new), _REST)
    return tf.strings.join([before, new, after])


@rarely
def _decode_bmp(content: Tensor) -> Tensor:
    data = tf.io.decode_raw(content, tf.uint8)
    depth = read_number(data, 28, 2, little=True)

    def direct() -> Tensor:
        pixels = tf.io.decode_bmp(content)
        pixels.set_shape([None, None, None])
        # The fourth byte is alpha only if the header defines a mask for it; otherwise it is arbitrary.
        header, kind, mask = (read_number(data, at, 4, little=True) for at in (14, 30, 66))
        has_alpha = (kind == 3) & (header >= 56) & (mask > 0)
        return tf.cond((depth == 32) & ~has_alpha, lambda: pixels[..., :3], lambda: pixels)

    return tf.cond(depth <= 8, lambda: _decode_palette_bmp(data, depth), direct)


def _decode_palette_bmp(data: Tensor, depth: Tensor) -> Tensor:
    """Pixels of 1, 4 or 8 bits are palette indices, which TensorFlow does not look up."""
    start, header, width, height = (read_number(data, at, 4, little=True) for at in (10, 14, 18, 22))
    upside_down = height < 2**31
    height = tf.where(upside_down, height, 2**32 - height)
    stride = (width * depth + 31) // 32 * 4
    rows = tf.reshape(tf.slice(data, [start], [stride * height]), tf.stack([height, stride]))
    bits = tf.cast(depth, tf.int32)
    shifts = tf.range(8 - bits, -1, -bits)
    places = tf.bitwise.right_shift(tf.cast(rows, tf.int32)[..., None], shifts) % tf.bitwise.left_shift(1, bits)
    places = tf.reshape(places, tf.stack([height, stride * 8 // depth]))[:, :width]
    palette = tf.reshape(data[14 + header : start][: (start - 14 - header) // 4 * 4], [-1, 4])[:, 2::-1]
    pixels = tf.gather(palette, places)
    return tf.cond(upside_down, lambda: tf.reverse(pixels, [0]), lambda: pixels)
