"""Splits as tf.data: decoded in parallel, streamed, and in an order that depends on (seed, epoch) alone."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config import AugmentationConfig
from keras_transfer.data.augment import augment, draw, is_identity
from keras_transfer.data.images import Resize, decode_image
from keras_transfer.data.mixing import mix
from keras_transfer.data.splits import Split

# Each call in flight holds a batch.
_MOST_CALLS = 16


def map_ahead(dataset: Any, function: Callable[..., Any]) -> Any:
    """Map a dataset's elements in parallel and in order, a few ahead of their use.

    The autotuning of tf.data is off. Its thread sleeps twice as long each time, and is not always woken when an
    iteration ends (TensorFlow 2.21): the end then waits until it wakes, for up to as long as the iteration took.

    Args:
        dataset: Of row numbers, files or the like.
        function: From an element of it to a batch.

    Returns:
        The dataset of batches.
    """
    calls = min(os.cpu_count() or 1, _MOST_CALLS)
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.map(function, num_parallel_calls=calls).prefetch(2).with_options(options)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return how many batches make an epoch."""
    return -(-rows // batch_size)


def training_batches(
    split: Split,
    *,
    classes: int,
    class_weights: NDArray[np.float32],
    size: int,
    resize: Resize,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    epochs: int,
    first_epoch: int = 0,
) -> Any:
    """Make one dataset of all the batches of some epochs.

    An epoch's rows are spread evenly over its batches: none is larger than ``batch_size``, and none so small that it
    would spoil BatchNorm's statistics.

    Args:
        split: What to learn from.
        classes: How many classes there are.
        class_weights: ``float32[classes]``, multiplied with the examples' own weights.
        size: Height and width in pixels.
        resize: How a picture becomes square.
        augmentation: The random changes.
        batch_size: Rows a step, at most.
        seed: Of order and augmentation.
        epochs: How many epochs the dataset holds.
        first_epoch: The number of the first one.

    Returns:
        Batches of (``float32[batch, size, size, 3]`` in 0..255, ``float32[batch, classes]``, one-hot where no examples
        are mixed, ``float32[batch]`` weights).
    """
    targets = tf.one_hot(split.labels, classes)
    weights = tf.constant(split.weights * class_weights[split.labels])
    load = _make_loader(split, size, resize, augmentation)

    def batch(epoch: Any, indices: Any) -> Any:
        draws = _draw(seed, epoch, indices)
        return mix(load(indices, draws), tf.gather(targets, indices), tf.gather(weights, indices), draws, augmentation)

    order = shuffled_indices(len(split), batch_size=batch_size, seed=seed, epochs=epochs, first_epoch=first_epoch)
    return map_ahead(order, batch)


def shuffled_indices(rows: int, *, batch_size: int, seed: int, epochs: int, first_epoch: int = 0) -> Any:
    """Make a dataset of which rows each step takes.

    Args:
        rows: How many there are.
        batch_size: Rows a step, at most; an epoch's rows are spread evenly over its batches.
        seed: Of the order.
        epochs: How many epochs the dataset holds.
        first_epoch: The number of the first one.

    Returns:
        Pairs of an epoch, ``int64[]``, and row numbers, ``int32[batch]``; a function of seed and epoch alone.
    """
    steps = steps_per_epoch(rows, batch_size)

    def batches_of(epoch: Any) -> Any:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(rows), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        bounds = tf.data.Dataset.range(steps)
        return bounds.map(lambda step: (epoch, order[step * rows // steps : (step + 1) * rows // steps]))

    batches = tf.data.Dataset.range(first_epoch, first_epoch + epochs).flat_map(batches_of)
    return batches.apply(tf.data.experimental.assert_cardinality(epochs * steps))


def augmented_batches(
    split: Split,
    *,
    size: int,
    resize: Resize,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    epoch: int,
) -> Any:
    """Make a dataset of a split's rows in their own order, changed as they are in one epoch of training.

    Args:
        split: The rows.
        size: Height and width in pixels.
        resize: How a picture becomes square.
        augmentation: The random changes.
        batch_size: Rows a batch.
        seed: Of the changes.
        epoch: Whose changes.

    Returns:
        Batches of ``float32[batch, size, size, 3]`` in 0..255; examples are not mixed.
    """
    load = _make_loader(split, size, resize, augmentation)
    indices = tf.data.Dataset.range(len(split)).batch(batch_size)
    return map_ahead(indices, lambda rows: load(rows, _draw(seed, tf.constant(epoch, tf.int64), rows)))


def _draw(seed: int, epoch: Any, indices: Any) -> Any:
    return tf.map_fn(lambda index: draw(seed, epoch, index), tf.cast(indices, tf.int64), fn_output_signature=tf.float32)


def _make_loader(
    split: Split, size: int, resize: Resize, augmentation: AugmentationConfig
) -> Callable[[Any, Any], Any]:
    """A function from row numbers and their draws to augmented pictures."""
    files = tf.constant(split.files)
    changes = not is_identity(augmentation)

    def load(indices: Any, draws: Any) -> Any:
        pixels = _load_pictures(tf.gather(files, indices), size, resize)
        return augment(pixels, draws, augmentation) if changes else pixels

    return load


def evaluation_batches(split: Split, *, classes: int, size: int, resize: Resize, batch_size: int) -> Any:
    """Make a dataset of a split's rows in their own order, unchanged and each counting once.

    Args:
        split: The rows.
        classes: How many classes there are.
        size: Height and width in pixels.
        resize: How a picture becomes square.
        batch_size: Rows a batch.

    Returns:
        Batches of (``float32[batch, size, size, 3]`` in 0..255, ``float32[batch, classes]`` one-hot).
    """
    rows = tf.data.Dataset.from_tensor_slices((tf.constant(split.files), tf.one_hot(split.labels, classes)))
    return map_ahead(rows.batch(batch_size), lambda files, targets: (_load_pictures(files, size, resize), targets))


def _load_pictures(files: Any, size: int, resize: Resize) -> Any:
    return tf.map_fn(
        lambda file: decode_image(tf.io.read_file(file), size=size, resize=resize),
        files,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
    )
