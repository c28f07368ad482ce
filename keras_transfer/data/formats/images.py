"""From the bytes of an image file to a tensor. One function serves training, ``predict`` and the exported model."""

import functools
from typing import Literal

import tensorflow as tf

from keras_transfer.data.formats.decoders import decode_pixels
from keras_transfer.networks.types import Tensor

Resize = Literal["crop", "pad", "stretch"]


def decode_image(
    content: Tensor, *, size: int, resize: Resize, channels: int, kinds: frozenset[bytes] | None = None
) -> Tensor:
    """Decode an image and make it square.

    One or three channels result in the image as a person sees it, in grey or in colour, composed on white. Other
    numbers of channels are unchanged.

    Args:
        content: ``string[]``, the bytes of a JPEG, PNG, BMP, WebP, GIF or .npy file.
        resize: ``crop`` cuts the longer side, ``pad`` adds white to the shorter one, ``stretch`` changes the aspect
            ratio.
        kinds: As :func:`~keras_transfer.data.formats.decoders.decode_pixels` takes them.

    Returns:
        ``float32[size, size, channels]`` in 0..255; three are RGB.
    """
    return _decoder(size, resize, channels, kinds)(content)


@functools.cache
def _decoder(size: int, resize: Resize, channels: int, kinds: frozenset[bytes] | None) -> Tensor:
    """Traced once per process, not for every dataset."""

    def decode(content: Tensor) -> Tensor:
        pixels = tf.cast(decode_pixels(content, kinds), tf.float32)
        if channels in (1, 3):
            pixels = _compose_on_white(pixels)
        if channels == 1:
            pixels = tf.cond(tf.shape(pixels)[-1] == 3, lambda: tf.image.rgb_to_grayscale(pixels), lambda: pixels)
        pixels = _RESIZERS[resize](pixels, size)
        if channels == 3:
            # Grey images have one channel up to here, which saves two thirds of the work.
            pixels = tf.cond(tf.shape(pixels)[-1] == 1, lambda: tf.repeat(pixels, 3, axis=-1), lambda: pixels)
        return tf.ensure_shape(tf.clip_by_value(pixels, 0.0, 255.0), [size, size, channels])

    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _compose_on_white(pixels: Tensor) -> Tensor:
    """Convert two and four channels, of which the last is alpha, to one or three."""

    def compose() -> Tensor:
        alpha = pixels[..., -1:] / 255.0
        return pixels[..., :-1] * alpha + 255.0 * (1.0 - alpha)

    return tf.cond(tf.shape(pixels)[-1] % 2 == 0, compose, lambda: pixels)


def _scale(pixels: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Use antialiasing only for shrinking, where it preserves fine lines: otherwise it has no effect, but is slow."""
    size, wanted = tf.shape(pixels)[:2], tf.stack([height, width])
    shrinks = tf.reduce_any(wanted < size)
    return tf.cond(
        tf.reduce_all(wanted == size),
        lambda: pixels,
        lambda: tf.cond(
            shrinks, lambda: tf.image.resize(pixels, wanted, antialias=True), lambda: tf.image.resize(pixels, wanted)
        ),
    )


def _stretch(pixels: Tensor, size: int) -> Tensor:
    return _scale(pixels, size, size)


def _crop(pixels: Tensor, size: int) -> Tensor:
    side = tf.minimum(tf.shape(pixels)[0], tf.shape(pixels)[1])
    return _stretch(tf.image.resize_with_crop_or_pad(pixels, side, side), size)


def _pad(pixels: Tensor, size: int) -> Tensor:
    shape = tf.cast(tf.shape(pixels)[:2], tf.float32)
    height, width = tf.unstack(tf.cast(tf.round(shape * (size / tf.reduce_max(shape))), tf.int32))
    scaled = _scale(pixels, tf.maximum(height, 1), tf.maximum(width, 1))
    # Padding adds zeros: in the inverted image, zero is white.
    return 255.0 - tf.image.resize_with_crop_or_pad(255.0 - scaled, size, size)


_RESIZERS = {"crop": _crop, "pad": _pad, "stretch": _stretch}
