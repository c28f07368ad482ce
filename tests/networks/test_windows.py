"""Windows of recordings and the mean over them, against the rule written out in Python."""

from fractions import Fraction
from math import ceil, floor

import keras
import numpy as np
import pytest

from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.windows import Windows, over_windows

SIZE = 10


def batch(*lengths, time):
    """Recordings without a zero in them, and zeros behind them."""
    rows = np.zeros((len(lengths), time), np.float32)
    for row, length in enumerate(lengths):
        rows[row, :length] = 100 * (row + 1) + np.arange(1, length + 1)
    return rows


def expected_windows(recording, padding):
    """The windows of one recording, cut by the rule."""
    length = max((place + 1 for place, value in enumerate(recording) if value), default=0)
    if length <= SIZE:
        whole = recording[:length]
        if padding == "repeat" and length:
            whole = np.tile(whole, SIZE)[:SIZE]
        return [np.pad(whole, (0, SIZE - len(whole)))]
    n = ceil(length / SIZE)
    # Halves are rounded up.
    starts = [floor(Fraction(j * (length - SIZE), n - 1) + Fraction(1, 2)) for j in range(n)]
    return [recording[start : start + SIZE] for start in starts]


@pytest.mark.parametrize("padding", ["silence", "repeat"])
@pytest.mark.parametrize(
    ("lengths", "time"),
    [
        pytest.param((10, 10), 10, id="clips of the network's length"),
        pytest.param((3, 0, 7), 7, id="clips that are shorter, one silent"),
        pytest.param((27, 10, 4, 11, 30, 0), 30, id="all lengths in one batch"),
        pytest.param((25,), 40, id="padding beyond the last window"),
        pytest.param((997, 985), 997, id="a hundred windows"),
    ],
)
def test_windows_are_evenly_spaced_over_what_is_not_padding(lengths, time, padding):
    recordings = batch(*lengths, time=time)
    windows, counts = map(keras.ops.convert_to_numpy, Windows(SIZE, padding)(recordings))
    n = ceil(time / SIZE)
    assert windows.shape == (len(lengths) * n, SIZE) and counts.shape == (len(lengths), n)
    for row, recording in enumerate(recordings):
        expected = expected_windows(recording, padding)
        assert counts[row].tolist() == [1] * len(expected) + [0] * (n - len(expected))
        np.testing.assert_array_equal(windows.reshape(len(lengths), n, SIZE)[row, : len(expected)], expected)


def test_window_starts_of_a_long_recording_do_not_overflow():
    # The product of a window's number and the last start is above 2**31.
    time, size = 500_077, 100
    recording = np.arange(1, time + 1, dtype=np.float32)[None]
    windows, counts = map(keras.ops.convert_to_numpy, Windows(size)(recording))
    n = ceil(time / size)
    assert counts.sum() == n
    starts = [floor(Fraction(j * (time - size), n - 1) + Fraction(1, 2)) for j in range(n)]
    np.testing.assert_array_equal(windows[:, 0] - 1, starts)


def mean_and_peak():
    samples = keras.Input((SIZE,), name="samples")
    outputs = keras.ops.stack([keras.ops.mean(samples, axis=1), keras.ops.max(samples, axis=1)], axis=1)
    return keras.Model(samples, keras.layers.Rescaling(2.0)(outputs), name="predictor")


def test_a_model_returns_the_mean_over_the_windows_of_each_recording(tmp_path):
    recordings = batch(27, 10, 4, 30, time=31)
    model = over_windows(mean_and_peak(), SIZE, "silence")
    assert model.name == "predictor" and model.output_shape == (None, 2)
    expected = []
    for recording in recordings:
        windows = np.array(expected_windows(recording, "silence"))
        expected.append(np.mean([2 * windows.mean(axis=1), 2 * windows.max(axis=1)], axis=1))
    np.testing.assert_allclose(model(recordings), expected, rtol=1e-5)
    write_keras_file(model, tmp_path / "a.keras")
    again = read_keras_file(tmp_path / "a.keras", BackboneError)
    # In batches of one: padding to the longest recording of a batch does not change the others.
    alone = [again.predict(recording[None], verbose=0)[0] for recording in recordings]
    np.testing.assert_allclose(alone, expected, rtol=1e-5)
