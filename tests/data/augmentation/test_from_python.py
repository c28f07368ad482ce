"""A user's own changes to images are functions of (seed, epoch, example), or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer import ConfigError
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation.from_python import apply_function, draw_seed, take_function
from keras_transfer.data.examples.images import Images
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import Split

PLAIN = {"horizontal_flip": False}


def brighten(pixels, seed):
    return pixels + tf.random.stateless_uniform([], seed, 10.0, 60.0)


@pytest.fixture
def split(tmp_path):
    values = np.random.default_rng(0).integers(0, 150, (6, 16, 16, 3))
    for number, image in enumerate(values):
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{number}.png")
    images = Images(tmp_path, tuple(f"{number}.png" for number in range(6)))
    return Split("train", images, np.arange(6) % 2, np.ones(6, np.float32)), values.astype(np.float32)


def epoch_of(split, function, *, epoch, seed=1, batch_size=4, augmentation=PLAIN, skip=0):
    """Each image of an epoch, by its label: its row."""
    reader = ImageReader(
        image_size=16,
        channels=3,
        resize="stretch",
        augmentation=AugmentationConfig(**augmentation),
        seed=seed,
        max_pixels=10_000,
    )
    reader = reader if function is None else reader.with_function(take_function(function))
    targets = np.arange(6, dtype=np.float32)[:, None]
    batches = reader.training_batches(
        split,
        targets,
        np.ones(6, np.float32),
        batch_size=batch_size,
        seed=seed,
        epochs=range(epoch, epoch + 1),
        skip=skip,
    )
    return {int(row): image for x, y, _ in batches.as_numpy_iterator() for image, row in zip(x, y[:, 0], strict=True)}


def test_changes_depend_only_on_seed_epoch_and_example(split):
    rows, values = split
    once = epoch_of(rows, brighten, epoch=2)
    # In other batches, and after a resumed run passed over the first one.
    again, late = epoch_of(rows, brighten, epoch=2, batch_size=3), epoch_of(rows, brighten, epoch=2, skip=1)
    assert 0 < len(late) < 6
    for row, image in once.items():
        np.testing.assert_array_equal(again[row], image)
        shift = (image - values[row]).mean()
        assert 10 <= shift <= 60
        np.testing.assert_allclose(image, values[row] + shift, atol=1e-3)
    for row, image in late.items():
        np.testing.assert_array_equal(image, once[row])
    shifts = [
        {row: round(float((image - values[row]).mean()), 3) for row, image in epoch_of(rows, brighten, **at).items()}
        for at in ({"epoch": 2}, {"epoch": 3}, {"epoch": 2, "seed": 5})
    ]
    assert len({shift for found in shifts for shift in found.values()}) == 18


def test_the_function_is_applied_after_the_built_in_changes(split):
    rows, _ = split
    turned = {"horizontal_flip": False, "vertical_flip": True}
    flipped = epoch_of(rows, None, epoch=0, augmentation=turned)
    both = epoch_of(rows, lambda pixels, seed: 200.0 - pixels, epoch=0, augmentation=turned)
    for row, image in flipped.items():
        np.testing.assert_allclose(both[row], 200.0 - image, atol=1e-4)


def test_values_outside_the_range_are_clipped():
    change = take_function(lambda pixels, seed: pixels * 3.0 - 100.0)
    changed = apply_function(change, tf.constant([[[[0.0, 50.0, 200.0]]]]), tf.zeros([1, 2], tf.int32))
    assert np.ravel(changed).tolist() == [0.0, 50.0, 255.0]


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.RandomRotation(0.2, fill_mode="constant"),
        lambda: keras.layers.RandomBrightness(0.3, value_range=(0, 255)),
        lambda: keras.layers.RandomFlip(),
    ],
)
def test_a_layer_of_keras_changes_images_by_the_seed_it_is_given(layer):
    change = take_function(layer())
    image = tf.constant(np.random.default_rng(1).uniform(0, 255, (16, 16, 3)), tf.float32)
    seeds = [draw_seed(0, tf.constant(epoch, tf.int64), tf.constant(3, tf.int64)) for epoch in range(8)]
    first = [change(image, seed).numpy() for seed in seeds]
    # With other calls in between, in another order.
    again = [change(image, seed).numpy() for seed in reversed(seeds)][::-1]
    np.testing.assert_array_equal(first, again)
    assert len({one.tobytes() for one in first}) > 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda pixels, seed: pixels + tf.random.uniform([]), "gave different results for the same image and seed"),
        (lambda pixels, seed: pixels[:8], r"changed the shape of an image. Received: \[8, 32, 3\]"),
        (lambda pixels: pixels, "failed on an image of shape .32, 32, 3.: TypeError"),
        (keras.layers.Dropout(0.5), "Dropout gave different results"),
        ("flip", "Received: 'flip'"),
    ],
)
def test_functions_that_are_not_reproducible_are_refused(value, message):
    with pytest.raises(ConfigError, match=message):
        take_function(value)


def test_no_features_of_such_images_are_cached():
    options = {"image_size": 16, "channels": 3, "resize": "crop", "seed": 0, "max_pixels": 100}
    config = AugmentationConfig(**PLAIN)
    plain = ImageReader(**options, augmentation=config)
    assert plain.with_function(brighten).mixes and not plain.mixes
