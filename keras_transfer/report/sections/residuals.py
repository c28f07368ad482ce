"""Predicted numbers against true ones, and their residuals."""

import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads import RegressionReport
from keras_transfer.report.charts import Chart, Series, draw_all, fit_axis
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

_MOST_NUMBERS, _MOST_DOTS, _BINS = 6, 600, 24


def residuals(content: Content) -> Section | None:
    """Return predicted against true numbers, and the distribution of their differences."""
    rows = content.rows
    if not isinstance(content.report, RegressionReport) or rows is None or not len(rows):
        return None
    charts = []
    for column, name in enumerate(content.names[:_MOST_NUMBERS]):
        truth, predicted = (values[:, column].astype(np.float64) for values in (rows.targets, rows.predicted))
        charts += [_scatter(name, truth, predicted), _histogram(name, predicted - truth)]
    drawn = min(len(rows), _MOST_DOTS)
    left = max(len(content.names) - _MOST_NUMBERS, 0)
    body = render("residuals.html", charts=draw_all(charts), drawn=drawn, n=len(rows), left=left)
    return Section("residuals", "Predicted and true numbers", body)


def _scatter(name: str, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Chart:
    index = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), _MOST_DOTS)).astype(int))
    points = list(zip(truth[index].tolist(), predicted[index].tolist(), strict=True))
    both = np.concatenate([truth, predicted])
    x, y = fit_axis("true", both), fit_axis("predicted", both)
    varies = len(truth) > 1 and truth.std() > 0 and predicted.std() > 0
    correlation = f"; correlation {np.corrcoef(truth, predicted)[0, 1]:.3f}" if varies else ""
    diagonal = Series([(x.low, x.low), (x.high, x.high)], style="reference")
    description = f"{name}: predicted against true values of {len(index)} rows{correlation}"
    return Chart(f"{name}: predicted and true", description, x, y, [diagonal, Series(points, style="dots")])


def _histogram(name: str, errors: NDArray[np.float64]) -> Chart:
    counts, edges = np.histogram(errors, bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    low, middle, high = np.percentile(errors, [5, 50, 95])
    return Chart(
        f"{name}: residuals",
        f"{name}: predicted less true values; median {middle:.4g}, 90 % of them from {low:.4g} to {high:.4g}",
        fit_axis("predicted less true", edges),
        fit_axis("rows", counts, from_zero=True, whole=True),
        [Series(list(zip(centres.tolist(), counts.astype(float).tolist(), strict=True)), style="bars")],
        marks=[0.0] if edges[0] < 0 < edges[-1] else [],
    )
