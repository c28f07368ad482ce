"""Audio files become samples: compared with the standard library's readers, and with files made byte by byte."""

import io
import struct
import sys
import wave

import numpy as np
import pytest
import soundfile
from scipy.io import wavfile
from scipy.signal import resample_poly

from keras_transfer.data.formats.recordings import decode_clips, decode_recording, encode_wav, read_info, require_audio
from keras_transfer.errors import DataError

RATE = 16000


def tone(seconds=1.0, rate=RATE, frequency=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(samples, rate=RATE, **options):
    with io.BytesIO() as file:
        soundfile.write(file, samples, rate, **{"format": "WAV", **options})
        return file.getvalue()


def mu_law(codes):
    """ITU-T G.711, by its formula."""
    codes = ~codes.astype(np.uint8)
    exponent, mantissa = (codes >> 4) & 7, codes & 15
    size = ((mantissa.astype(np.int32) << 3) + 132 << exponent) - 132
    return np.where(codes & 128, -size, size) / 32768


def riff(codes, *, tag, bits, channels=1, rate=RATE):
    """A WAV file, written here byte by byte, with another chunk before its samples."""
    codes = codes.tobytes()
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    body = b"fmt " + struct.pack("<I", 16) + fmt + b"LIST" + struct.pack("<I", 4) + b"INFO"
    body += b"data" + struct.pack("<I", len(codes)) + codes
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


CODES = np.random.default_rng(0).integers(0, 256, 600, np.uint8)
INTS = np.frombuffer(CODES.tobytes(), "<i4").astype(np.int64)


# The values are those of the bytes, by the definition of each format.
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(riff(CODES, tag=1, bits=8), (CODES - 128.0) / 128, id="8 bit"),
        pytest.param(riff(CODES, tag=1, bits=16), np.frombuffer(CODES, "<i2") / 2**15, id="16 bit"),
        pytest.param(
            riff(CODES, tag=1, bits=24),
            [int.from_bytes(CODES[n : n + 3].tobytes(), "little", signed=True) / 2**23 for n in range(0, 600, 3)],
            id="24 bit",
        ),
        pytest.param(riff(CODES, tag=1, bits=32), INTS / 2**31, id="32 bit"),
        pytest.param(riff(tone(), tag=3, bits=32), tone(), id="float"),
        pytest.param(riff(tone().astype("<f8"), tag=3, bits=64), tone(), id="double"),
        pytest.param(riff(CODES, tag=7, bits=8), mu_law(CODES), id="mu-law"),
        pytest.param(
            riff(CODES, tag=1, bits=16, channels=3), np.frombuffer(CODES, "<i2").reshape(-1, 3).mean(1) / 2**15, id="3"
        ),
    ],
)
def test_wav_files_are_read_exactly(content, expected):
    samples = decode_recording(content, sample_rate=RATE)
    assert samples.dtype == np.float32 and samples.ndim == 1
    np.testing.assert_allclose(samples, expected, atol=1e-7)


def test_files_of_other_writers_are_read():
    mono = (tone() * 32767).astype(np.int16)
    with io.BytesIO() as by_scipy, io.BytesIO() as by_wave:
        wavfile.write(by_scipy, RATE, np.stack([mono, -mono, mono], 1))
        with wave.open(by_wave, "wb") as file:
            file.setparams((2, 2, RATE, 0, "NONE", ""))
            file.writeframes(np.stack([mono, 0 * mono], 1).tobytes())
        contents = by_scipy.getvalue(), by_wave.getvalue()
    np.testing.assert_allclose(decode_recording(contents[0], sample_rate=RATE), mono / 3 / 32768, atol=1e-6)
    np.testing.assert_allclose(decode_recording(contents[1], sample_rate=RATE), mono / 2 / 32768, atol=1e-6)


# What a lossy encoder leaves of a tone is near it; what is lossless is equal.
@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"format": "FLAC"}, 1 / 32768, id="FLAC"),
        pytest.param({"format": "AIFF"}, 1 / 32768, id="AIFF"),
        pytest.param({"format": "OGG", "subtype": "VORBIS"}, 0.02, id="Vorbis"),
        pytest.param({"format": "OGG", "subtype": "OPUS"}, 0.05, id="Opus"),
        pytest.param({"format": "MP3"}, 0.05, id="MP3"),
    ],
)
def test_other_formats_have_the_samples_that_were_written(options, error):
    content = write(tone(2.0), **options)
    info = read_info(content)
    assert (info.sample_rate, info.channels, info.format) == (RATE, 1, options["format"])
    assert info.seconds == pytest.approx(2.0, abs=1e-3)
    samples = decode_recording(content, sample_rate=RATE)
    assert np.abs(samples - tone(2.0))[1000:-1000].max() <= error
    # A clip has the samples that the whole recording has there.
    clip = decode_recording(content, sample_rate=RATE, start=0.5, end=1.25)
    np.testing.assert_allclose(clip, samples[8000:20000], atol=1e-6)
    clips, rate = decode_clips(content, [(1.0, 9.0), (1.5, np.inf), (0.5, 1.25), (0.0, 0.5), (1.0, 1.1)], max_seconds=1)
    assert rate == RATE
    assert clips[0] == "the clip ends at 9.00 s, and the recording at 2.00 s"
    for found, expected in zip(clips[1:], (samples[24000:], clip, samples[:8000], samples[16000:17600]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 192000])
def test_recordings_are_resampled(rate):
    samples = decode_recording(write(tone(1.0, rate), rate, subtype="FLOAT"), sample_rate=RATE)
    assert len(samples) == RATE
    # 440 Hz is 440 Hz at any rate, apart from the edges.
    np.testing.assert_allclose(samples[800:-800], tone()[800:-800], atol=1e-3)
    by_scipy = resample_poly(tone(1.0, rate), RATE, rate)
    np.testing.assert_allclose(samples[800:-800], by_scipy[800:-800], atol=5e-3)


def test_encoded_recordings_are_read_exactly_by_all_readers():
    samples = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    content = encode_wav(samples, 22050)
    assert len(content) == 44 + 4 * len(samples)
    rate, by_scipy = wavfile.read(io.BytesIO(content))
    assert rate == 22050
    np.testing.assert_array_equal(by_scipy, samples)
    np.testing.assert_array_equal(decode_recording(content, sample_rate=22050), samples)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(
        DataError, match=r"soxr is not installed. Install them with pip install 'keras-transfer\[audio\]'"
    ):
        require_audio()
