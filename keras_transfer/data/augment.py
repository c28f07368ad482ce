"""Random changes to training pictures, each a function of (seed, epoch, example) alone.

All changes of place (flips, turns, crop, zoom, shift) are one projective map, so that a picture is interpolated once.
"""

from typing import Any

import tensorflow as tf

from keras_transfer.config import AugmentationConfig

# How many random numbers an example draws; the order is fixed, so that one option does not change another's draws.
_DRAWS = 13


def draw(seed: int, epoch: Any, example: Any) -> Any:
    """Draw an example's random numbers for an epoch.

    Args:
        seed: Of the recipe.
        epoch: ``int64[]``.
        example: ``int64[]``, its place among the training rows.

    Returns:
        ``float32[13]`` in 0..1, the same whenever the three are the same.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.bitwise.left_shift(epoch, tf.constant(32, tf.int64)) + example])
    return tf.random.stateless_uniform([_DRAWS], seed=key)


def is_identity(config: AugmentationConfig) -> bool:
    """Tell whether a recipe changes nothing about its training pictures."""
    return not any(config.model_dump(exclude={"predict_flips"}).values())


def augment(pixels: Any, draws: Any, config: AugmentationConfig) -> Any:
    """Change a batch of pictures.

    Args:
        pixels: ``float32[batch, size, size, 3]`` in 0..255.
        draws: ``float32[batch, 13]`` of :func:`draw`.
        config: How much of what.

    Returns:
        Pictures of the same shape and range. What moves in from outside is the mirrored picture.
    """
    signed = 2.0 * draws - 1.0
    pixels = _move(pixels, draws, signed, config)
    if config.brightness or config.contrast or config.saturation:
        pixels = _colour(pixels, signed, config)
    return pixels


def _move(pixels: Any, draws: Any, signed: Any, config: AugmentationConfig) -> Any:
    size = tf.cast(tf.shape(pixels)[1], tf.float32)
    quarter = tf.floor(draws[:, 0] * 4.0) if config.quarter_turns else tf.zeros_like(draws[:, 0])
    angle = quarter * (3.141592653589793 / 2) + signed[:, 1] * (config.rotation * 3.141592653589793 / 180)
    # Where quarter turns are all there is, rounding makes cos and sin exact, and no pixel is interpolated.
    cos, sin = tf.cos(angle), tf.sin(angle)
    if not config.rotation:
        cos, sin = tf.round(cos), tf.round(sin)
    mirror_x = _mirror(draws[:, 2], on=config.horizontal_flip)
    mirror_y = _mirror(draws[:, 3], on=config.vertical_flip)
    # The map runs from the new picture to the old: a scale below 1 shows a part of it, enlarged.
    cut = config.crop * draws[:, 4]
    scale = (1.0 - cut) * (1.0 + config.zoom) ** signed[:, 5]
    room = 0.5 * cut
    shift_x = size * (room * signed[:, 6] + config.shift * signed[:, 8])
    shift_y = size * (room * signed[:, 7] + config.shift * signed[:, 9])
    a, b = scale * cos * mirror_x, -scale * sin * mirror_y
    c, d = scale * sin * mirror_x, scale * cos * mirror_y
    middle = (size - 1.0) / 2.0
    offset_x = middle - (a + b) * middle + shift_x
    offset_y = middle - (c + d) * middle + shift_y
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=tf.stack([a, b, offset_x, c, d, offset_y, zero, zero], axis=1),
        output_shape=tf.shape(pixels)[1:3],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _mirror(draws: Any, *, on: bool) -> Any:
    return tf.where(draws < 0.5, -1.0, 1.0) if on else tf.ones_like(draws)


def _colour(pixels: Any, signed: Any, config: AugmentationConfig) -> Any:
    def each(column: int, amount: float) -> Any:
        return (amount * signed[:, column])[:, None, None, None]

    if config.saturation:
        grey = tf.image.rgb_to_grayscale(pixels)
        pixels = grey + (pixels - grey) * (1.0 + each(12, config.saturation))
    if config.contrast:
        mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
        pixels = mean + (pixels - mean) * (1.0 + each(10, config.contrast))
    return tf.clip_by_value(pixels + 255.0 * each(11, config.brightness), 0.0, 255.0)
