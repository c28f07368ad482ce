"""Recordings that a user holds, each in a form of its own: a path, the bytes of a file, or samples."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_transfer.data.examples.files import GivenFiles
from keras_transfer.data.formats.recordings import Samples, encode_wav
from keras_transfer.data.tables.tables import kind_of

ACCEPTED = (
    "the path of an audio file (str or pathlib.Path), the bytes of one, samples as an array float32[samples] in -1..1 "
    "with a sample rate, a pair of them (samples, sample_rate), or a mapping with 'array' and 'sampling_rate'"
)
"""What a recording is in Python, for messages."""

_SCALES = {"int16": 2.0**15, "int32": 2.0**31}
_LEAST_RATE, _MOST_RATE = 1000, 768_000


@dataclass(frozen=True)
class GivenSamples:
    """A recording that a user holds as an array.

    Attributes:
        samples: ``float32[samples]``.
        sample_rate: In Hz.
    """

    samples: Samples
    sample_rate: int


@dataclass(frozen=True)
class GivenRecordings(GivenFiles):
    """Recordings that are not one folder or one array: paths, the bytes of audio files, or :class:`GivenSamples`."""

    def encode(self, value: Any) -> bytes:
        """Return bytes as they are, and samples as a WAV file."""
        return encode_wav(value.samples, value.sample_rate) if isinstance(value, GivenSamples) else bytes(value)


def take_recording(value: Any, sample_rate: int | None) -> Any:
    """Return a recording as :class:`GivenRecordings` takes it.

    Args:
        value: One of :data:`ACCEPTED`. A mapping may also have ``bytes`` or ``path``, as Hugging Face's datasets have
            recordings that are not decoded.
        sample_rate: In Hz, of arrays that come without one; None if that is not known.

    Raises:
        ValueError: It is none of these, or an array without a rate.
    """
    if isinstance(value, Mapping):
        value = _take_mapping(value)
    if isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview, GivenSamples)):
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2 and np.ndim(value[0]) and np.ndim(value[1]) == 0:
        value, sample_rate = value
    if not isinstance(value, np.ndarray):
        raise ValueError(f"expected {ACCEPTED}. Received: {kind_of(value)}")
    samples = _take_samples(value)
    if sample_rate is None:
        raise ValueError(
            "an array without a sample rate. Pass (samples, sample_rate), or name one for all: "
            "predict(..., sample_rate=44100), or data.sample_rate"
        )
    return GivenSamples(samples, _take_rate(sample_rate))


def _take_mapping(value: Mapping[str, Any]) -> Any:
    """What a mapping holds: Hugging Face's datasets have null for what it does not."""
    if value.get("array") is not None:
        rate = value.get("sampling_rate", value.get("sample_rate"))
        return np.asarray(value["array"]) if rate is None else (np.asarray(value["array"]), rate)
    for key in ("bytes", "path"):
        if value.get(key) is not None:
            return value[key]
    raise ValueError(f"expected a mapping with 'array' and 'sampling_rate', 'bytes' or 'path'. Received: {list(value)}")


def _take_samples(array: Any) -> Samples:
    if array.ndim != 1:
        raise ValueError(
            f"expected one channel, float32[samples]. Received an array of shape {list(array.shape)}. Average its "
            "channels, along the axis that they are on"
        )
    if array.dtype.name in _SCALES:
        return np.asarray(array / _SCALES[array.dtype.name], np.float32)
    if array.dtype.kind != "f":
        raise ValueError(f"expected samples float32 in -1..1, int16 or int32. Received: {array.dtype}")
    return np.asarray(array, np.float32)


def _take_rate(rate: Any) -> int:
    whole = isinstance(rate, (int, float, np.integer, np.floating)) and not isinstance(rate, bool) and rate == int(rate)
    if not whole or not _LEAST_RATE <= rate <= _MOST_RATE:
        raise ValueError(f"expected a sample rate in Hz, from {_LEAST_RATE:,} to {_MOST_RATE:,}. Received: {rate!r}")
    return int(rate)
