"""Random changes to training images, each a function of only (seed, epoch, example).

All geometric changes (flips, rotations, crop, zoom, shift, and RandAugment's) are one projective map, so that an image
is interpolated once. Images are changed one at a time, so that the result does not depend on the rest of the batch at
all.

The layers of ``keras.layers`` (RandAugment, RandomErasing, MixUp, CutMix) draw from a seed generator that advances with
every call: an image's change depends on how many batches came before it, and a resumed run sees other images.
``benchmarks/augmentation.py`` shows that, and measures both.
"""

import math

import tensorflow as tf

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation import randaugment
from keras_transfer.data.augmentation.randaugment import blend, clip
from keras_transfer.networks.types import Tensor

# How many random numbers an example draws; the order is fixed, so that one option does not change another's draws: 0-9
# geometry, 10-12 colour, 13-16 RandAugment, 17-21 erasing, 22-25 mixing.
_DRAWS = 26
_PLACE = ("horizontal_flip", "vertical_flip", "quarter_turns", "rotation", "crop", "zoom", "shift", "randaugment")


def draw(seed: int, epoch: Tensor, example: Tensor) -> Tensor:
    """Draw an example's random numbers for an epoch.

    Args:
        epoch: ``int64[]``.
        example: ``int64[]``, its index among the training rows.

    Returns:
        ``float32[26]`` in [0, 1), deterministic for the three arguments.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.bitwise.left_shift(epoch, tf.constant(32, tf.int64)) + example])
    return tf.random.stateless_uniform([_DRAWS], seed=key)


def is_identity(config: AugmentationConfig) -> bool:
    """Return whether a recipe leaves all training images unchanged, apart from mixing."""
    return not any(config.model_dump(exclude={"predict_flips", "mixup", "cutmix", "function"}).values())


def augment(pixels: Tensor, draws: Tensor, config: AugmentationConfig) -> Tensor:
    """Augment the images of a batch, each independently.

    RandAugment is in ``randaugment.py``. Random erasing is that of Zhong et al. 2020
    (https://arxiv.org/abs/1708.04896), with the image's mean colour in the rectangle.

    Args:
        pixels: ``float32[batch, size, size, 3]`` in 0..255.
        draws: ``float32[batch, 26]`` of :func:`draw`.

    Returns:
        Images of the same shape and range. Pixels from outside are mirrored.
    """
    spec = tf.TensorSpec(pixels.shape[1:], tf.float32)
    return tf.map_fn(lambda one: _change(one[0], one[1], config), (pixels, draws), fn_output_signature=spec)


def _change(image: Tensor, draws: Tensor, config: AugmentationConfig) -> Tensor:
    signed = 2.0 * draws - 1.0
    operations, strengths = randaugment.choose(draws[13:17], config.randaugment)
    if any(getattr(config, name) for name in _PLACE):
        image = _move(image, draws, signed, randaugment.moves(operations, strengths), config)
    if config.brightness or config.contrast or config.saturation:
        image = _colour(image, signed, config)
    if config.randaugment:
        image = randaugment.recolour(image, operations, strengths)
    if config.erase:
        image = _erase(image, draws[17:22], config.erase)
    return image


def _move(image: Tensor, draws: Tensor, signed: Tensor, moves: list[Tensor], config: AugmentationConfig) -> Tensor:
    size = tf.cast(tf.shape(image)[0], tf.float32)
    turn, shear_x, shear_y, slide_x, slide_y = moves
    quarter = tf.floor(draws[0] * 4.0) if config.quarter_turns else 0.0
    angle = quarter * (math.pi / 2) + signed[1] * (config.rotation * math.pi / 180) + turn
    # If there are only quarter turns, rounding makes cos and sin exact, and no pixel is interpolated.
    cos, sin = tf.cos(angle), tf.sin(angle)
    if not (config.rotation or config.randaugment):
        cos, sin = tf.round(cos), tf.round(sin)
    mirror_x = _mirror(draws[2], on=config.horizontal_flip)
    mirror_y = _mirror(draws[3], on=config.vertical_flip)
    # The map is from the new image to the old: a scale below 1 shows a part of it, enlarged.
    cut = config.crop * draws[4]
    scale = (1.0 - cut) * (1.0 + config.zoom) ** signed[5]
    room = 0.5 * cut
    shift_x = size * (room * signed[6] + config.shift * signed[8] + slide_x)
    shift_y = size * (room * signed[7] + config.shift * signed[9] + slide_y)
    a, b = scale * cos * mirror_x, -scale * sin * mirror_y
    c, d = scale * sin * mirror_x, scale * cos * mirror_y
    a, b, c, d = a + shear_y * b, b + shear_x * a, c + shear_y * d, d + shear_x * c
    middle = (size - 1.0) / 2.0
    offset_x = middle - (a + b) * middle + shift_x
    offset_y = middle - (c + d) * middle + shift_y
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([a, b, offset_x, c, d, offset_y, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )[0]


def _mirror(number: Tensor, *, on: bool) -> Tensor:
    return tf.where(number < 0.5, -1.0, 1.0) if on else 1.0


def _colour(image: Tensor, signed: Tensor, config: AugmentationConfig) -> Tensor:
    if config.saturation:
        image = blend(tf.image.rgb_to_grayscale(image), image, config.saturation * signed[12])
    if config.contrast:
        image = blend(tf.reduce_mean(image), image, config.contrast * signed[10])
    return clip(image + 255.0 * (config.brightness * signed[11]))


def _erase(image: Tensor, draws: Tensor, chance: float) -> Tensor:
    area = 0.02 + 0.31 * draws[1]
    # The aspect ratio is from 0.3 to 1 / 0.3, or less if the longer side would not fit.
    steepest = tf.minimum(-math.log(0.3), -tf.math.log(area))
    ratio = tf.exp(steepest * (2.0 * draws[2] - 1.0))
    height, width = tf.sqrt(area * ratio), tf.sqrt(area / ratio)
    size = tf.shape(image)[0]
    rows = span(size, draws[3] * (1.0 - height), height)
    columns = span(size, draws[4] * (1.0 - width), width)
    colour = tf.reduce_mean(image, axis=[0, 1])
    return paste(tf.tile(colour, [size]), image, rows & (draws[0] < chance), columns)


def span(size: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Return which pixels of a side have their centres within a part of it.

    Args:
        size: ``int32[]``, how many pixels the side has.
        start: ``float32[...]``, start of the part, as a share of the side; outside of 0..1 there are no pixels.
        length: ``float32[...]``, a share of the side.

    Returns:
        ``bool[..., size]``.
    """
    centres = (tf.range(size, dtype=tf.float32) + 0.5) / tf.cast(size, tf.float32)
    start, end = start[..., None], (start + length)[..., None]
    return (start <= centres) & (centres < end)


def paste(new: Tensor, old: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Overwrite a rectangle of an image.

    Args:
        new: ``float32[size, size, 3]``, the inside; or ``float32[size * 3]``, one row that is repeated.
        old: ``float32[size, size, 3]``, the outside.
        rows: ``bool[size]``, which rows are inside.
        columns: ``bool[size]``, which columns are inside.

    Returns:
        ``float32[size, size, 3]``.
    """
    shape = tf.shape(old)
    row = [-1, shape[1] * shape[2]]
    # TensorFlow broadcasts along a last axis of size 3 at a third of the speed.
    inside = rows[:, None] & tf.repeat(columns, shape[2])
    return tf.reshape(tf.where(inside, tf.reshape(new, row), tf.reshape(old, row)), shape)
