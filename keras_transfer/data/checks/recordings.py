"""Check every recording before training, and find those that are in two splits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from keras_transfer.data.checks.broken import Scan, leave_out_broken
from keras_transfer.data.checks.leaks import Matches, Repeated, Wording, find_equal, report_repeated
from keras_transfer.data.checks.recording_measures import (
    SHORT_SECONDS,
    Measured,
    RecordingMeasures,
    measure_recordings,
)
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.tables.tables import some

_FLAWS: tuple[tuple[str, Callable[[RecordingMeasures], bool]], ...] = (
    ("Silent recordings", lambda one: one.is_silent),
    ("Clipped recordings, which reach full scale", lambda one: one.is_clipped),
    ("Recordings with a DC offset", lambda one: one.has_offset),
    (f"Recordings of less than {SHORT_SECONDS:g} s", lambda one: one.is_short),
)


def recordings_of(split: Split) -> Recordings:
    """Return a split's examples, which are recordings."""
    return cast(Recordings, split.examples)


def scan_recordings(splits: Sequence[Split], *, broken: str, max_seconds: float, memory: Path | None = None) -> Scan:
    """Decode every recording, in parallel; recordings that passed earlier and have not changed are not read again.

    Args:
        broken: ``error`` or ``skip``.
        max_seconds: Longer recordings, and longer clips, count as broken; they are not decoded.

    Returns:
        The splits without their broken recordings, the problems, and lines on recordings that are probably useless.

    Raises:
        DataError: There are broken recordings and ``broken`` is ``error``, or all of a split are broken.
    """
    measured = [measure_recordings(recordings_of(split), memory=memory, max_seconds=max_seconds) for split in splits]
    problems = [{row: one for row, one in enumerate(each) if isinstance(one, str)} for each in measured]
    found = leave_out_broken(splits, problems, broken=broken, plural="recordings")
    return Scan(found.splits, found.broken, note_flaws(splits, measured), found.findings)


def note_flaws(splits: Sequence[Split], measured: Sequence[Sequence[Measured]]) -> list[str]:
    """Return lines on recordings that are probably useless."""
    return [line for what, has in _FLAWS for line in _note(what, has, splits, measured)]


def _note(
    what: str, has: Callable[[RecordingMeasures], bool], splits: Sequence[Split], measured: Sequence[Sequence[Measured]]
) -> list[str]:
    names = [
        name
        for split, each in zip(splits, measured, strict=True)
        for name, one in zip(split.examples.names, each, strict=True)
        if isinstance(one, RecordingMeasures) and has(one)
    ]
    return [f"{what}: {len(names):,}, {some(names, 3)}"] if names else []


def find_repeated_recordings(splits: Sequence[Split], *, memory: Path | None = None) -> Repeated:
    """Find recordings that are in two splits, in any format, and files with clips in two splits.

    Clips of one file share a speaker, a room and a microphone, by which a model recognizes them.
    """
    measured = [measure_recordings(recordings_of(split), memory=memory) for split in splits]
    sounds = [[one.sound if isinstance(one, RecordingMeasures) else "" for one in each] for each in measured]
    files = [recordings_of(split).file_hashes for split in splits]

    def match(first: int, second: int) -> tuple[Matches, Matches]:
        return find_equal(sounds[first], sounds[second]), find_equal(files[first], files[second])

    more = "other clips of the same files; data.group keeps those of a file together"
    words = Wording("recording", "same_file", f"are {more}", f"as {more}")
    return report_repeated(splits, match, words)
