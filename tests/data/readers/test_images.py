import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.examples.images import Images
from keras_transfer.data.formats.decoders import kind_of
from keras_transfer.data.formats.images import decode_image
from keras_transfer.data.formats.npy import encode_array
from keras_transfer.data.readers.base import PLAIN as PLAIN_VIEW
from keras_transfer.data.readers.base import View, map_ahead, steps_per_epoch
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import Split, images_of

ROWS = 11
SIZE = 16
PLAIN = AugmentationConfig(horizontal_flip=False)


@pytest.fixture
def split(tmp_path):
    """Eleven images, each of one grey value that identifies it."""
    names = tuple(f"{number:02}.png" for number in range(ROWS))
    for number, name in enumerate(names):
        Image.new("RGB", (SIZE, SIZE), (number * 20,) * 3).save(tmp_path / name)
    weights = np.linspace(0.5, 1.5, ROWS).astype(np.float32)
    return Split("train", Images(tmp_path, names), np.arange(ROWS) % 3, weights)


def reader(*, size=SIZE, resize="crop", augmentation=PLAIN, seed=0):
    return ImageReader(
        image_size=size, channels=3, resize=resize, augmentation=augmentation, seed=seed, max_pixels=10**6
    )


def train(split, *, batch_size=4, epochs=1, first_epoch=0, seed=0, **options):
    batches = reader(seed=seed, **options).training_batches(
        split,
        np.eye(3, dtype=np.float32)[split.targets],
        split.weights,
        batch_size=batch_size,
        seed=seed,
        epochs=range(first_epoch, first_epoch + epochs),
    )
    return [tuple(x.numpy() for x in batch) for batch in batches]


def shown(split, view, *, batch_size=4, **options):
    batches = reader(**options).evaluation_batches(split, batch_size=batch_size, view=view)
    return np.concatenate([pixels.numpy() for pixels in batches])


def save(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def members(batch):
    """Which rows a batch holds, read off their grey."""
    return (batch[0][:, 0, 0, 0] / 20).round().astype(int).tolist()


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [3, 4, 4]), (10, [5, 6]), (11, [11]), (64, [11]), (1, [1] * 11)])
def test_every_row_is_used_once_per_epoch_in_even_batches(split, batch_size, sizes):
    batches = train(split, batch_size=batch_size, epochs=3)
    steps = steps_per_epoch(ROWS, batch_size)
    assert len(batches) == 3 * steps
    for epoch in range(3):
        own = batches[epoch * steps : (epoch + 1) * steps]
        assert sorted(len(batch[0]) for batch in own) == sizes
        assert sorted(row for batch in own for row in members(batch)) == list(range(ROWS))


def test_mapping_preserves_the_order_and_disables_autotune():
    numbers = map_ahead(tf.data.Dataset.range(100), lambda number: number * number)
    assert [int(number) for number in numbers] == [number * number for number in range(100)]
    assert numbers.options().autotune.enabled is False


@pytest.mark.parametrize(("rows", "batch_size", "steps"), [(11, 4, 3), (12, 4, 3), (1, 32, 1), (33, 32, 2)])
def test_steps_per_epoch(rows, batch_size, steps):
    assert steps_per_epoch(rows, batch_size) == steps


def test_the_number_of_batches_is_known_to_keras(split):
    targets = np.eye(3, dtype=np.float32)[split.targets]
    batches = reader().training_batches(split, targets, split.weights, batch_size=4, seed=0, epochs=range(5))
    assert batches.cardinality().numpy() == 15
    assert [tuple(spec.shape) for spec in batches.element_spec] == [(None, SIZE, SIZE, 3), (None, 3), (None,)]


def test_targets_and_weights_belong_to_their_images(split):
    for batch in train(split):
        rows = members(batch)
        assert np.array_equal(batch[1], np.eye(3, dtype=np.float32)[split.targets[rows]])
        assert batch[2] == pytest.approx(split.weights[rows])


ROUGH = AugmentationConfig(
    rotation=30.0, zoom=0.3, brightness=0.3, contrast=0.3, crop=0.2, randaugment=6, erase=0.5, mixup=0.4, cutmix=1.0
)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(split):
    def bytes_of(seed):
        return [[x.tobytes() for x in batch] for batch in train(split, seed=seed, augmentation=ROUGH, epochs=2)]

    assert bytes_of(0) == bytes_of(0)
    assert bytes_of(0) != bytes_of(1)


def test_epochs_differ_in_order_and_in_augmentation(split):
    batches = train(split, epochs=2, batch_size=64)
    assert members(batches[0]) != members(batches[1])
    first, second = train(split, epochs=2, batch_size=64, augmentation=AugmentationConfig(brightness=0.3))
    assert sorted(first[0][:, 0, 0, 0].tolist()) != sorted(second[0][:, 0, 0, 0].tolist())


def test_a_later_epoch_can_be_read_without_the_earlier_ones(split):
    whole = train(split, epochs=3, augmentation=ROUGH)
    last = train(split, epochs=1, first_epoch=2, augmentation=ROUGH)
    assert all(np.array_equal(a, b) for x, y in zip(whole[6:], last, strict=True) for a, b in zip(x, y, strict=True))


@pytest.fixture
def noise(split):
    """The same rows with an image of noise each, identified by their weights."""
    for number, file in enumerate(images_of(split).files):
        pixels = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(file)
    return split


@pytest.mark.slow
def test_augmentation_of_an_image_is_bit_identical_in_any_batch(noise):
    alone = ROUGH.model_copy(update={"mixup": 0.0, "cutmix": 0.0})

    def by_row(batches):
        return {
            weight: pixels.tobytes() for batch in batches for pixels, weight in zip(batch[0], batch[2], strict=True)
        }

    small, large = (by_row(train(noise, batch_size=size, augmentation=alone)) for size in (2, 11))
    assert len(small) == ROWS
    assert small == large
    in_order = shown(noise, View(epoch=0), augmentation=alone, batch_size=5)
    assert [pixels.tobytes() for pixels in in_order] == [small[weight] for weight in noise.weights]


def test_mixing_mixes_each_row_of_a_batch_with_the_one_before_it(noise):
    plain = train(noise, epochs=2)
    mixed = train(noise, epochs=2, augmentation=PLAIN.model_copy(update={"mixup": 0.5}))
    for (pixels, targets, weights), (new, new_targets, new_weights) in zip(plain, mixed, strict=True):
        # What each row has of its partner, by least squares over its pixels.
        step = np.roll(pixels, 1, axis=0) - pixels
        share = ((new - pixels) * step).sum(axis=(1, 2, 3)) / (step**2).sum(axis=(1, 2, 3))
        assert new == pytest.approx(pixels + share[:, None, None, None] * step, abs=0.01)
        own, other = (1 - share) * weights, share * np.roll(weights, 1)
        assert new_weights == pytest.approx(own + other, abs=1e-4)
        sums = own[:, None] * targets + other[:, None] * np.roll(targets, 1, axis=0)
        assert new_targets == pytest.approx(sums / (own + other)[:, None], abs=1e-4)


@pytest.mark.slow
def test_examples_are_not_mixed_if_features_are_cached(noise):
    def first_batch(augmentation):
        return shown(noise, View(epoch=1), augmentation=augmentation)

    for base in (PLAIN, ROUGH.model_copy(update={"mixup": 0.0, "cutmix": 0.0})):
        assert np.array_equal(first_batch(base), first_batch(base.model_copy(update={"mixup": 0.4, "cutmix": 1.0})))


def test_evaluation_keeps_the_order_and_changes_nothing(split):
    targets = np.eye(3, dtype=np.float32)[split.targets]
    batches = list(reader().evaluation_batches(split, targets, batch_size=4))
    assert np.concatenate(reader().evaluation_order(split, batch_size=4)).tolist() == list(range(ROWS))
    assert [len(pixels) for pixels, _ in batches] == [4, 4, 3]
    pixels = np.concatenate([pixels.numpy() for pixels, _ in batches])
    assert pixels[:, 3, 5, 1].tolist() == [number * 20.0 for number in range(ROWS)]
    targets = np.concatenate([targets.numpy() for _, targets in batches])
    assert targets.argmax(axis=1).tolist() == split.targets.tolist()


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_training_evaluation_and_serving_see_the_same_pixels(images, resize):
    names = ("cat/000.png", "dog/001.jpg")
    Image.open(images / names[0]).convert("LA").resize((50, 30)).save(images / names[0])
    split = Split("train", Images(images, names), np.arange(2), np.ones(2, np.float32))
    served = [
        decode_image(tf.io.read_file(file), size=24, resize=resize, channels=3).numpy()
        for file in images_of(split).files
    ]
    evaluated = shown(split, PLAIN_VIEW, size=24, resize=resize)
    ((trained, targets, _),) = train(split, size=24, resize=resize)
    order = targets.argmax(axis=1)
    assert evaluated == pytest.approx(np.stack(served), abs=1e-3)
    decoded = reader(size=24, resize=resize).decode(tf.constant([Path(f).read_bytes() for f in images_of(split).files]))
    assert decoded.numpy() == pytest.approx(np.stack(served), abs=1e-3)
    assert trained == pytest.approx(np.stack(served)[order], abs=1e-3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "NPY"])
def test_a_split_with_known_formats_is_read_like_one_without(tmp_path, kind):
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)) for _ in range(2)]
    turned = Image.Exif()
    turned[0x0112] = 6
    if kind == "NPY":
        contents = [encode_array(np.asarray(image)) for image in images]
    else:
        options = {"exif": turned} if kind in ("JPEG", "PNG", "WEBP") else {}
        contents = [save(image, kind, **options) for image in images]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    files = Images(tmp_path, ("0", "1"))
    splits = [
        Split("train", examples, np.arange(2), np.ones(2, np.float32))
        for examples in (files, files.with_kinds(frozenset(map(kind_of, contents))))
    ]
    unknown, known = (shown(split, PLAIN_VIEW, size=24) for split in splits)
    assert known.std() > 10
    assert np.array_equal(known, unknown)
