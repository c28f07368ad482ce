"""The operations of RandAugment (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719), with the ranges of AutoAugment.

Two of the paper's fourteen operations are applied to an image, possibly the same one twice: the identity, five that
move pixels, and eight that only change colours. Those that move pixels are applied first, regardless of their order.
"""

from functools import partial

import numpy as np
import tensorflow as tf

from keras_transfer.networks.types import Tensor


def choose(draws: Tensor, magnitude: int) -> tuple[Tensor, Tensor]:
    """Choose an image's two operations.

    Args:
        draws: ``float32[4]`` from 0 to below 1.
        magnitude: From 0 to 10.

    Returns:
        ``int32[2]``, which ones, and ``float32[2]``, how strong each is, from -1 to 1.
    """
    operations = tf.cast(draws[:2] * (_MOVES + len(_RECOLOURS)), tf.int32)
    return operations, tf.where(draws[2:] < 0.5, -0.1, 0.1) * magnitude


def moves(operations: Tensor, strengths: Tensor) -> list[Tensor]:
    """Return how the operations move the pixels of an image.

    Args:
        operations: ``int32[2]`` of :func:`choose`.
        strengths: ``float32[2]`` of :func:`choose`.

    Returns:
        Numbers: a rotation in radians, the shears along x and y, and the shifts along x and y as shares of the side.
    """
    totals = tf.math.unsorted_segment_sum(strengths, operations, _MOVES + len(_RECOLOURS))
    return tf.unstack(totals[:_MOVES] * [np.pi / 6, 0.3, 0.3, 0.45, 0.45])


def recolour(image: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Apply the operations that do not move pixels, one after the other.

    Args:
        image: ``float32[size, size, 3]`` in 0..255.
        operations: ``int32[2]`` of :func:`choose`.
        strengths: ``float32[2]`` of :func:`choose`.

    Returns:
        An image of the same shape and range.
    """
    for operation, strength in zip(tf.unstack(operations), tf.unstack(strengths), strict=True):
        branches = [partial(change, image, strength) for change in _RECOLOURS]
        image = tf.switch_case(tf.maximum(operation - _MOVES, 0), branches)
    return image


def blend(dull: Tensor, image: Tensor, strength: Tensor) -> Tensor:
    """Extrapolate an image away from a duller version of itself, or towards it if the strength is below 0.

    Args:
        dull: The duller version, such as its mean or its grey version.
        image: ``float32[size, size, 3]``.
        strength: -1 gives the duller one, 0 the image.

    Returns:
        An image that may go beyond 0..255.
    """
    return dull + (image - dull) * (1.0 + strength)


def clip(image: Tensor) -> Tensor:
    """Clip an image to 0..255."""
    return tf.clip_by_value(image, 0.0, 255.0)


def _keep(image: Tensor, strength: Tensor) -> Tensor:
    return image


def _brighten(image: Tensor, strength: Tensor) -> Tensor:
    return clip(blend(0.0, image, 0.9 * strength))


def _contrast(image: Tensor, strength: Tensor) -> Tensor:
    return clip(blend(tf.reduce_mean(image), image, 0.9 * strength))


def _saturate(image: Tensor, strength: Tensor) -> Tensor:
    return clip(blend(tf.image.rgb_to_grayscale(image), image, 0.9 * strength))


def _sharpen(image: Tensor, strength: Tensor) -> Tensor:
    kernel = np.ones((3, 3, 3, 1), np.float32)
    kernel[1, 1] = 5.0  # Pillow's SMOOTH
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    smooth = tf.nn.depthwise_conv2d(padded[None], kernel / 13.0, [1, 1, 1, 1], "VALID")[0]
    return clip(blend(smooth, image, 0.9 * strength))


def _posterize(image: Tensor, strength: Tensor) -> Tensor:
    step = 2.0 ** (4.0 * tf.abs(strength))  # from 8 bits down to 4
    return tf.floor(tf.round(image) / step) * step


def _solarize(image: Tensor, strength: Tensor) -> Tensor:
    return tf.where(image < 256.0 * (1.0 - tf.abs(strength)), image, 255.0 - image)


def _autocontrast(image: Tensor, strength: Tensor) -> Tensor:
    return _stretch(image, image, axis=[0, 1])


def _equalize(image: Tensor, strength: Tensor) -> Tensor:
    levels = tf.cast(tf.round(tf.transpose(tf.reshape(image, [-1, 3]))), tf.int32)
    up_to = tf.cumsum(tf.math.bincount(levels, minlength=256, maxlength=256, axis=-1), axis=-1)
    ranks = tf.cast(tf.gather(up_to, levels, batch_dims=1), tf.float32)
    return tf.reshape(tf.transpose(_stretch(ranks, tf.cast(levels, tf.float32), axis=[1])), tf.shape(image))


def _stretch(values: Tensor, fallback: Tensor, *, axis: list[int]) -> Tensor:
    """Stretch each channel's values to 0..255; if they are all equal, use the fallback."""
    lowest, highest = (reduce(values, axis, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    stretched = tf.math.divide_no_nan(values - lowest, highest - lowest) * 255.0
    return tf.where(lowest < highest, stretched, fallback)


# A rotation, two shears and two shifts; then these.
_MOVES = 5
_RECOLOURS = (
    _keep,
    _brighten,
    _contrast,
    _saturate,
    _sharpen,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)
