import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation.augment import augment, draw, is_identity

SIZE = 12
FIELDS = {name: field for name, field in AugmentationConfig.model_fields.items() if name != "function"}
OFF = {name: False if field.annotation is bool else 0 for name, field in FIELDS.items() if name != "function"}
# What is done within an image in training, in amounts that nearly all of them show.
OPTIONS = sorted(set(OFF) - {"predict_flips", "mixup", "cutmix"})
AMOUNTS = {"rotation": 20.0, "randaugment": 8, "erase": 1.0}
EVERYTHING = {name: True if OFF[name] is False else AMOUNTS.get(name, 0.3) for name in OPTIONS}


def config(**options):
    return AugmentationConfig(**(OFF | options))


def batch(count, size=SIZE):
    random = np.random.default_rng(0)
    # Whole numbers, which bilinear interpolation at whole places gives back exactly.
    return random.integers(20, 236, (count, size, size, 3)).astype(np.float32)


def draws(count, seed=0, epoch=0):
    epoch = tf.constant(epoch, tf.int64)
    return tf.stack([draw(seed, epoch, tf.constant(example, tf.int64)) for example in range(count)])


def changed(pixels, options, **which):
    return augment(tf.constant(pixels), draws(len(pixels), **which), config(**options)).numpy()


def test_draws_are_spread_between_0_and_1():
    values = draws(200).numpy()
    assert 0.0 <= values.min() < 0.01 < 0.99 < values.max() <= 1.0
    assert np.abs(values.mean(axis=0) - 0.5).max() < 0.1
    assert np.abs(np.corrcoef(values.T) - np.eye(values.shape[1])).max() < 0.35


def test_draws_depend_only_on_seed_epoch_and_example():
    def one(seed, epoch, example):
        return tuple(draw(seed, tf.constant(epoch, tf.int64), tf.constant(example, tf.int64)).numpy().tolist())

    first = {(s, e, x): one(s, e, x) for s in (0, 1) for e in (0, 1) for x in (0, 1)}
    assert len(set(first.values())) == 8
    tf.random.set_seed(99)
    # In another order, and after other draws.
    assert {key: one(*key) for key in reversed(first)} == first


def test_draws_are_the_same_on_every_machine():
    # A change here makes every run with augmentation another one: it needs a line in the changelog.
    values = draw(0, tf.constant(1, tf.int64), tf.constant(2, tf.int64)).numpy()
    assert values[:3] == pytest.approx([0.6553569, 0.4174608, 0.3671944])
    assert values[[12, 16, 21, 25]] == pytest.approx([0.2394248, 0.1966463, 0.3948432, 0.5591458])


def test_mixing_does_not_augment_single_images():
    assert is_identity(config(mixup=0.2, cutmix=1.0))


def test_without_options_nothing_changes():
    pixels = batch(4)
    assert is_identity(config())
    assert is_identity(config(predict_flips=True, horizontal_flip=False))
    assert np.array_equal(changed(pixels, {}), pixels)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_images_and_keeps_shape_and_range(name):
    kind = AugmentationConfig.model_fields[name].annotation
    options = {name: EVERYTHING[name]}
    pixels = batch(16)
    assert not is_identity(config(**options))
    result = changed(pixels, options)
    assert result.shape == pixels.shape
    assert 0.0 <= result.min() <= result.max() <= 255.0
    different = np.abs(result - pixels).reshape(16, -1).max(axis=1) > 0.5
    # A flip leaves about half of them unchanged, a quarter turn a quarter.
    assert different.sum() >= (4 if kind is bool else 15)


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_a_flip_is_exact_and_happens_to_about_half(name, axis):
    pixels = batch(64)
    result = changed(pixels, {name: True})
    flipped = [np.array_equal(new, np.flip(old, axis)) for new, old in zip(result, pixels, strict=True)]
    kept = [np.array_equal(new, old) for new, old in zip(result, pixels, strict=True)]
    assert [a + b for a, b in zip(flipped, kept, strict=True)] == [1] * 64
    assert 20 <= sum(flipped) <= 44


@pytest.mark.parametrize("size", [12, 13])
def test_quarter_turns_are_exact_and_each_happens(size):
    pixels = batch(64, size)
    result = changed(pixels, {"quarter_turns": True})
    turns = [
        next(k for k in range(4) if np.array_equal(new, np.rot90(old, k)))
        for new, old in zip(result, pixels, strict=True)
    ]
    assert set(turns) == {0, 1, 2, 3}


def blob(size=33):
    """A bright spot in the middle of a dark image."""
    y, x = np.mgrid[:size, :size] - size // 2
    spot = 200.0 * np.exp(-(x**2 + y**2) / 8.0)
    return np.repeat(np.repeat(spot[None, ..., None], 3, axis=-1), 32, axis=0).astype(np.float32)


def centres(pixels):
    grey = pixels[..., 0]
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]]
    total = grey.sum(axis=(1, 2))
    return np.stack([(grey * x).sum(axis=(1, 2)), (grey * y).sum(axis=(1, 2))], axis=1) / total[:, None]


def test_shift_moves_by_up_to_its_share_in_both_directions():
    moved = centres(changed(blob(), {"shift": 0.2})) - 16.0
    assert np.abs(moved).max() < 0.2 * 33 + 0.1
    for axis in (0, 1):
        assert moved[:, axis].min() < -3.0
        assert moved[:, axis].max() > 3.0


def test_zoom_scales_in_and_out_about_the_middle():
    result = changed(blob(), {"zoom": 0.3})
    areas = result.sum(axis=(1, 2, 3)) / blob()[0].sum()
    assert 1 / 1.3**2 - 0.02 < areas.min() < 0.8
    assert 1.25 < areas.max() < 1.3**2 + 0.02
    assert np.abs(centres(result) - 16.0).max() < 0.05


def test_crop_only_enlarges_and_shows_nothing_from_outside():
    ramp = np.tile(np.linspace(0.0, 240.0, 33, dtype=np.float32)[:, None], (32, 33, 1, 3))
    result = changed(ramp, {"crop": 0.4})
    # Along a ramp the steps shrink as it is enlarged; a mirrored edge would reverse them.
    steps = np.diff(result[:, 16, :, 0], axis=1)
    # The outermost half pixel is the edge's own value.
    assert steps.min() > -0.01
    assert steps[:, 1:-1].min() > 240.0 / 32 * 0.6 - 0.01
    assert steps.max() < 240.0 / 32 + 0.01
    assert result.min() >= 0.0
    assert steps.mean(axis=1).min() < 240.0 / 32 * 0.75


def test_rotation_turns_about_the_middle_in_both_directions():
    size = 33
    pixels = np.zeros((32, size, size, 3), np.float32)
    pixels[:, 16, 22:30] = 200.0  # a mark on the right
    x, y = (centres(changed(pixels, {"rotation": 30.0})) - 16.0).T
    angles = np.degrees(np.arctan2(y, x))
    assert -30.5 < angles.min() < -10.0
    assert 10.0 < angles.max() < 30.5
    assert np.hypot(x, y) == pytest.approx(9.5, abs=0.2)


def test_brightness_adds_the_same_everywhere_and_stays_in_range():
    pixels = np.full((16, SIZE, SIZE, 3), 100.0, np.float32)
    difference = changed(pixels, {"brightness": 0.2}) - pixels
    assert np.ptp(difference.reshape(16, -1), axis=1).max() < 1e-3
    assert -51.01 < difference.min() < -10.0
    assert 10.0 < difference.max() < 51.01
    assert changed(batch(16) * 0 + 250.0, {"brightness": 1.0}).max() == 255.0


def test_contrast_keeps_the_mean():
    pixels = batch(16) / 2 + 60.0
    result = changed(pixels, {"contrast": 0.5})
    assert result.mean(axis=(1, 2, 3)) == pytest.approx(pixels.mean(axis=(1, 2, 3)), abs=0.5)
    spread = result.std(axis=(1, 2, 3)) / pixels.std(axis=(1, 2, 3))
    assert 0.5 <= spread.min() < 0.9
    assert 1.1 < spread.max() <= 1.51


def test_saturation_does_not_change_grey_or_the_grey_value_of_colours():
    grey = np.repeat(batch(8)[..., :1], 3, axis=-1)
    assert changed(grey, {"saturation": 0.5}) == pytest.approx(grey, abs=0.1)
    colours = batch(8) / 2 + 60.0
    result = changed(colours, {"saturation": 0.5})
    weights = np.array([0.2989, 0.587, 0.114], np.float32)
    assert result @ weights == pytest.approx(colours @ weights, abs=0.2)


def test_one_option_does_not_change_what_another_draws():
    pixels = batch(16)
    brightness = changed(np.full_like(pixels, 100.0), {"brightness": 0.2})
    both = changed(np.full_like(pixels, 100.0), {"brightness": 0.2, "horizontal_flip": True, "rotation": 30.0})
    assert both == pytest.approx(brightness, abs=0.01)


def test_each_image_of_a_batch_is_changed_differently():
    pixels = np.repeat(batch(1), 8, axis=0)
    result = changed(pixels, EVERYTHING)
    assert len({image.tobytes() for image in result}) == 8


def test_changes_of_an_image_are_bit_identical_in_any_batch():
    pixels, numbers = batch(16), draws(16)
    together = augment(tf.constant(pixels), numbers, config(**EVERYTHING)).numpy()
    for rows in ([5], [9, 5, 2], list(reversed(range(16)))):
        some = augment(tf.constant(pixels[rows]), tf.gather(numbers, rows), config(**EVERYTHING)).numpy()
        assert np.array_equal(some, together[rows])


def with_draws(**columns):
    """Draws of one example, all in the middle but for some."""
    values = np.full((1, int(draws(1).shape[1])), 0.5, np.float32)
    for column, value in columns.items():
        values[0, int(column.removeprefix("c"))] = value
    return tf.constant(values)


def operated(pixels, operations, signs, magnitude=10):
    """What RandAugment makes of an image with these operations."""
    numbers = with_draws(
        c13=(operations[0] + 0.5) / 14,
        c14=(operations[1] + 0.5) / 14,
        c15=0.2 if signs[0] < 0 else 0.8,
        c16=0.2 if signs[1] < 0 else 0.8,
    )
    return augment(tf.constant(pixels[:1]), numbers, config(randaugment=magnitude)).numpy()[0]


TURN, SHEAR_X, SHEAR_Y, SLIDE_X, SLIDE_Y, KEEP = range(6)


@pytest.mark.parametrize("operation", [TURN, SHEAR_X, SHEAR_Y, SLIDE_X, SLIDE_Y])
def test_two_operations_that_cancel_out_interpolate_nothing(operation):
    pixels = batch(1)
    assert np.array_equal(operated(pixels, (operation, operation), (1, -1)), pixels[0])
    assert not np.array_equal(operated(pixels, (operation, KEEP), (1, -1)), pixels[0])


def test_randaugment_turns_shears_and_shifts_by_the_ranges_of_its_magnitude():
    size = 33
    pixels = np.zeros((1, size, size, 3), np.float32)
    pixels[:, 15:18, 22:27] = 200.0  # a mark on the right, 8 pixels from the middle
    for sign in (-1, 1):
        x, y = centres(operated(pixels, (TURN, KEEP), (sign, 1), 5)[None])[0] - 16.0
        assert np.degrees(np.arctan2(y, x)) == pytest.approx(-15.0 * sign, abs=1.0)
        x, y = centres(operated(pixels, (SHEAR_Y, KEEP), (sign, 1), 10)[None])[0] - 16.0
        assert (x, y) == pytest.approx((8.0, -0.3 * 8.0 * sign), abs=0.2)
        x, y = centres(operated(pixels, (SLIDE_Y, KEEP), (sign, 1), 2)[None])[0] - 16.0
        assert (x, y) == pytest.approx((8.0, -0.09 * size * sign), abs=0.1)
    low = np.rot90(pixels[0], -1)[None]  # the mark below the middle
    x, y = centres(operated(low, (SHEAR_X, KEEP), (1, 1), 10)[None])[0] - 16.0
    assert (x, y) == pytest.approx((-0.3 * 8.0, 8.0), abs=0.2)
    x, y = centres(operated(low, (SLIDE_X, KEEP), (1, 1), 2)[None])[0] - 16.0
    assert (x, y) == pytest.approx((-0.09 * size, 8.0), abs=0.1)


@pytest.mark.slow
def test_randaugment_changes_more_at_a_greater_magnitude():
    pixels = np.repeat(blob()[:1], 32, axis=0)
    differences = [np.abs(changed(pixels, {"randaugment": magnitude}) - pixels).mean() for magnitude in (1, 4, 10)]
    assert 0.0 < differences[0] < differences[1] < differences[2]


def erased_parts(pixels, chance):
    """For each image, which pixels were overwritten; all with its mean colour."""
    result = changed(pixels, {"erase": chance})
    parts = (result != pixels).any(axis=-1)
    for new, old, part in zip(result, pixels, parts, strict=True):
        assert new[part] == pytest.approx(np.tile(old.mean(axis=(0, 1)), (part.sum(), 1)), abs=1e-3)
    return parts


@pytest.mark.slow
def test_erasing_hides_one_rectangle_of_2_to_33_percent():
    size = 64
    areas, ratios, places = [], [], []
    for part in erased_parts(batch(64, size), 1.0):
        rows, columns = part.any(axis=1), part.any(axis=0)
        assert np.array_equal(part, np.outer(rows, columns))
        for side in (rows, columns):
            assert np.abs(np.diff(side.astype(int), prepend=0, append=0)).sum() == 2  # in one piece
        areas.append(part.mean())
        ratios.append(rows.sum() / columns.sum())
        places.append((rows.argmax(), columns.argmax()))
    # Whole pixels: a side may be half a pixel longer or shorter.
    assert 0.015 < min(areas) < 0.08
    assert 0.27 < max(areas) < 0.35
    assert 0.25 < min(ratios) < 0.5
    assert 2.0 < max(ratios) < 4.0
    assert np.ptp(places, axis=0).min() > size / 3


@pytest.mark.slow
def test_erasing_happens_with_its_probability():
    few, many = (erased_parts(batch(64), chance) for chance in (0.3, 0.6))
    erased = few.any(axis=(1, 2))
    assert 10 <= erased.sum() <= 30
    assert erased.sum() < many.any(axis=(1, 2)).sum() <= 50
    # What is erased at a smaller chance is erased at a greater one, in the same place.
    assert np.array_equal(many[erased], few[erased])
