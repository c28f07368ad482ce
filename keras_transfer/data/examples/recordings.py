"""Recordings before they are decoded, and clips of recordings: files, each with a part of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.files import FileExamples, GivenFiles, join_fingerprints
from keras_transfer.data.formats.recordings import Samples, decode_recording
from keras_transfer.storage.content_hashes import Stamp, hash_content

WHOLE = (0.0, float("inf"))
"""The span of a recording that is not a clip."""


@dataclass(frozen=True)
class Recordings:
    """Recordings, or clips of them.

    Attributes:
        files: The file of each; a file that has several clips is there several times.
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
        """The file of each, and where in it a clip is."""
        return tuple(self._with_spans(self.files.names))

    def _with_spans(self, names: Sequence[str]) -> list[str]:
        if self.spans is None:
            return list(names)
        spans = map(show_span, *self.spans.T.tolist())
        return [f"{name} {span}" if span else name for name, span in zip(names, spans, strict=True)]

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each."""
        return join_fingerprints(self)

    @property
    def file_hashes(self) -> list[str]:
        """The hash of the content of each one's whole file; empty if it cannot be read."""
        return self.files.content_hashes

    @property
    def content_hashes(self) -> list[str]:
        """The hash of each one's file and of where in it a clip is; empty if the file cannot be read."""
        return self._hash_clips(self.file_hashes)

    def _hash_clips(self, hashes: Sequence[str]) -> list[str]:
        return [self.hash_clip(row, content) for row, content in enumerate(hashes)]

    def hash_clip(self, row: int, content: str) -> str:
        """Return the hash of one for that of its whole file: they are the same if it is no clip."""
        span = self.span(row)
        return content if not content or span == WHOLE else hash_content(content.encode(), np.array(span).tobytes())

    @property
    def home(self) -> str:
        """Where the files are stored."""
        return self.files.home

    @property
    def places(self) -> list[str]:
        """Where each is, for messages."""
        return self._with_spans(self.files.places)

    @property
    def stamps(self) -> list[Stamp]:
        """What is known of each without reading it; the hashes are those of :attr:`content_hashes`."""
        stamps = self.files.stamps
        hashes = self._hash_clips([stamp.content_hash for stamp in stamps])
        return [Stamp(stamp.state, content) for stamp, content in zip(stamps, hashes, strict=True)]

    def remember(self, stamps: Mapping[int, Stamp]) -> None:
        """Remember the hashes of whole files that were read, by row."""
        self.files.remember(stamps)

    def rows_by_file(self) -> list[list[int]]:
        """Return the rows of each file: whoever reads a file for one clip reads it for all of its clips."""
        if isinstance(self.files, GivenFiles):  # of which several may have one name
            return [[row] for row in range(len(self))]
        rows: dict[str, list[int]] = defaultdict(list)
        for row, place in enumerate(self.files.places):
            rows[place].append(row)
        return list(rows.values())

    def span(self, row: int) -> tuple[float, float]:
        """Return where one starts and ends in its file, in seconds; ``inf`` is the end of the file."""
        if self.spans is None:
            return WHOLE
        start, end = self.spans[row].tolist()
        return start, end

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Recordings":
        """Return some, in this order."""
        index = np.asarray(rows, np.int64)
        return Recordings(self.files.select(index), None if self.spans is None else self.spans[index])

    def read(self, row: int) -> bytes:
        """Return the bytes of one's whole file.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not a recording.
        """
        return self.files.read(row)

    def decode(self, row: int, sample_rate: int) -> Samples:
        """Return one as ``float32[samples]``, with the mean of its channels.

        Args:
            sample_rate: Of the result, in Hz.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not a recording, or the clip is not inside of it.
        """
        start, end = self.span(row)
        return decode_recording(
            self.read(row), sample_rate=sample_rate, start=start or None, end=None if end == np.inf else end
        )


def show_span(start: float, end: float) -> str:
    """Return ``1.50-3.00 s`` for a clip, and "" for a whole recording.

    There are more decimals if two of them do not say it exactly, since names identify examples.
    """
    if (start, end) == WHOLE:
        return ""
    return f"{_show_time(start)}-{'end' if end == np.inf else f'{_show_time(end)} s'}"


def _show_time(seconds: float) -> str:
    short = f"{seconds:.2f}"
    return short if float(short) == seconds else repr(seconds)
