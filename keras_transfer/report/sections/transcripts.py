"""Speech recognition: error rates, the worst transcripts with their recordings, and frequent errors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads import TranscriptReport
from keras_transfer.heads.word_errors import DELETE, INSERT, SUBSTITUTE, EditCounts, Step, align, count_edits
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.html import Section, render
from keras_transfer.report.sections.examples import LARGEST, show_rows, to_uri

MOST_ERRORS = 15
"""Of each kind of error, how many are shown."""

MOST_GROUPS = 30
"""Groups that are shown, those with the highest error rate."""

# Longer texts are shortened around their errors: this many equal words are shown on each side.
_MOST_EQUAL = 12
_MOST_STEPS = 80
# In seconds; most speech is shorter than a network hears at once.
_BOUNDS = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, float("inf"))


def error_rates(content: Content) -> Section | None:
    """Return word and character error rates, their components, and the improvement by training."""
    report = content.report
    if not isinstance(report, TranscriptReport):
        return None
    rates = {"words": report.words, "characters": report.characters}
    body = render(
        "error_rates.html",
        rates=rates,
        groups=report.groups,
        has_groups=report.words.group_interval is not None,
        has_before=bool(report.improvements),
    )
    return Section("error-rates", "Error rates", body)


@dataclass(frozen=True)
class _Card:
    """The content of an utterance's card.

    Attributes:
        row: Its index.
        said: Stretches of the transcript, each with whether they were recognized.
        found: Stretches of the recognized text, each with whether they are in the transcript.
        wrong: The number of wrong words.
        words: The number of words of the transcript.
        size: Its width and height.
        note: What is left out.
    """

    row: int
    name: str
    said: Sequence[tuple[str, bool]]
    found: Sequence[tuple[str, bool]]
    wrong: int
    words: int
    image: str | None
    size: tuple[int, int] | None
    audio: str | None
    note: str


def worst_transcripts(content: Content) -> Section | None:
    """Return the utterances with the most wrong words, each with a player and the differences marked."""
    rows = _transcribed(content)
    if rows is None:
        return None
    counts = _count(content, rows)
    wrong = counts.edits.sum(axis=1)
    # Of two with the same number of errors, the one with fewer words is worse.
    worst = [row for row in np.lexsort((counts.length, -wrong)).tolist() if wrong[row]][:LARGEST]
    shown = show_rows(content, rows, worst, [()] * len(worst)) if worst else []
    steps = align(
        [rows.targets[row] for row in worst], content.head.to_texts(rows.predicted[worst]), rule=content.head.rule
    )
    cards = [
        _Card(
            row=row,
            name=one.name,
            said=_mark(own, "expected"),
            found=_mark(own, "found"),
            wrong=int(wrong[row]),
            words=int(counts.length[row]),
            image=None if one.image is None else to_uri(one.image),
            size=None if one.image is None else one.image.size,
            audio=None if one.audio is None else to_uri(one.audio),
            note=f"Not played. {one.problem}" if one.problem else one.note,
        )
        for row, one, own in zip(worst, shown, steps, strict=True)
    ]
    body = render("transcripts.html", cards=cards, total=len(rows), perfect=int((wrong == 0).sum()))
    return Section("worst", "Worst transcripts", body)


def _mark(steps: Sequence[Step], side: str) -> list[tuple[str, bool]]:
    """Stretches of one of the two texts, and whether they are in the other one; long equal ones are shortened."""
    shown: list[tuple[str, bool]] = []
    for step in steps[:_MOST_STEPS]:
        words = getattr(step, side)
        if not words:
            continue
        equal = step.kind == "equal"
        if equal and len(words) > 2 * _MOST_EQUAL:
            words = (*words[:_MOST_EQUAL], "…", *words[-_MOST_EQUAL:])
        shown.append((" ".join(words), equal))
    return [*shown, ("…", True)] if len(steps) > _MOST_STEPS else shown


def frequent_errors(content: Content) -> Section | None:
    """Return which words are most often recognized as others, left out and added."""
    rows = _transcribed(content)
    if rows is None:
        return None
    found: dict[str, Counter[tuple[str, str]]] = {SUBSTITUTE: Counter(), DELETE: Counter(), INSERT: Counter()}
    for steps in align(rows.targets.tolist(), content.head.to_texts(rows.predicted), rule=content.head.rule):
        for step in steps:
            if step.kind in found:
                pairs = _pair_words(step)
                found[step.kind].update(pairs)
    if not any(found.values()):
        return None
    tables = [
        (title, headings, _most_frequent(found[kind]), found[kind].total())
        for kind, title, headings in (
            (SUBSTITUTE, "Substitutions", ("said", "recognized as")),
            (DELETE, "Deletions", ("left out",)),
            (INSERT, "Insertions", ("added",)),
        )
        if found[kind]
    ]
    return Section("errors", "Frequent errors", render("frequent_errors.html", tables=tables))


def _pair_words(step: Step) -> list[tuple[str, str]]:
    if step.kind == SUBSTITUTE:
        return list(zip(step.expected, step.found, strict=True))
    return [(word, "") for word in (step.expected or step.found)]


def _most_frequent(counts: Counter[tuple[str, str]]) -> list[tuple[tuple[str, ...], int]]:
    """The most frequent ones, in an order that does not depend on that of the rows."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_ERRORS]
    return [(pair if pair[1] else pair[:1], count) for pair, count in ranked]


@dataclass(frozen=True)
class _Part:
    """The error rate of some utterances."""

    name: str
    utterances: int
    words: int
    rate: float


def error_rates_by(content: Content) -> Section | None:
    """Return the word error rate by group, and by the length of recordings, if these are known."""
    rows = _transcribed(content)
    if rows is None:
        return None
    counts = _count(content, rows)
    groups = [] if rows.groups is None else _rate_parts(counts, [str(group) for group in rows.groups])
    seconds = _find_seconds(content, rows)
    lengths = [] if seconds is None else _rate_lengths(counts, seconds)
    if len(groups) < 2 and len(lengths) < 2:
        return None
    groups.sort(key=lambda part: -part.rate)
    body = render(
        "error_rates_by.html",
        group=content.run.config.data.group or "group",
        groups=groups[:MOST_GROUPS] if len(groups) > 1 else [],
        more=max(len(groups) - MOST_GROUPS, 0),
        lengths=lengths if len(lengths) > 1 else [],
        most=max((part.rate for part in (*groups, *lengths)), default=0.0) or 1.0,
    )
    return Section("error-rates-by", "Where the errors are", body)


def _rate_parts(counts: EditCounts, names: Sequence[str]) -> list[_Part]:
    each, sizes = counts.sum_by(names), Counter(names)
    return [
        _Part(name, size, int(words), float(edits.sum() / max(words, 1)))
        for (name, size), words, edits in zip(sizes.items(), each.length, each.edits, strict=True)
    ]


def _rate_lengths(counts: EditCounts, seconds: NDArray[np.float64]) -> list[_Part]:
    """By length, the shortest first."""
    known = np.flatnonzero(np.isfinite(seconds))
    if not len(known):
        return []
    bins = np.digitize(seconds[known], _BOUNDS) - 1
    order = np.argsort(bins, kind="stable")
    ordered = EditCounts(counts.length[known[order]], counts.edits[known[order]])
    return _rate_parts(ordered, [_name_bin(number) for number in bins[order].tolist()])


def _name_bin(number: int) -> str:
    low, high = _BOUNDS[number], _BOUNDS[number + 1]
    return f"{low:g} to {high:g} s" if np.isfinite(high) else f"{low:g} s and longer"


def _find_seconds(content: Content, rows: Rows) -> NDArray[np.float64] | None:
    if rows.examples is None:
        return None
    there = content.run.task.lengths(rows.examples)
    if there is None or rows.places is None:
        return there
    return np.array([np.nan if place is None else there[place] for place in rows.places])


def _transcribed(content: Content) -> Rows | None:
    """The rows of a report on transcripts, if there are any."""
    rows = content.rows
    return rows if isinstance(content.report, TranscriptReport) and rows is not None and len(rows) else None


def _count(content: Content, rows: Rows) -> EditCounts:
    head = content.head
    return count_edits(rows.targets.tolist(), head.to_texts(rows.predicted), rule=head.rule)
