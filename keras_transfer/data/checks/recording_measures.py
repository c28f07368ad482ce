"""Measurements of recordings: each is decoded once, and the results are cached by content."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.formats.recordings import (
    LARGEST,
    Samples,
    decode_clips,
    describe_too_long,
    read_info,
)
from keras_transfer.errors import first_line
from keras_transfer.storage.cache_store import cache_folder
from keras_transfer.storage.content_hashes import Stamp, hash_content, recall, remember

# Increase this when the checks change: recordings that an earlier scan passed are then checked again.
_FORMAT = 1
# 60 dB below full scale: speech is at -30 to -15 dB, and the noise of 8 bits at -50 dB.
_SILENT = 1e-3
# Full scale in several consecutive samples is the flat top of a clipped wave; a single one may be its peak.
_FULL_SCALE, _FLAT = 0.999, 3
_CLIPPED_SHARE = 1e-3
# A microphone that is not grounded. The mean of a short low note is not 0 either, but small compared to its level.
_OFFSET, _OFFSET_SHARE = 0.01, 0.5
SHORT_SECONDS = 0.05
"""Two windows of the usual 25 ms: a network hears nothing in less."""


@dataclass(frozen=True)
class RecordingMeasures:
    """The measurements of a recording or a clip, after its channels were averaged.

    Attributes:
        sample_rate: Sample rate of the file, in Hz.
        peak: Largest absolute sample; full scale is 1.
        level: Root mean square of the samples.
        offset: Mean of the samples.
        clipped: Share of the samples that are at full scale, in runs of at least three.
        sound: Hash of the samples in 16 bits: equal for a WAV and a FLAC file of the same recording.
    """

    seconds: float
    sample_rate: int
    channels: int
    peak: float
    level: float
    offset: float
    clipped: float
    sound: str

    @property
    def is_silent(self) -> bool:
        """Whether it is silent."""
        return self.peak < _SILENT

    @property
    def is_clipped(self) -> bool:
        """Whether it was recorded too loudly."""
        return self.clipped > _CLIPPED_SHARE

    @property
    def has_offset(self) -> bool:
        """Whether its mean is far from 0."""
        return abs(self.offset) > max(_OFFSET, _OFFSET_SHARE * self.level)

    @property
    def is_short(self) -> bool:
        """Whether it is too short for any network."""
        return self.seconds < SHORT_SECONDS - 1.0 / self.sample_rate  # a clip of 0.05 s may lack a sample


_KINDS = (float, int, int, float, float, float, float, str)

Measured = RecordingMeasures | str
"""What is measured of a recording, or what is wrong with it."""


def measure_recordings(
    recordings: Recordings, *, memory: Path | None = None, max_seconds: float | None = None
) -> list[Measured]:
    """Measure recordings in parallel. Cached ones are not read again; a file is read once for all of its clips.

    Args:
        memory: The folder of cached results; by default that of the feature cache. It is not used if it cannot be
            written.

    Returns:
        The measurements or the problem of each.

    Raises:
        DataError: A package that reads audio files is not installed.
    """
    record = _record_of(recordings, memory)
    known = {content: RecordingMeasures(*row) for content, row in recall(record, _KINDS).items()}
    stamps = recordings.stamps
    found: dict[int, Measured] = {
        row: _limit(known[stamp.content_hash], max_seconds)
        for row, stamp in enumerate(stamps)
        if stamp.content_hash in known
    }
    groups = [[row for row in rows if row not in found] for rows in recordings.rows_by_file()]
    groups = [rows for rows in groups if rows]
    if groups:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            each = list(pool.map(lambda rows: _measure_file(recordings, rows, max_seconds), groups))
        measured = {row: one for _, part in each for row, one in part.items()}
        found |= measured
        hashes = {row: content for content, part in each for row in part}
        recordings.remember({row: Stamp(stamps[row].state, content) for row, content in hashes.items()})
        new = {
            recordings.hash_clip(row, hashes[row]): one
            for row, one in measured.items()
            if isinstance(one, RecordingMeasures)
        }
        remember(record, {content: astuple(one) for content, one in (known | new).items()})
    return [found[row] for row in range(len(recordings))]


def find_problem(recordings: Recordings, row: int, max_seconds: float) -> str | None:
    """Decode one recording, and return its problem, or None."""
    found = _measure_file(recordings, [row], max_seconds)[1][row]
    return found if isinstance(found, str) else None


def _record_of(recordings: Recordings, memory: Path | None) -> Path:
    folder = cache_folder() / "recordings" if memory is None else memory
    facts = json.dumps([recordings.home, _FORMAT])
    return folder / f"{hashlib.sha256(facts.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.json"


def _measure_file(
    recordings: Recordings, rows: Sequence[int], max_seconds: float | None
) -> tuple[str, Mapping[int, Measured]]:
    """The hash of a file, and the measurements or the problem of each of its clips."""
    try:
        content = recordings.read(rows[0])
        info = read_info(content)
    except (OSError, ValueError) as error:
        return "", dict.fromkeys(rows, first_line(error))
    measured: dict[int, Measured] = {
        row: f"the clip ends at {end:g} s, and starts at {start:g} s"
        for row, (start, end) in ((row, recordings.span(row)) for row in rows)
        if end <= start
    }
    others = [row for row in rows if row not in measured]
    try:
        found, rate = decode_clips(content, [recordings.span(row) for row in others], max_seconds=max_seconds)
    except ValueError as error:
        return "", dict.fromkeys(rows, first_line(error))
    for row, samples in zip(others, found, strict=True):
        measured[row] = samples if isinstance(samples, str) else _measure(samples, rate, info.channels)
    return hash_content(content), measured


def _measure(samples: Samples, rate: int, channels: int) -> Measured:
    if not len(samples):
        return "0 samples"
    if not np.isfinite(samples).all():
        return f"{int((~np.isfinite(samples)).sum()):,} of {len(samples):,} samples are NaN or infinite"
    peak = float(np.abs(samples).max())
    if peak > LARGEST:
        return f"samples up to {peak:,.0f}; full scale is 1, so divide them by 32768 if they were whole numbers"
    whole = np.rint(samples * 32768.0).clip(-(2**15), 2**15 - 1).astype("<i2")
    return RecordingMeasures(
        seconds=len(samples) / rate,
        sample_rate=rate,
        channels=channels,
        peak=round(peak, 6),
        level=round(float(np.sqrt(np.square(samples, dtype=np.float64).mean())), 6),
        offset=round(float(samples.mean(dtype=np.float64)), 6),
        clipped=round(_share_clipped(samples), 6),
        sound=hash_content(str(rate).encode(), whole.tobytes()),
    )


def _share_clipped(samples: Samples) -> float:
    """The share of samples at full scale, in runs of at least three."""
    full = np.abs(samples) >= _FULL_SCALE
    if np.count_nonzero(full) < _FLAT:
        return 0.0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]])))
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= _FLAT].sum() / len(samples))


def _limit(measures: RecordingMeasures, max_seconds: float | None) -> Measured:
    is_long = max_seconds is not None and measures.seconds > max_seconds
    return describe_too_long(measures.seconds, max_seconds or 0.0) if is_long else measures
