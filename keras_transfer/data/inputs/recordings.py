"""Recordings that ``predict`` accepts: files, encoded bytes, and samples with their rate."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_transfer.config.data import AudioDataConfig
from keras_transfer.data.checks.recording_measures import find_problem
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.recordings import (
    ACCEPTED,
    WHOLE,
    GivenRecordings,
    Recordings,
    show_span,
    take_recording,
)
from keras_transfer.data.formats.recordings import require_audio
from keras_transfer.data.inputs.base import Broken, InputRows
from keras_transfer.data.inputs.files import FileInputs, explain, take_bytes
from keras_transfer.data.sources.recordings import to_times


class Clip(NamedTuple):
    """A clip of a recording in a row of a table.

    Attributes:
        start: Where it starts, in seconds.
        end: Where it ends, in seconds; ``inf`` is the end of the recording.
    """

    value: Any
    start: float
    end: float


class AudioInputs(FileInputs):
    """Recordings.

    Args:
        sample_rate: For arrays without a sample rate, in Hz; by default ``data.sample_rate``.
    """

    plural = "recordings"
    accepted = ACCEPTED

    def __init__(self, config: AudioDataConfig, *, sample_rate: int | None = None) -> None:
        super().__init__(config)
        self._config = config
        self._sample_rate = config.sample_rate if sample_rate is None else sample_rate

    def is_input(self, value: Any) -> bool:
        """Return whether it is a path, samples, or the bytes of a file."""
        if isinstance(value, np.ndarray):
            return value.ndim in (1, 2) and value.dtype.kind in "uifb"
        if isinstance(value, tuple):
            return len(value) == 2 and isinstance(value[0], np.ndarray) and np.ndim(value[1]) == 0
        return isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview, Mapping))

    def name(self, value: Any, number: int) -> str:
        return str(value) if isinstance(value, (str, os.PathLike)) else f"recording {number}"

    def from_bytes(self, value: Any) -> Any:
        return take_bytes(value, "an audio file")

    def read_table(self, table: pd.DataFrame, where: str, folder: Path) -> InputRows:
        rows = super().read_table(table, where, folder)
        columns = {"start": self._config.start, "end": self._config.end}
        for key, column in columns.items():
            if column is not None and column not in table.columns:
                raise self.missing_column(table, where, key, column)
        if not any(columns.values()):
            return rows
        starts, ends = (
            np.full(len(table), default) if column is None else to_times(table[column].tolist(), default)
            for column, default in zip(columns.values(), WHOLE, strict=True)
        )
        clips: list[Any] = [
            value if isinstance(value, Broken) else _to_clip(value, start, end)
            for value, start, end in zip(rows.values, starts.tolist(), ends.tolist(), strict=True)
        ]
        spans = [show_span(clip.start, clip.end) if isinstance(clip, Clip) else "" for clip in clips]
        names = [f"{name} {span}" if span else name for name, span in zip(rows.names, spans, strict=True)]
        return replace(rows, values=clips, names=names)

    def read(self, values: Sequence[Any], names: Sequence[str]) -> tuple[Examples, Mapping[int, str]]:
        """Decode each recording once, a few at a time, to find those that cannot be read."""
        require_audio()
        taken = {place: self._take(value) for place, value in enumerate(values)}
        problems = {place: value.problem for place, value in taken.items() if isinstance(value, Broken)}
        places = [place for place in taken if place not in problems]
        recordings = _to_recordings([taken[place] for place in places], [names[place] for place in places])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            limit = self._config.max_seconds
            found = list(pool.map(lambda row: find_problem(recordings, row, limit), range(len(places))))
        for place, problem in zip(places, found, strict=True):
            if problem is not None:
                problems[place] = explain(taken[place].value, problem)
        whole = [row for row, problem in enumerate(found) if problem is None]
        return recordings.select(whole), dict(sorted(problems.items()))

    def read_again(self, values: Sequence[Any], names: Sequence[str]) -> Examples:
        """Assume that values decoded earlier are recordings."""
        return _to_recordings([self._take(value) for value in values], names)

    def _take(self, value: Any) -> Any:
        """A clip, or :class:`Broken`."""
        if isinstance(value, Broken):
            return value
        clip = value if isinstance(value, Clip) else Clip(value, *WHOLE)
        try:
            return clip._replace(value=take_recording(clip.value, self._sample_rate))
        except ValueError as error:
            return Broken(str(error))


def _to_clip(value: Any, start: float, end: float) -> Clip | Broken:
    if np.isnan(start) or np.isnan(end):
        return Broken(f"its {'start' if np.isnan(start) else 'end'} is not a number of seconds")
    return Clip(value, start, end)


def _to_recordings(clips: Sequence[Clip], names: Sequence[str]) -> Recordings:
    """Recordings named by their files and spans, without the names of inputs, which contain them, too."""
    spans = [show_span(clip.start, clip.end) for clip in clips]
    files = tuple(name.removesuffix(f" {span}") if span else name for name, span in zip(names, spans, strict=True))
    times = np.array([(clip.start, clip.end) for clip in clips], np.float64).reshape(-1, 2)
    return Recordings(GivenRecordings(files, tuple(clip.value for clip in clips)), times if any(spans) else None)
