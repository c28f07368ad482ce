"""Recordings before they are decoded, and clips of recordings: files, each with an optional span, or Python objects."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.files import FileExamples, GivenFiles, join_fingerprints
from keras_transfer.data.formats.recordings import Samples, decode_recording, encode_wav
from keras_transfer.data.tables.tables import kind_of
from keras_transfer.storage.content_hashes import Stamp, hash_content

WHOLE = (0.0, float("inf"))
"""The span of a recording that is not a clip."""


@dataclass(frozen=True)
class Recordings:
    """Recordings, or clips of them.

    Attributes:
        files: The file of each; a file with several clips occurs several times.
        spans: ``float64[n, 2]``, where each clip starts and ends in its file, in seconds; ``inf`` is the end of the
            file. None if all are whole files.

    Example:
        >>> from pathlib import Path
        >>> from keras_transfer.data.examples.files import Files
        >>> Recordings(Files(Path(), ("a.wav", "a.wav")), np.array([[0.0, np.inf], [1.5, 3.0]])).names
        ('a.wav', 'a.wav 1.50-3.00 s')
    """

    files: FileExamples
    spans: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> tuple[str, ...]:
        """The file of each, with the span of the clip."""
        return tuple(self._with_spans(self.files.names))

    def _with_spans(self, names: Sequence[str]) -> list[str]:
        if self.spans is None:
            return list(names)
        spans = map(show_span, *self.spans.T.tolist())
        return [f"{name} {span}" if span else name for name, span in zip(names, spans, strict=True)]

    @property
    def fingerprints(self) -> list[str]:
        return join_fingerprints(self)

    @property
    def file_hashes(self) -> list[str]:
        """The content hash of each one's whole file; empty if it cannot be read."""
        return self.files.content_hashes

    @property
    def content_hashes(self) -> list[str]:
        """The hash of each one's file and clip; empty if the file cannot be read."""
        return self._hash_clips(self.file_hashes)

    def _hash_clips(self, hashes: Sequence[str]) -> list[str]:
        return [self.hash_clip(row, content) for row, content in enumerate(hashes)]

    def hash_clip(self, row: int, content: str) -> str:
        """Return the hash of a clip from that of its whole file; they are equal for a whole recording."""
        span = self.span(row)
        return content if not content or span == WHOLE else hash_content(content.encode(), np.array(span).tobytes())

    @property
    def home(self) -> str:
        return self.files.home

    @property
    def places(self) -> list[str]:
        return self._with_spans(self.files.places)

    @property
    def stamps(self) -> list[Stamp]:
        """What is known about each example without reading it; the hashes are those of :attr:`content_hashes`."""
        stamps = self.files.stamps
        hashes = self._hash_clips([stamp.content_hash for stamp in stamps])
        return [Stamp(stamp.state, content) for stamp, content in zip(stamps, hashes, strict=True)]

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        self.files.remember(stamps)

    def rows_by_file(self) -> list[list[int]]:
        """Return the rows of each file, so that a file is read once for all of its clips."""
        if isinstance(self.files, GivenFiles):  # several of them may have the same name
            return [[row] for row in range(len(self))]
        rows: dict[str, list[int]] = defaultdict(list)
        for row, place in enumerate(self.files.places):
            rows[place].append(row)
        return list(rows.values())

    def span(self, row: int) -> tuple[float, float]:
        """Return the start and end of a clip in its file, in seconds; ``inf`` is the end of the file."""
        if self.spans is None:
            return WHOLE
        start, end = self.spans[row].tolist()
        return start, end

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Recordings":
        index = np.asarray(rows, np.int64)
        return Recordings(self.files.select(index), None if self.spans is None else self.spans[index])

    def read(self, row: int) -> bytes:
        """Return the bytes of the whole file of one.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not a recording.
        """
        return self.files.read(row)

    def decode(self, row: int, sample_rate: int) -> Samples:
        """Decode one to ``float32[samples]``, averaging its channels.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not a recording, or the clip is not within it.
        """
        start, end = self.span(row)
        return decode_recording(
            self.read(row), sample_rate=sample_rate, start=start or None, end=None if end == np.inf else end
        )


def show_span(start: float, end: float) -> str:
    """Return ``1.50-3.00 s`` for a clip, and "" for a whole recording.

    More decimals are used if two are not exact, since names identify examples.
    """
    if (start, end) == WHOLE:
        return ""
    return f"{_show_time(start)}-{'end' if end == np.inf else f'{_show_time(end)} s'}"


def _show_time(seconds: float) -> str:
    short = f"{seconds:.2f}"
    return short if float(short) == seconds else repr(seconds)


ACCEPTED = (
    "the path of an audio file (str or pathlib.Path), the bytes of one, samples as an array float32[samples] in -1..1 "
    "with a sample rate, a pair of them (samples, sample_rate), or a mapping with 'array' and 'sampling_rate'"
)
"""What a recording is in Python, for messages."""

_SCALES = {"int16": 2.0**15, "int32": 2.0**31}
_LEAST_RATE, _MOST_RATE = 1000, 768_000


@dataclass(frozen=True)
class GivenSamples:
    """A recording as an array of samples.

    Attributes:
        samples: ``float32[samples]``.
        sample_rate: Sample rate in Hz.
    """

    samples: Samples
    sample_rate: int


@dataclass(frozen=True)
class GivenRecordings(GivenFiles):
    """Recordings that are not one folder or one array: paths, the bytes of audio files, or :class:`GivenSamples`."""

    def encode(self, value: Any) -> bytes:
        """Return bytes unchanged, and samples as a WAV file."""
        return encode_wav(value.samples, value.sample_rate) if isinstance(value, GivenSamples) else bytes(value)


def take_recording(value: Any, sample_rate: int | None) -> Any:
    """Convert a recording for :class:`GivenRecordings`.

    Args:
        value: One of :data:`ACCEPTED`. A mapping may also have ``bytes`` or ``path``, as undecoded recordings in
            Hugging Face's datasets do.
        sample_rate: For arrays without a sample rate, in Hz; None if unknown.

    Raises:
        ValueError: It is none of these, or an array without a sample rate.
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
    """The recording in a mapping: in Hugging Face's datasets, absent values are null."""
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
