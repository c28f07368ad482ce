import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_transfer.data.augmentation.randaugment import choose, recolour

SIZE = 40
KEEP, BRIGHTEN, CONTRAST, SATURATE, SHARPEN, POSTERIZE, SOLARIZE, AUTOCONTRAST, EQUALIZE = range(5, 14)


def make_pixels(low=30, high=200):
    """Smooth colours with some noise."""
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    waves = np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x * y)], axis=-1)
    noise = np.random.default_rng(0).uniform(0.0, 0.2, waves.shape)
    return np.round(low + (high - low) * (waves + noise) / 1.2).astype(np.uint8)


def ours(pixels, operation, strength, second=KEEP, second_strength=0.0):
    operations, strengths = tf.constant([operation, second]), tf.constant([strength, second_strength])
    return recolour(tf.constant(pixels, tf.float32), operations, strengths).numpy()


def by_pillow(change, pixels):
    return np.asarray(change(Image.fromarray(pixels)), np.float32)


@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.4, 1.0])
@pytest.mark.parametrize(
    ("operation", "peer", "tolerance"),
    [
        (BRIGHTEN, ImageEnhance.Brightness, 1.0),
        (CONTRAST, ImageEnhance.Contrast, 12.0),  # Pillow's middle is the mean of the image in grey
        (SATURATE, ImageEnhance.Color, 2.0),
        (SHARPEN, ImageEnhance.Sharpness, 2.0),
    ],
)
def test_enhancements_match_pillow(operation, peer, tolerance, strength):
    pixels = make_pixels()
    expected = by_pillow(lambda image: peer(image).enhance(1.0 + 0.9 * strength), pixels)
    difference = np.abs(ours(pixels, operation, strength) - expected)
    assert difference[1:-1, 1:-1].max() <= tolerance  # Pillow leaves the edge unsharpened
    assert np.abs(expected - pixels).mean() > 0.5


def test_contrast_about_the_mean_matches_pillow_for_grey_images():
    pixels = np.repeat(make_pixels()[..., :1], 3, axis=-1)
    expected = by_pillow(lambda image: ImageEnhance.Contrast(image).enhance(1.9), pixels)
    assert ours(pixels, CONTRAST, 1.0) == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("strength", "bits"), [(0.25, 7), (0.5, 6), (1.0, 4)])
def test_posterize_keeps_the_upper_bits(strength, bits, sign):
    expected = by_pillow(lambda image: ImageOps.posterize(image, bits), make_pixels())
    assert np.array_equal(ours(make_pixels(), POSTERIZE, sign * strength), expected)


@pytest.mark.parametrize("strength", [0.3, -0.5, 1.0])
def test_solarize_inverts_the_bright_part(strength):
    threshold = 256 * (1 - abs(strength))
    expected = by_pillow(lambda image: ImageOps.solarize(image, threshold), make_pixels())
    assert np.array_equal(ours(make_pixels(), SOLARIZE, strength), expected)


def test_autocontrast_stretches_each_channel_to_the_full_range():
    result = ours(make_pixels(), AUTOCONTRAST, 0.5)
    assert result == pytest.approx(by_pillow(ImageOps.autocontrast, make_pixels()), abs=1.0)
    assert result.min(axis=(0, 1)).tolist() == [0.0] * 3
    assert result.max(axis=(0, 1)).tolist() == [255.0] * 3


def test_equalize_spreads_the_levels_evenly():
    pixels = (make_pixels() / 255.0) ** 3 * 255.0  # mostly dark
    result = ours(np.round(pixels), EQUALIZE, 0.5)
    for channel in range(3):
        shares, _ = np.histogram(result[..., channel], bins=4, range=(0, 255))
        assert shares == pytest.approx(SIZE * SIZE / 4, rel=0.15)
        order = np.argsort(np.round(pixels)[..., channel], axis=None, kind="stable")
        assert np.diff(result[..., channel].ravel()[order]).min() >= 0.0


@pytest.mark.parametrize("operation", [AUTOCONTRAST, EQUALIZE])
def test_a_flat_image_does_not_change(operation):
    flat = np.full((SIZE, SIZE, 3), 90, np.uint8)
    assert np.array_equal(ours(flat, operation, 1.0), flat)


@pytest.mark.parametrize("operation", range(14))
def test_every_operation_stays_in_range_and_moves_nothing(operation):
    pixels = make_pixels(0, 255)
    for strength in (-1.0, 1.0):
        result = ours(pixels, operation, strength)
        assert 0.0 <= result.min() <= result.max() <= 255.0
        if operation <= KEEP:
            assert np.array_equal(result, pixels)


def test_the_second_operation_works_on_the_result_of_the_first():
    once = ours(make_pixels(), SOLARIZE, 0.5)
    assert np.array_equal(ours(make_pixels(), SOLARIZE, 0.5, POSTERIZE, 1.0), ours(once, POSTERIZE, 1.0))


def test_operations_are_drawn_evenly_with_the_strength_of_the_magnitude():
    draws = np.random.default_rng(0).uniform(size=(1400, 4)).astype(np.float32)
    operations, strengths = (np.stack(column) for column in zip(*(choose(row, 7) for row in draws), strict=True))
    counts = np.bincount(operations.ravel(), minlength=14)
    assert len(counts) == 14
    assert counts.min() > 140
    assert np.abs(strengths) == pytest.approx(0.7)
    assert np.abs(np.mean(strengths, axis=0)).max() < 0.06
    highest = choose(np.full(4, np.nextafter(1, 0, dtype=np.float32), np.float32), 10)[0]
    assert highest.numpy().tolist() == [13, 13]
