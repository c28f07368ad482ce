"""How well probabilities separate classes and labels at any threshold: ROC and precision-recall curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from keras_transfer.heads import ClassificationReport, MultilabelReport
from keras_transfer.heads.evaluation import Floats, Report
from keras_transfer.heads.multilabel import average_precision
from keras_transfer.report.charts import COLOURS, Axis, Chart, Series, draw_all, thin
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.html import Section, render

_MOST_CANDIDATES = 200
"""Outputs among which the worst are looked for; of more, those with the most rows."""


@dataclass(frozen=True)
class Separation:
    """How well one output separates its rows from the others.

    Attributes:
        scores: ``[n]``, the output.
        truth: ``bool[n]``, the rows that have it.
    """

    name: str
    scores: Floats
    truth: NDArray[np.bool_]
    roc_area: float
    average_precision: float


def thresholds(content: Content) -> Section | None:
    """Return ROC and precision-recall curves of the outputs, the worst ones of many."""
    if content.report is None or content.rows is None:
        return None
    columns = list(_outputs(content.report, content.rows))
    if len(columns) > COLOURS:
        areas = [_average_precision(*_truth_and_scores(content.rows, column)) for column in columns]
        worst = np.argsort(areas, kind="stable")[:COLOURS]
        shown = [_separate(content.names, content.rows, columns[index]) for index in worst]
    else:
        shown = [_separate(content.names, content.rows, column) for column in columns]
    if not shown:
        return None
    body = render(
        "thresholds.html",
        charts=draw_all([_roc(shown), _precision_recall(shown)]),
        shown=shown,
        left=len(columns) - len(shown),
        all_of=isinstance(content.report, ClassificationReport) and len(content.names) > 2,
    )
    return Section("thresholds", "At other thresholds", body)


@singledispatch
def _outputs(report: Report, rows: Rows) -> Sequence[int]:
    """The outputs that have both positive and negative rows."""
    return ()


@_outputs.register
def _(report: ClassificationReport, rows: Rows) -> Sequence[int]:
    counts = np.bincount(rows.targets, minlength=rows.predicted.shape[1])
    # For two classes, the second one's curve is sufficient, as is its AUROC.
    return [1] if len(counts) == 2 and counts.all() else _most_frequent(counts, len(rows)) if len(counts) > 2 else []


@_outputs.register
def _(report: MultilabelReport, rows: Rows) -> Sequence[int]:
    return _most_frequent((rows.targets > 0.5).sum(axis=0), len(rows))


def _most_frequent(counts: NDArray[np.int64], n: int) -> list[int]:
    possible = np.flatnonzero((counts > 0) & (counts < n))
    return sorted(possible[np.argsort(-counts[possible], kind="stable")][:_MOST_CANDIDATES].tolist())


def _truth_and_scores(rows: Rows, column: int) -> tuple[NDArray[np.bool_], Floats]:
    truth = rows.targets == column if rows.targets.ndim == 1 else rows.targets[:, column] > 0.5
    return truth, rows.predicted[:, column]


def _separate(names: Sequence[str], rows: Rows, column: int) -> Separation:
    truth, scores = _truth_and_scores(rows, column)
    return Separation(
        name=names[column],
        scores=scores,
        truth=truth,
        roc_area=float(roc_auc_score(truth, scores)),
        average_precision=_average_precision(truth, scores),
    )


def _average_precision(truth: NDArray[np.bool_], scores: Floats) -> float:
    return float(average_precision(scores, truth.astype(np.float64), np.ones((1, len(truth))))[0])


def _roc(shown: Sequence[Separation]) -> Chart:
    series = [Series([(0, 0), (1, 1)], style="reference")]
    for colour, one in enumerate(shown, start=1):
        false, true, _ = roc_curve(one.truth, one.scores)
        series.append(Series(thin(false, true), one.name if len(shown) > 1 else "", colour=colour))
    return Chart(
        "ROC curve",
        "ROC curves; area under them: " + "; ".join(f"{one.name} {one.roc_area:.3f}" for one in shown),
        Axis("false positive rate", 0.0, 1.0, spec=".1f"),
        Axis("true positive rate (recall)", 0.0, 1.0, spec=".1f"),
        series,
    )


def _precision_recall(shown: Sequence[Separation]) -> Chart:
    series = []
    for colour, one in enumerate(shown, start=1):
        precision, recall, _ = precision_recall_curve(one.truth, one.scores)
        series.append(Series(thin(recall, precision), one.name if len(shown) > 1 else "", colour=colour))
    return Chart(
        "Precision and recall",
        "Precision-recall curves; average precision: "
        + "; ".join(f"{one.name} {one.average_precision:.3f}" for one in shown),
        Axis("recall", 0.0, 1.0, spec=".1f"),
        Axis("precision", 0.0, 1.0, spec=".1f"),
        series,
    )
