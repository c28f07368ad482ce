"""Mixup and CutMix: an example with a share of another example of its batch, and a target to match."""

import numpy as np
import tensorflow as tf
from scipy.special import betaincinv

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation.augment import paste, span
from keras_transfer.networks.types import Tensor


def mix(
    pixels: Tensor, targets: Tensor, weights: Tensor, draws: Tensor, config: AugmentationConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each example of a batch with the one before it, the first with the last.

    Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) blends two images by a share from Beta(alpha, alpha).
    CutMix (Yun et al. 2019, https://arxiv.org/abs/1905.04899) pastes a square of that share of the area; if the border
    cuts it, the remaining area counts. With both on, each example uses one of them, with equal probability.

    Batches are a function of (seed, epoch), and so are partners. Labels and numbers are mixed in the same way as
    classes.

    Args:
        pixels: ``float32[batch, size, size, 3]`` in 0..255.
        targets: ``float32[batch, outputs]``.
        weights: ``float32[batch]``.
        draws: ``float32[batch, 26]`` of :func:`~keras_transfer.data.augmentation.augment.draw`.
        config: The alphas; if both are 0, everything is returned unchanged.

    Returns:
        Images, targets and weights of the same shapes. Cross-entropy is linear in its target: a weight times the loss
        is, for each row, the sum of its own weighted loss and its partner's, by their shares of the image.
    """
    if not (config.mixup or config.cutmix):
        return pixels, targets, weights
    pastes = draws[:, 22] < bool(config.cutmix) / (bool(config.mixup) + bool(config.cutmix))
    blended = _beta(draws[:, 23], config.mixup or config.cutmix)
    side = tf.sqrt(_beta(draws[:, 23], config.cutmix or config.mixup))
    size = tf.shape(pixels)[1]
    rows = span(size, draws[:, 24] - side / 2.0, side)
    columns = span(size, draws[:, 25] - side / 2.0, side)

    def mix_images(index: Tensor) -> Tensor:
        own, other = pixels[index], pixels[index - 1]
        return tf.cond(
            pastes[index],
            lambda: paste(other, own, rows[index], columns[index]),
            lambda: own + blended[index] * (other - own),
        )

    spec = tf.TensorSpec(pixels.shape[1:], tf.float32)
    mixed = tf.map_fn(mix_images, tf.range(tf.shape(pixels)[0]), fn_output_signature=spec)
    share = tf.where(pastes, _mean(rows) * _mean(columns), blended)
    return mixed, *mix_targets(targets, weights, share)


def blend(
    samples: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix recordings as :func:`mix` mixes images, using only mixup.

    Args:
        samples: ``float32[batch, samples]``.
        targets: ``float32[batch, outputs]``.
        weights: ``float32[batch]``.
        numbers: ``float32[batch]``, uniform from 0 to 1.
        alpha: The share of the other recording is from Beta(alpha, alpha); if it is 0, everything is returned
            unchanged.

    Returns:
        Recordings, targets and weights of the same shapes.
    """
    if not alpha:
        return samples, targets, weights
    share = _beta(numbers, alpha)
    mixed = samples + share[:, None] * (tf.roll(samples, 1, axis=0) - samples)
    return mixed, *mix_targets(targets, weights, share)


def mix_targets(targets: Tensor, weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mix the target and the weight of each example with those of the one before it.

    Args:
        targets: ``float32[batch, outputs]``.
        weights: ``float32[batch]``.
        share: ``float32[batch]``, of the other example.

    Returns:
        Targets and weights of the same shapes.
    """
    own, other = (1.0 - share) * weights, share * tf.roll(weights, 1, axis=0)
    # One weight and one target per row represent two weighted labels; the target is their weighted mean.
    total = own + other
    sums = own[:, None] * targets + other[:, None] * tf.roll(targets, 1, axis=0)
    return tf.math.divide_no_nan(sums, total[:, None]), total


def _mean(inside: Tensor) -> Tensor:
    return tf.reduce_mean(tf.cast(inside, tf.float32), axis=1)


def _beta(numbers: Tensor, alpha: float) -> Tensor:
    """Numbers from Beta(alpha, alpha) for uniform ones, one draw each; rejection sampling needs any number."""
    steps = 4096
    quantiles = betaincinv(alpha, alpha, (np.arange(steps) + 0.5) / steps)
    return tf.gather(tf.constant(quantiles, tf.float32), tf.cast(numbers * steps, tf.int32))
