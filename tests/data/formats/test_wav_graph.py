"""WAV files in a graph: the samples of an independent reader, and no failure from any bytes."""

import io
import struct

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from keras_transfer.data.formats.wav_graph import RATES, decode_wavs

RATE = 16_000


def make_sound(seconds=0.5, rate=RATE, channels=2):
    """Tones with overtones that fade, as of plucked strings."""
    time = np.arange(int(seconds * rate)) / rate
    parts = [
        np.sin(2 * np.pi * note * number * time + channel) * np.exp(-time * 4 * number) / number
        for channel in range(channels)
        for note in (196, 330)
        for number in range(1, 13)
    ]
    return 0.2 * np.sum(np.reshape(parts, (channels, -1, len(time))), axis=1).T.astype(np.float32)


def encode(samples, rate=RATE, subtype="PCM_16", kind="WAV"):
    with io.BytesIO() as file:
        soundfile.write(file, samples, rate, subtype=subtype, format=kind)
        return file.getvalue()


@pytest.fixture(scope="module")
def decode():
    return tf.function(
        lambda contents: decode_wavs(contents, sample_rate=RATE, max_seconds=2.0),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


def chunk(name, content):
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def make_file(*chunks, kind=b"RIFF", form=b"WAVE"):
    content = form + b"".join(chunks)
    return struct.pack("<4sI", kind, len(content)) + content


FORMAT = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
DATA = np.arange(-50, 50, dtype="<i2").tobytes()


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_samples_match_soundfile(decode, kind):
    subtypes = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
    sounds = [make_sound(0.1 + 0.01 * number, channels=1 + number % 3) for number in range(len(subtypes))]
    files = [encode(sound, subtype=subtype, kind=kind) for sound, subtype in zip(sounds, subtypes, strict=True)]
    samples, ok = decode(files)
    assert ok.numpy().all() and samples.shape == (8, len(sounds[-1]))
    for content, decoded, sound in zip(files, samples.numpy(), sounds, strict=True):
        expected = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(axis=1)
        np.testing.assert_allclose(decoded[: len(sound)], expected, rtol=0, atol=1e-7)
        assert not decoded[len(sound) :].any()


def test_other_rates_are_resampled_as_by_soxr(decode):
    for rate in RATES:
        sound = make_sound(0.3, rate, 1)[:, 0]
        (samples,), (ok,) = decode([encode(sound, rate, "FLOAT")])
        expected = soxr.resample(sound, rate, RATE, quality="HQ")
        assert ok and len(samples) == len(expected), rate
        difference = np.square(samples - expected).mean() / np.square(expected).mean()
        assert 10 * np.log10(difference + 1e-20) < -60, rate


def test_chunks_may_come_in_any_order(decode):
    header, data = chunk(b"fmt ", FORMAT), chunk(b"data", DATA)
    stream = make_file(header, struct.pack("<4sI", b"data", 0xFFFFFFFF) + DATA)
    files = [
        make_file(header, data),
        make_file(chunk(b"LIST", b"INFOISFT"), chunk(b"odd ", b"abc"), header, chunk(b"fact", bytes(4)), data),
        make_file(header, data, chunk(b"LIST", bytes(9000))),
        stream,
    ]
    samples, ok = decode(files)
    assert ok.numpy().all()
    assert np.array_equal(samples, np.tile(np.arange(-50, 50) / 32768, (4, 1)).astype(np.float32))


def test_files_that_are_not_recordings_do_not_affect_others(decode):
    header, data, good = chunk(b"fmt ", FORMAT), chunk(b"data", DATA), encode(make_sound(0.1))

    def altered(**fields):
        names = ["code", "channels", "rate", "bytes", "align", "bits"]
        values = dict(zip(names, struct.unpack("<HHIIHH", FORMAT), strict=True)) | fields
        return make_file(chunk(b"fmt ", struct.pack("<HHIIHH", *(values[name] for name in names))), data)

    floats = struct.pack("<HHIIHH", 3, 1, RATE, 4 * RATE, 4, 32)
    bad = {
        "zero bytes": b"",
        "text": b"These are no samples." * 9,
        "the name alone": b"RIFF",
        "truncated": good[:-1000],
        "no samples": make_file(header, chunk(b"data", b"")),
        "no format": make_file(data),
        "samples before the format": make_file(data, header),
        "a header that promises more": make_file(header, struct.pack("<4sI", b"data", 2**31) + DATA),
        "a header that promises less": make_file(header, data, bytes(range(128, 256)) * 50),
        "endless chunks": make_file(*[chunk(b"none", b"")] * 5000),
        "another form": make_file(header, data, form=b"AVI "),
        "big-endian": make_file(header, data, kind=b"RIFX"),
        "FLAC": encode(make_sound(0.1), kind="FLAC"),
        "too long": encode(np.zeros(int(2.1 * RATE))),
        "another rate": encode(make_sound(0.1), 12_345),
        "NaN": make_file(chunk(b"fmt ", floats), chunk(b"data", np.float32([0.5, np.nan]).tobytes())),
        "another scale": make_file(chunk(b"fmt ", floats), chunk(b"data", np.float32([0.5, 3000]).tobytes())),
        "no channels": altered(channels=0),
        "more channels than bytes": altered(channels=65535),
        "12 bits": altered(bits=12),
        "an unknown encoding": altered(code=0x11),
        "no rate": altered(rate=0),
    }
    samples, ok = decode([*bad.values(), good])
    assert dict(zip(bad, ok.numpy(), strict=False)) == dict.fromkeys(bad, False)
    expected = soundfile.read(io.BytesIO(good), dtype="float32")[0].mean(axis=1)
    np.testing.assert_allclose(samples[-1], expected, atol=1e-7)
    assert not samples[:-1].numpy().any()


def test_no_bytes_make_the_graph_fail(decode):
    random, good = np.random.default_rng(0), encode(make_sound(0.02), subtype="PCM_24")
    files = []
    for _ in range(200):
        content = bytearray(good)
        for place in random.integers(0, 60, random.integers(1, 5)):
            content[place] = random.integers(256)
        files.append(bytes(content[: random.integers(len(good))] if random.random() < 0.3 else content))
    samples, ok = decode(files)
    assert len(ok) == 200 and 0 < ok.numpy().sum() < 200 and np.isfinite(samples).all()


def test_an_empty_batch_has_no_rows(decode):
    samples, ok = decode(tf.constant([], tf.string))
    assert samples.shape[0] == 0 and ok.shape == (0,)
