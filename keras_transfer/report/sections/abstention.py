"""How predictions improve if the least confident ones are left to a person."""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads import ClassificationReport, MultilabelReport
from keras_transfer.heads.evaluation import Report
from keras_transfer.report.charts import Axis, Chart, Series, draw_all, fit_axis, thin
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.html import Section, render

_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class Level:
    """Accuracy and coverage at a confidence threshold.

    Attributes:
        confidence: The minimum probability of a predicted class.
        coverage: Share of the rows that reach it.
    """

    confidence: float
    coverage: float
    accuracy: float
    rows: int


@dataclass(frozen=True)
class Confidence:
    """The model's confidence for each row.

    Attributes:
        values: ``[n]``, as ``predict --min-confidence`` compares them.
        right: ``bool[n]``, whether the prediction is right.
        measure: The name of the share of right predictions.
    """

    values: NDArray[np.floating[Any]]
    right: NDArray[np.bool_]
    measure: str


def abstention(content: Content) -> Section | None:
    """Return accuracy against the share of rows that are predicted at all (El-Yaniv and Wiener 2010)."""
    if content.report is None or content.rows is None or len(content.rows) < 2:
        return None
    found = _confidence(content.report, content, content.rows)
    if found is None:
        return None
    levels = find_levels(found.values, found.right)
    coverage, accuracy = (np.array([getattr(one, name) for one in levels]) for name in ("coverage", "accuracy"))
    shown = [next(one for one in levels if one.coverage >= share - 1e-12) for share in _COVERAGES]
    shown = [one for number, one in enumerate(shown) if one not in shown[:number]]
    chart = Chart(
        "If the least confident are left out",
        "; ".join(f"{one.coverage:.0%} of the rows: {found.measure} {one.accuracy:.3f}" for one in shown),
        Axis("share of rows predicted", 0.0, 1.0, spec=".1f"),
        fit_axis(found.measure, [*accuracy, 1.0]),
        [Series(thin(coverage, accuracy))],
    )
    sets = getattr(content.report, "coverage", None)
    body = render("abstention.html", chart=draw_all([chart]), levels=shown, measure=found.measure, sets=sets)
    return Section("abstention", "Abstaining", body)


@singledispatch
def _confidence(report: Report, content: Content, rows: Rows) -> Confidence | None:
    return None


@_confidence.register
def _(report: ClassificationReport, content: Content, rows: Rows) -> Confidence:
    values = np.take_along_axis(rows.predicted, content.decided[:, None], axis=1)[:, 0]
    return Confidence(values, content.decided == rows.targets, "accuracy")


@_confidence.register
def _(report: MultilabelReport, content: Content, rows: Rows) -> Confidence | None:
    """Use the least certain decision of each row."""
    if content.runs:  # each has thresholds of its own
        return None
    present = content.head.present(rows.predicted)
    values = np.where(present, rows.predicted, 1.0 - rows.predicted).min(axis=1)
    return Confidence(values, (present == (rows.targets > 0.5)).all(axis=1), "all labels right")


def find_levels(confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> list[Level]:
    """Return accuracy and coverage at the confidence of each row, the most confident rows first.

    Args:
        confidence: ``[n]``; rows of one confidence are taken together.
        right: ``bool[n]``, whether the prediction is right.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered, hits = confidence[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(ordered[:-1] != ordered[1:], True))
    n = len(order)
    return [Level(float(ordered[row]), (row + 1) / n, float(hits[row]) / (row + 1), row + 1) for row in last.tolist()]
