"""Check transcripts before training: missing ones, and those that probably do not belong to their recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

from keras_transfer.data.checks.broken import Scan, leave_out_broken
from keras_transfer.data.checks.recording_measures import Measured, RecordingMeasures, measure_recordings
from keras_transfer.data.checks.recordings import note_flaws, recordings_of
from keras_transfer.data.checks.robust import robust_scores
from keras_transfer.data.checks.texts import find_common, find_script, is_blank
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.tables.tables import some

LONGEST_SECONDS = 30.0
"""What Whisper hears at once; a transcript cannot be cut where a longer recording is."""

_EMPTY = "no transcript"
# Training and validation losses are computed on whole transcripts; test recordings may be transcribed in windows.
_WITH_LOSS = ("train", "validation")
# Robust standard deviations of the logarithm, and the minimum factor from the median for a rate to be odd.
_ODD_SCORE, _ODD_FACTOR, _MOST_ODD, _FEW = 4.0, 2.0, 0.05, 10
# Below this share of different transcripts, they may be names of speakers, or commands.
_FEW_TEXTS = 0.1
# Below this rank correlation, long recordings do not have long transcripts: are the rows shifted?
_LEAST_CORRELATION, _ENOUGH_TO_CORRELATE, _LEAST_SPREAD = 0.2, 50, 0.2


def scan_transcripts(
    splits: Sequence[Split],
    *,
    broken: str,
    max_seconds: float,
    seconds: float | Literal["auto"] = "auto",
    memory: Path | None = None,
) -> Scan:
    """Check recordings as ``scan_recordings`` does, and their transcripts.

    Args:
        broken: ``error`` or ``skip``.
        max_seconds: Longer recordings count as broken; they are not decoded.
        seconds: Training and validation recordings that are longer count as broken, too: ``data.seconds``.

    Returns:
        The splits without recordings that cannot be read, are too long or have no transcript, the problems, and lines
        on recordings and transcripts that are probably useless.

    Raises:
        DataError: There are such recordings and ``broken`` is ``error``, or all of a split are broken.
    """
    longest = LONGEST_SECONDS if seconds == "auto" else seconds
    measured = [measure_recordings(recordings_of(split), memory=memory, max_seconds=max_seconds) for split in splits]
    problems = [_find_problems(split, each, longest) for split, each in zip(splits, measured, strict=True)]
    found = leave_out_broken(splits, problems, broken=broken, plural="transcribed recordings", verdict="cannot be used")
    findings = [replace(one, kind="empty") if one.detail == _EMPTY else one for one in found.findings]
    whole = [
        {row: one for row, one in enumerate(each) if isinstance(one, RecordingMeasures) and row not in own}
        for each, own in zip(measured, problems, strict=True)
    ]
    notes = [*note_flaws(splits, measured), *_note_oddities(splits, whole)]
    return Scan(found.splits, found.broken, notes, findings)


def _find_problems(split: Split, measured: Sequence[Measured], longest: float) -> dict[int, str]:
    problems = {}
    for row, (one, text) in enumerate(zip(measured, split.targets, strict=True)):
        if isinstance(one, str):
            problems[row] = one
        elif is_blank(text):
            problems[row] = _EMPTY
        elif one.seconds > longest and split.name in _WITH_LOSS:
            problems[row] = (
                f"{one.seconds:.1f} s, more than the {longest:g} s that the network hears at once; divide it at a pause"
            )
    return problems


@dataclass(frozen=True)
class OddRate:
    """A transcript that is too long or too short for its recording.

    Attributes:
        rate: Characters per second.
        score: How many robust standard deviations its logarithm is from the median, above or below.
    """

    rate: float
    usual: float
    score: float


def find_odd_rates(lengths: Sequence[int], seconds: Sequence[float]) -> dict[int, OddRate]:
    """Find transcripts whose characters per second are far from those of the others.

    Args:
        lengths: Lengths of the transcripts, in characters, at least 1.

    Returns:
        The odd ones by position; empty if there are few transcripts, or if too many are odd for the others to be a
        reference.
    """
    if len(lengths) < _FEW:
        return {}
    rates = np.asarray(lengths, float) / np.asarray(seconds, float)
    usual, scores = float(np.median(rates)), robust_scores(np.log(rates))
    factors = np.exp(np.abs(np.log(rates / usual)))
    odd = np.flatnonzero((np.abs(scores) > _ODD_SCORE) & (factors > _ODD_FACTOR)).tolist()
    if len(odd) > max(_MOST_ODD * len(rates), 1):
        return {}
    return {row: OddRate(float(rates[row]), usual, float(abs(scores[row]))) for row in odd}


def _note_oddities(splits: Sequence[Split], measured: Sequence[Mapping[int, RecordingMeasures]]) -> list[str]:
    """Notes on transcripts that probably do not belong to their recordings."""
    names, texts, seconds = [], [], []
    for split, each in zip(splits, measured, strict=True):
        own = split.examples.names
        for row, one in each.items():
            names.append(own[row])
            texts.append(str(split.targets[row]))
            seconds.append(one.seconds)
    rates = _note_rates(names, texts, seconds)
    return [*_note_few(texts), *rates, *_note_order(texts, seconds), *_note_scripts(names, texts)]


def _note_few(texts: Sequence[str]) -> list[str]:
    """A note if most transcripts occur many times, as names of speakers do."""
    different = len(set(texts))
    if len(texts) < _ENOUGH_TO_CORRELATE or different > _FEW_TEXTS * len(texts):
        return []
    return [
        f"Only {different:,} different transcripts of {len(texts):,} recordings: is data.label the column of "
        "transcripts?"
    ]


def _note_rates(names: Sequence[str], texts: Sequence[str], seconds: Sequence[float]) -> list[str]:
    odd = find_odd_rates(list(map(len, texts)), seconds)
    lines = []
    for length, is_long in (("long", True), ("short", False)):
        rows = [row for row, one in odd.items() if (one.rate > one.usual) == is_long]
        rows.sort(key=lambda row: -odd[row].score)
        if rows:
            shown = some([f"{names[row]} ({odd[row].rate:.1f})" for row in rows], 3)
            usual = f"usual: {odd[rows[0]].usual:.1f} characters per second"
            lines.append(f"Transcripts that are {length} for their recordings ({usual}): {len(rows):,}, {shown}")
    return lines


def _note_order(texts: Sequence[str], seconds: Sequence[float]) -> list[str]:
    """A note if long recordings do not have long transcripts, as in a table whose rows are shifted."""
    if len(texts) < _ENOUGH_TO_CORRELATE:
        return []
    lengths, times = np.log([len(text) for text in texts]), np.log(seconds)
    if min(lengths.std(), times.std()) < _LEAST_SPREAD:
        return []
    found = float(spearmanr(lengths, times).statistic)
    if found >= _LEAST_CORRELATION:
        return []
    return [
        f"Long recordings do not have long transcripts (rank correlation {found:.2f}): does each row have the "
        "transcript of its own recording?"
    ]


def _note_scripts(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    scripts = list(map(find_script, texts))
    common = find_common(scripts)
    rare = [row for row, script in enumerate(scripts) if script and script not in common]
    if not rare:
        return []
    shown = some([f"{names[row]} ({scripts[row].title()})" for row in rare], 3)
    usual = " and ".join(script.title() for script in common)
    return [f"Transcripts in another script than most (usual: {usual}): {len(rare):,}, {shown}"]
