"""How much better predictions get if the least confident ones are left to a person."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads import ClassificationReport
from keras_transfer.report.charts import Axis, Chart, Series, draw_all, fit_axis, thin
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class Level:
    """What remains at a confidence.

    Attributes:
        confidence: The least probability of a predicted class.
        coverage: Share of the rows that reach it.
        accuracy: Of these rows.
        rows: Their number.
    """

    confidence: float
    coverage: float
    accuracy: float
    rows: int


def abstention(content: Content) -> Section | None:
    """Return accuracy against the share of rows that are predicted at all (El-Yaniv and Wiener 2010)."""
    rows = content.rows
    if not isinstance(content.report, ClassificationReport) or rows is None or len(rows) < 2:
        return None
    confidence = np.take_along_axis(rows.predicted, content.decided[:, None], axis=1)[:, 0]
    levels = find_levels(confidence, content.decided == rows.targets)
    coverage, accuracy = (np.array([getattr(one, name) for one in levels]) for name in ("coverage", "accuracy"))
    shown = [next(one for one in levels if one.coverage >= share - 1e-12) for share in _COVERAGES]
    shown = [one for number, one in enumerate(shown) if one not in shown[:number]]
    chart = Chart(
        "Accuracy of the predictions that remain",
        "; ".join(f"{one.coverage:.0%} of the rows: accuracy {one.accuracy:.3f}" for one in shown),
        Axis("share of rows predicted", 0.0, 1.0, spec=".1f"),
        fit_axis("accuracy", [*accuracy, 1.0]),
        [Series(thin(coverage, accuracy))],
    )
    body = render("abstention.html", chart=draw_all([chart]), levels=shown)
    return Section("abstention", "Abstaining", body)


def find_levels(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Level]:
    """Return what remains at each confidence that a row has, the most confident rows first.

    Args:
        confidence: ``[n]``; rows of one confidence are taken together.
        right: ``bool[n]``, whether the prediction is right.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered, hits = confidence[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(ordered[:-1] != ordered[1:], True))
    n = len(order)
    return [Level(float(ordered[row]), (row + 1) / n, float(hits[row]) / (row + 1), row + 1) for row in last.tolist()]
