"""Problems of recordings, transcribed or not: silent, clipped, with an offset, of odd length, or repeated."""

from pathlib import Path

import numpy as np

from keras_transfer.audit.duplicates import Words, find_duplicates, group_equal, link_equal
from keras_transfer.audit.rows import Rows
from keras_transfer.audit.texts import find_other_scripts
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.recording_measures import RecordingMeasures, measure_recordings
from keras_transfer.data.checks.recordings import recordings_of
from keras_transfer.data.checks.texts import find_script
from keras_transfer.data.checks.transcripts import find_odd_rates
from keras_transfer.data.splits.splits import Splits

# Factors of the median, and the share of recordings above which another length is not odd.
_ODD_LENGTH, _MOST_ODD = 4.0, 0.05


def audit_recordings(splits: Splits, *, memory: Path | None = None) -> list[Finding]:
    """Check the sound of recordings, which the scan has already measured."""
    rows, measured = Rows.of(splits), _measure(splits, memory)
    findings = [finding for row, one in measured.items() for finding in _find_flaws(rows, row, one)]
    findings += _find_odd_lengths(rows, measured)
    contents = [content for split in splits for content in split.examples.content_hashes]
    exact, near = group_equal(contents), group_equal(contents)
    # Silence is equal in all, and is already reported.
    sounds = ["" if row not in measured or measured[row].is_silent else measured[row].sound for row in range(len(rows))]
    link_equal(near, sounds)
    return findings + find_duplicates(rows, exact, near, Words("the same bytes as", "the same samples as"))


def _measure(splits: Splits, memory: Path | None) -> dict[int, RecordingMeasures]:
    """The measurements of readable recordings, by row."""
    every = [one for split in splits for one in measure_recordings(recordings_of(split), memory=memory)]
    return {row: one for row, one in enumerate(every) if isinstance(one, RecordingMeasures)}


def _find_flaws(rows: Rows, row: int, one: RecordingMeasures) -> list[Finding]:
    if one.is_silent:
        of_channels = f", after its {one.channels} channels were averaged" if one.channels > 1 else ""
        return [rows.find("silent", row, f"peak of {_decibels(one.peak)}{of_channels}")]
    found = []
    if one.is_clipped:
        found.append(rows.find("clipped", row, f"{one.clipped:.1%} of the samples are cut at full scale", 1.0))
    if one.has_offset:
        score = min(abs(one.offset) / one.level, 1.0)
        found.append(rows.find("dc_offset", row, f"mean of {one.offset:.3f} at a level of {one.level:.3f}", score))
    return found


def _decibels(amplitude: float) -> str:
    return "0" if amplitude == 0.0 else f"{20 * np.log10(amplitude):.0f} dB"


def _find_odd_lengths(rows: Rows, measured: dict[int, RecordingMeasures]) -> list[Finding]:
    """Recordings whose length differs from nearly all others."""
    if not measured:
        return []
    logs = np.log([one.seconds for one in measured.values()])
    usual, distances = np.exp(np.median(logs)), dict(zip(measured, np.abs(logs - np.median(logs)), strict=True))
    odd = [row for row, distance in distances.items() if distance > np.log(_ODD_LENGTH)]
    tiny = [row for row, one in measured.items() if one.is_short]
    found = {*tiny, *odd} if len(odd) <= _MOST_ODD * len(measured) else tiny
    return [
        rows.find(
            "odd_length",
            row,
            f"{measured[row].seconds:.2f} s; most are like {usual:.2f} s",
            1.0 - np.exp(-distances[row]),
        )
        for row in sorted(found)
    ]


def audit_transcripts(splits: Splits, *, memory: Path | None = None) -> list[Finding]:
    """Check recordings and their transcripts. The scan has already measured each recording."""
    rows, texts = Rows.of(splits), [str(text) for split in splits for text in split.targets]
    seconds = {row: one.seconds for row, one in _measure(splits, memory).items() if texts[row]}
    heard = list(seconds)
    odd = find_odd_rates([len(texts[row]) for row in heard], list(seconds.values()))
    findings = [
        rows.find(
            "odd_rate",
            heard[place],
            f"{one.rate:.1f} characters per second; most have about {one.usual:.1f}",
            1.0 - 1.0 / one.score,
        )
        for place, one in odd.items()
    ]
    findings += find_other_scripts(rows, list(map(find_script, texts)))
    return findings + audit_recordings(splits, memory=memory)
