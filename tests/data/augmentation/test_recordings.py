"""Random changes to recordings: what each does, measured, and that they depend on seed, epoch and row alone."""

import numpy as np
import pytest

from keras_transfer.config.augmentation import AudioAugmentationConfig
from keras_transfer.data.augmentation.recordings import Augmenter, fill_up, is_identity, remove_band

RATE = 8000
SIZE = 4000
OFF = {"crop": False}


def tone(frequency, count=SIZE, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(count) / rate).astype(np.float32)


def show(samples, *, epoch=0, row=0, seed=0, padding="silence", size=SIZE, **changes):
    augmenter = Augmenter(size, RATE, padding, AudioAugmentationConfig(**{**OFF, **changes}), seed)
    shown, _ = augmenter.show(lambda start, count: samples[start : start + count], len(samples), epoch, row)
    assert shown.dtype == np.float32 and shown.shape == (size,)
    return shown


def decibels(ratio):
    return 10 * np.log10(ratio)


def power(samples):
    return np.square(samples.astype(np.float64)).mean()


def loudest(samples):
    """The frequency with most power, in Hz."""
    return np.fft.rfftfreq(len(samples), 1 / RATE)[np.abs(np.fft.rfft(samples)).argmax()]


def test_without_changes_a_recording_is_its_middle():
    numbers = np.arange(1, 9001, dtype=np.float32)
    assert is_identity(AudioAugmentationConfig(**OFF, mixup=0.3))
    assert not is_identity(AudioAugmentationConfig())
    np.testing.assert_array_equal(show(numbers), numbers[2500:6500])
    np.testing.assert_array_equal(
        show(numbers[:10], size=25, padding="repeat"), [*range(1, 11), *range(1, 11), *range(1, 6)]
    )
    np.testing.assert_array_equal(show(numbers[:10], size=12), [*range(1, 11), 0, 0])
    assert not fill_up(numbers[:0], 3, "repeat").any()


def test_a_crop_may_start_anywhere():
    numbers = np.arange(SIZE + 10, dtype=np.float32)
    shown = [show(numbers, epoch=epoch, crop=True) for epoch in range(200)]
    assert {int(own[0]) for own in shown} == set(range(11))
    assert all((np.diff(own) == 1).all() for own in shown)


def test_changes_depend_only_on_seed_epoch_and_row():
    sound = np.random.default_rng(1).normal(size=9000).astype(np.float32)
    changes = {
        "crop": True,
        "gain": 6.0,
        "shift": 0.2,
        "noise": 10.0,
        "speed": 0.1,
        "time_mask": 0.3,
        "frequency_mask": 0.3,
    }
    first = show(sound, seed=3, epoch=5, row=7, **changes)
    np.testing.assert_array_equal(first, show(sound, seed=3, epoch=5, row=7, **changes))
    for other in ({"seed": 4}, {"epoch": 6}, {"row": 8}):
        assert np.abs(first - show(sound, **{"seed": 3, "epoch": 5, "row": 7, **other}, **changes)).max() > 0.1
    # A change that is turned off leaves the others as they were.
    silent = show(sound, crop=True, time_mask=0.9)
    assert {*silent[silent != 0]} <= {*show(sound, crop=True)}


def test_gain_is_within_its_decibels():
    ratios = [decibels(power(show(tone(440), row=row, gain=6.0)) / power(tone(440))) for row in range(100)]
    assert -6.001 < min(ratios) < -5 and 5 < max(ratios) < 6.001


def test_noise_has_the_requested_ratio():
    sound = 0.1 * tone(440)
    ratios = [decibels(power(sound) / power(show(sound, row=row, noise=5.0) - sound)) for row in range(100)]
    assert 4.7 < min(ratios) < 7 and 23 < max(ratios) < 25.3
    noise = show(sound, noise=0.0) - sound
    halves = np.square(np.abs(np.fft.rfft(noise))).reshape(-1)[1:].reshape(2, -1).sum(axis=1)
    assert halves[0] / halves.sum() == pytest.approx(0.5, abs=0.05)  # it is white
    assert not show(np.zeros(100, np.float32), noise=0.0).any()


def test_a_shift_moves_a_recording_by_up_to_its_share():
    click = np.zeros(SIZE, np.float32)
    click[2000] = 1
    places = [int(show(click, row=row, shift=0.25).argmax()) - 2000 for row in range(200)]
    assert -1001 < min(places) < -900 and 900 < max(places) < 1001
    numbers = np.arange(1, SIZE + 1, dtype=np.float32)
    for row in range(10):
        shown = show(numbers, row=row, shift=0.5)
        assert sorted(shown[shown > 0]) == list(shown[shown > 0])  # nothing reappears at the other end
        assert sorted(show(numbers, row=row, shift=0.5, padding="repeat")) == list(numbers)


def test_speed_changes_length_and_pitch():
    sound = tone(500, 3 * SIZE)
    ratios = [loudest(show(sound, row=row, speed=0.2)) / 500 for row in range(60)]
    assert 0.79 < min(ratios) < 0.85 and 1.15 < max(ratios) < 1.21
    assert all(power(show(sound, row=row, speed=0.2)) > 0.45 for row in range(60))  # it is as long as before
    short = [np.flatnonzero(np.abs(show(tone(500, 1000), row=row, speed=0.2)) > 1e-3)[-1] for row in range(60)]
    assert 820 < min(short) < 900 and 1150 < max(short) < 1260


def test_spec_augment_masks_a_stretch_and_a_band():
    sound = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    widths = []
    for row in range(100):
        silent = np.flatnonzero(show(sound, row=row, time_mask=0.4) == 0)
        assert len(silent) == 0 or silent[-1] - silent[0] + 1 == len(silent)
        widths.append(len(silent))
    assert 0 <= min(widths) < 100 and 1500 < max(widths) <= 1600
    # 1000 Hz is at 46.6 % of the mel scale up to 4000 Hz: 2595 log10(1 + 1000 / 700) of 2595 log10(1 + 4000 / 700).
    chord = tone(300) + tone(1000) + tone(3000)
    found = np.abs(np.fft.rfft(remove_band(chord, RATE, 0.44, 0.05)))[[150, 500, 1500]]
    assert found[1] < 40 and found[[0, 2]] == pytest.approx(SIZE / 2, rel=0.01)
    np.testing.assert_allclose(remove_band(chord, RATE, 0.5, 0.0), chord, atol=1e-5)
