"""Log-mel spectrograms against the formula, computed by NumPy's Fourier transform."""

import keras
import numpy as np
import pytest
from scipy.signal.windows import hann

from keras_transfer.networks.log_mel import LogMel, mel_filters


def clip(samples, seed=0):
    """A rising tone with an echo, in noise."""
    seconds = np.arange(samples) / 16_000
    noise = np.random.default_rng(seed).normal(0, 0.003, samples)
    tone = 0.3 * np.sin(2 * np.pi * (300 + 800 * seconds) * seconds) * np.exp(-3 * (seconds - 0.4) ** 2)
    return (tone + noise).astype(np.float32)


def expected(x, *, window, hop, frame, transform, filters, gain=1.0, floor=1e-10, decades=8.0):
    """Frames are cut, windowed and transformed one by one, in double precision."""
    start = (frame - window) // 2
    rows = []
    for first in range(0, len(x) - frame + 1, hop):
        piece = gain * x[first + start : first + start + window].astype(np.float64) * hann(window, sym=False)
        rows.append(np.abs(np.fft.rfft(piece, transform)) ** 2 @ filters)
    logarithm = np.log10(np.maximum(np.array(rows), floor))
    return np.maximum(logarithm, logarithm.max() - decades)


def triangles(sample_rate, transform, mels, lowest, highest):
    """Slaney's bands as librosa's documentation defines them, one by one."""

    def to_mel(hz):
        return hz / (200 / 3) if hz < 1000 else 15 + np.log(hz / 1000) / (np.log(6.4) / 27)

    def to_hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    ends = [to_hz(mel) for mel in np.linspace(to_mel(lowest), to_mel(highest), mels + 2)]
    frequencies = np.fft.rfftfreq(transform, 1 / sample_rate)
    bands = [np.interp(frequencies, ends[i : i + 3], [0, 1, 0]) * 2 / (ends[i + 2] - ends[i]) for i in range(mels)]
    return np.stack(bands, axis=1)


@pytest.mark.parametrize(
    ("settings", "lowest", "highest"),
    [
        pytest.param({"window": 400, "hop": 160, "frame": 400, "transform": 400, "mels": 80}, 0, 8000, id="whisper"),
        pytest.param({"window": 400, "hop": 160, "frame": 512, "transform": 512, "mels": 32}, 60, 3800, id="speech"),
        pytest.param({"window": 401, "hop": 123, "frame": 600, "transform": 1024, "mels": 20}, 100, 7000, id="odd"),
    ],
)
def test_a_spectrogram_matches_the_formula(settings, lowest, highest):
    clips = np.stack([clip(9000), 0.1 * clip(9000, seed=1)])
    layer = LogMel(sample_rate=16_000, lowest=lowest, highest=highest, **settings)
    got = keras.ops.convert_to_numpy(layer(clips))
    mels = settings.pop("mels")
    filters = triangles(16_000, settings["transform"], mels, lowest, highest)
    np.testing.assert_allclose(mel_filters_of(layer, settings["transform"], mels, lowest, highest), filters, atol=1e-12)
    for row, samples in zip(got, clips, strict=True):
        np.testing.assert_allclose(row, expected(samples, filters=filters, **settings), atol=2e-4)
    assert layer.compute_output_shape((None, 9000)) == (None, *got.shape[1:])


def mel_filters_of(layer, transform, mels, lowest, highest):
    return mel_filters(16_000, mels, lowest=lowest, highest=highest, norm="slaney")(transform)


def test_the_ends_are_reflected_on_request():
    samples = clip(3200)
    settings = {"window": 400, "hop": 160, "mels": 40, "transform": 400}
    inside = LogMel(sample_rate=16_000, reflect=(200, 40), **settings)(samples[None])
    padded = np.pad(samples, (200, 40), mode="reflect")
    outside = LogMel(sample_rate=16_000, **settings)(padded[None])
    assert inside.shape == (1, 20, 40)
    np.testing.assert_allclose(inside, outside, atol=1e-5)


def test_each_band_has_a_frequency_and_an_even_response():
    layer = LogMel(sample_rate=16_000, mels=224, window=400, hop=160, norm="mean", decades=None, floor=1e-13)
    # White noise has the same power in each band, at the narrow low ones too.
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 32_000)).astype(np.float32)
    power = (10 ** keras.ops.convert_to_numpy(layer(noise))[0]).mean(axis=0)
    assert 0.7 < power.min() / power.mean() and power.max() / power.mean() < 1.4


def test_samples_stay_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        layer = LogMel(sample_rate=16_000, mels=32, window=400, hop=160, gain=32768.0)
        got = layer(clip(4000)[None])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert got.dtype == "float32"
    np.testing.assert_array_equal(got, LogMel.from_config(layer.get_config())(clip(4000)[None]))
