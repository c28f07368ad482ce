"""The rows with the largest losses, and rows of the most confused classes, with their explanations."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import groupby
from typing import Any

import numpy as np

from keras_transfer.explain import EncodedAudio, EncodedImage, Piece, Shown
from keras_transfer.heads import ClassificationReport, MultilabelReport, RegressionReport, TranscriptReport
from keras_transfer.heads.evaluation import Report
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.html import Section, render
from keras_transfer.report.sections.confusion import pair_examples

LARGEST = 24
"""How many rows are shown, those with the largest losses."""

_GONE = "It is gone or has changed since the run."
_LEVELS = (0.1, 0.3, 0.55, 0.8)
# A long stretch of text without evidence is shortened to its two ends.
_LONGEST_STRETCH, _END = 280, 120
_LONGEST_PLAIN = 700


def largest_losses(content: Content) -> Section | None:
    """Return the rows with the largest losses, and some rows of each pair of classes that is confused often."""
    rows, report = content.rows, content.report
    if rows is None or report is None or not len(rows) or isinstance(report, TranscriptReport):
        return None
    largest = np.argsort(-content.losses, kind="stable")[:LARGEST].tolist()
    pairs = pair_examples(content)
    every = list(dict.fromkeys([*largest, *(row for _, found in pairs for row in found)]))
    cards = dict(zip(every, _make_cards(content, rows, report, every), strict=True))
    body = render(
        "examples.html",
        largest=[cards[row] for row in largest],
        total=len(rows),
        pairs=[(pair, [cards[row] for row in found]) for pair, found in pairs],
        names=content.names,
        has_views=any(card.image for card in cards.values()),
        has_maps=any(card.overlays for card in cards.values()),
        has_audio=any(card.audio for card in cards.values()),
        has_signs=content.head.evidence_has_sign,
        has_pieces=any(card.outputs and card.pieces for card in cards.values()),
    )
    return Section("losses", "Largest losses", body)


_Facts = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""What each line says: a heading, and names from the data with what was measured of them."""


@dataclass(frozen=True)
class _Overlay:
    source: str
    output: str
    alt: str


@dataclass(frozen=True)
class _Mark:
    """A stretch of a text: its characters, the class of its colour, and its attribution."""

    text: str
    style: str
    attribution: str


@dataclass(frozen=True)
class _Card:
    """The content of a row's card."""

    row: int
    name: str
    facts: _Facts
    loss: float
    size: tuple[int, int] | None
    image: str | None
    caption: str
    audio: str | None
    alt: str
    overlays: Sequence[_Overlay]
    pieces: Sequence[_Mark]
    outputs: Sequence[str]
    note: str


def _make_cards(content: Content, rows: Rows, report: Report, chosen: Sequence[int]) -> list[_Card]:
    predicted, targets = rows.predicted[chosen], rows.targets[chosen]
    outputs = content.head.explained_outputs(predicted, targets)
    shown = show_rows(content, rows, chosen, outputs)
    return [
        _make_card(row, one, _describe(report, content, row, predicted[place], targets[place]), content.losses[row])
        for place, (row, one) in enumerate(zip(chosen, shown, strict=True))
    ]


def show_rows(
    content: Content, rows: Rows, chosen: Sequence[int], outputs: Sequence[tuple[int, ...]]
) -> Sequence[Shown]:
    """Return rows prepared by the task for showing; missing examples have a problem.

    Args:
        outputs: For each of these, the outputs to explain.
    """
    if rows.examples is None:
        return [Shown(rows.names[row]) for row in chosen]
    places = {row: row if rows.places is None else rows.places[row] for row in chosen}
    there = [(row, place, own) for (row, place), own in zip(places.items(), outputs, strict=True) if place is not None]
    found = {}
    if there:
        examples = rows.examples.select([place for _, place, _ in there])
        shown = content.run.task.show(content.run, examples, [own for *_, own in there])
        found = dict(zip((row for row, *_ in there), shown, strict=True))
    return [found.get(row) or Shown(rows.names[row], problem=_GONE) for row in chosen]


def _make_card(row: int, shown: Shown, facts: _Facts, loss: float) -> _Card:
    values = ((key, " ".join(f"{name} {measure}".strip() for name, measure in shown)) for key, shown in facts)
    said = "; ".join(f"{key}: {value}" for key, value in values)
    overlays = [
        _Overlay(to_uri(image), output, f"heat map of the evidence for {output}")
        for output, image in zip(shown.outputs, shown.overlays, strict=False)  # texts have none
    ]
    return _Card(
        row=row,
        name=shown.name,
        facts=facts,
        loss=float(loss),
        size=None if shown.image is None else shown.image.size,
        image=None if shown.image is None else to_uri(shown.image),
        caption="image" if shown.audio is None else "spectrogram",
        audio=None if shown.audio is None else to_uri(shown.audio),
        alt=f"{shown.name} ({said})",
        overlays=overlays,
        pieces=_colour(shown.pieces),
        outputs=shown.outputs,
        note=f"Not shown. {shown.problem}" if shown.problem else shown.note,
    )


def to_uri(file: EncodedImage | EncodedAudio) -> str:
    """Return a file as a ``data:`` URL."""
    return f"data:{file.media_type};base64,{base64.b64encode(file.content).decode('ascii')}"


@singledispatch
def _describe(report: Report, content: Content, row: int, predicted: Any, target: Any) -> _Facts:
    """The true and the predicted target, in words."""
    shown = str(content.head.to_prediction("", predicted)).replace("\t", " ")
    return [("true", [(str(content.run.target.decode(target)), "")]), ("predicted", [(shown, "")])]


@_describe.register
def _(report: ClassificationReport, content: Content, row: int, predicted: Any, target: Any) -> _Facts:
    shown = (("true", int(target)), ("predicted", int(content.decided[row])))
    return [(key, [(content.names[index], _probability(predicted[index]))]) for key, index in shown]


@_describe.register
def _(report: MultilabelReport, content: Content, row: int, predicted: Any, target: Any) -> _Facts:
    probabilities = {name: _probability(value) for name, value in zip(content.names, predicted, strict=True)}
    found = content.head.to_prediction("", predicted).labels
    shown = (("true", content.run.target.decode(target)), ("predicted", found))
    return [(key, [(name, probabilities[name]) for name in names] or [("no label", "")]) for key, names in shown]


@_describe.register
def _(report: RegressionReport, content: Content, row: int, predicted: Any, target: Any) -> _Facts:
    if len(content.names) == 1:
        return [("true", [(f"{target[0]:.6g}", "")]), ("predicted", [(f"{predicted[0]:.6g}", "")])]
    pairs = zip(content.names, target, predicted, strict=True)
    return [(name, [(f"true {truth:.6g}, predicted {value:.6g}", "")]) for name, truth, value in pairs]


def _probability(value: float) -> str:
    return f"{100 * float(value):.1f} %"


def _colour(pieces: Sequence[Piece]) -> list[_Mark]:
    """Group pieces by the strength of their evidence; text without evidence is shortened."""
    largest = max((abs(piece.attribution) for piece in pieces), default=0.0)
    if not largest:
        whole = "".join(piece.text for piece in pieces)
        return [_Mark(_shorten(whole, _LONGEST_PLAIN, _LONGEST_PLAIN), "", "")] if whole else []
    marks: list[_Mark] = []
    for style, group in groupby(pieces, key=lambda piece: _style_of(piece.attribution / largest)):
        if not style:
            marks.append(_Mark(_shorten("".join(piece.text for piece in group), _LONGEST_STRETCH, _END), "", ""))
            continue
        marks += [_Mark(piece.text, style, f"{piece.attribution:+.2f}") for piece in group]
    return marks


def _style_of(share: float) -> str:
    level = int(np.searchsorted(_LEVELS, abs(share), "right"))
    return "" if not level else f"{'for' if share > 0 else 'against'} level-{level}"


def _shorten(text: str, most: int, end: int) -> str:
    if len(text) <= most:
        return text
    left_out = len(text) - 2 * end if end < most else len(text) - end
    tail = text[-end:] if end < most else ""
    return f"{text[:end]} […{left_out:,} characters…] {tail}"
