"""Which classes are confused with which."""

from dataclasses import dataclass

import numpy as np

from keras_transfer.heads import ClassificationReport
from keras_transfer.networks.types import IntArray
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

LARGEST_MATRIX = 30
"""Classes of a matrix that can still be read; of more, the most confused pairs alone are shown."""

MOST_PAIRS = 12
LEVELS = 9
"""Shades of a cell, from 0 to this number; style.css has them."""


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix.

    Attributes:
        count: How many rows.
        level: Its shade, by the share of the rows of the true class.
        is_right: Whether it is on the diagonal.
    """

    count: int
    level: int
    is_right: bool


@dataclass(frozen=True)
class Pair:
    """Two classes of which one is predicted instead of the other.

    Attributes:
        true: Index of the true class.
        predicted: Index of the predicted one.
        count: How many rows.
        total: Rows of the true class.
    """

    true: int
    predicted: int
    count: int
    total: int

    @property
    def anchor(self) -> str:
        """The anchor of its examples."""
        return f"pair-{self.true}-{self.predicted}"


def confusion(content: Content) -> Section | None:
    """Return the matrix as a heat map, if it is small enough, and the pairs that are confused most often."""
    report = content.report
    if not isinstance(report, ClassificationReport):
        return None
    counts = np.asarray(report.confusion)
    names = [one.name for one in report.classes]
    pairs = most_confused(counts)
    body = render(
        "confusion.html",
        names=names,
        rows=_cells(counts) if len(names) <= LARGEST_MATRIX else None,
        pairs=pairs,
        anchors={pair.anchor for pair, _ in pair_examples(content)},
        total=int((counts - np.diag(np.diag(counts)) > 0).sum()),
        wrong=int(counts.sum() - np.trace(counts)),
        n=report.n,
    )
    return Section("confusion", "Confused classes", body)


def _cells(counts: IntArray) -> list[list[Cell]]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A value that is not zero is never shown as zero.
    levels = np.where(counts > 0, np.maximum(np.ceil(shares * LEVELS), 1), 0).astype(int)
    size = range(len(counts))
    return [[Cell(int(counts[i, j]), int(levels[i, j]), i == j) for j in size] for i in size]


def most_confused(counts: IntArray, most: int = MOST_PAIRS) -> list[Pair]:
    """Return the pairs of classes that are confused most often.

    Args:
        counts: ``counts[i, j]`` rows of class i were predicted as class j.
    """
    totals, wrong = counts.sum(axis=1), counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = [divmod(int(index), len(counts)) for index in order]
    return [Pair(i, j, int(wrong[i, j]), int(totals[i])) for i, j in found if wrong[i, j]]


_MOST_GALLERIES, _MOST_EXAMPLES = 6, 6


def pair_examples(content: Content) -> list[tuple[Pair, list[int]]]:
    """Return the most confused pairs, each with the rows of its largest losses."""
    report, rows = content.report, content.rows
    if rows is None or not isinstance(report, ClassificationReport):
        return []
    decided = content.decided
    found = []
    for pair in most_confused(np.asarray(report.confusion), _MOST_GALLERIES):
        index = np.flatnonzero((rows.targets == pair.true) & (decided == pair.predicted))
        worst = index[np.argsort(-content.losses[index], kind="stable")][:_MOST_EXAMPLES]
        found.append((pair, worst.tolist()))
    return [(pair, index) for pair, index in found if index]
