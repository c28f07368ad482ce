"""Recordings as the model takes them: mono, at its rate, padded. Needs NumPy; uses soundfile and soxr if installed.

Without soundfile, the standard library reads PCM WAV files, and without soxr only those at the model's rate are read.
"""

import io
import wave
from pathlib import Path

import numpy as np


def from_argument(argument):
    """Return the bytes of a file."""
    return Path(argument).read_bytes()


def load(folder, description):
    """Return a function from the bytes of an audio file to the model's tensors."""
    return lambda content: {"samples": read(content, description["preprocessing"])}


def read(content, rule):
    """Return float32[time] in -1..1, at least as long as the network's input; zeros at the end do not count."""
    x, rate = decode(content, rule["max_seconds"])
    if not len(x) or not np.isfinite(x).all():
        raise ValueError("a recording without samples, or with some that are NaN or infinite")
    if rate != rule["sample_rate"]:
        x = resample(x, rate, rule["sample_rate"])
    x = np.trim_zeros(x, "b")
    return np.pad(x, (0, -len(x) % rule["samples"] if len(x) else rule["samples"]))


def decode(content, most):
    """Return the mean of the channels, float32[time], and their rate."""
    try:
        import soundfile  # also FLAC, OGG and MP3
    except ImportError:
        return decode_wav(content, most)
    size = int.from_bytes(content[4:8], "little") if content.startswith(b"RIFF") else 0
    if len(content) - 8 < size != 0xFFFFFFFF:  # that is a stream, which does not know its size
        raise ValueError("a file that is cut off")
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        check(file.frames / file.samplerate, most)
        x = file.read(dtype="float32", always_2d=True)
        return x.mean(axis=1, dtype=float).astype(np.float32), file.samplerate


def decode_wav(content, most):
    """Do the same for a WAV file of PCM with 8, 16, 24 or 32 bits."""
    with wave.open(io.BytesIO(content)) as file:
        channels, width, rate, count = file.getparams()[:4]
        check(count / rate, most)
        data = np.frombuffer(file.readframes(count), np.uint8).reshape(-1, width)
    if len(data) != count * channels:
        raise ValueError("a file that is cut off")
    if width == 1:
        x = data[:, 0].astype(np.float32) / 128 - 1
    else:
        whole = np.zeros((len(data), 4), np.uint8)
        whole[:, 4 - width :] = data
        x = whole.view("<i4")[:, 0].astype(np.float32) / 2**31
    return x.reshape(-1, channels).mean(axis=1, dtype=float).astype(np.float32), rate


def check(seconds, most):
    """Refuse a recording that is too long."""
    if seconds > most:
        raise ValueError(f"{seconds:.0f} s; at most {most:g} s are taken")


def resample(x, rate, to):
    """Return samples at another rate."""
    try:
        import soxr
    except ImportError:
        raise ValueError(f"{rate} Hz; without soxr, only {to} Hz can be read: pip install soxr") from None
    return soxr.resample(x, rate, to, quality="HQ").astype(np.float32)
