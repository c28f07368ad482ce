"""Whether probabilities can be taken at their word."""

from collections.abc import Sequence

from keras_transfer.heads.reliability import NOT_CALIBRATED, ReliabilityBin
from keras_transfer.report.charts import Axis, Chart, Series, draw_all
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

METRICS = {
    "log_loss": "log loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "expected calibration error",
    "coverage": "coverage of 95 % intervals",
    "negative_log_likelihood": "negative log likelihood",
}
"""What the metrics of calibration are called."""


def calibration(content: Content) -> Section | None:
    """Return confidence against accuracy before and after calibration, and the metrics of both with intervals."""
    measured = None if content.report is None else content.report.calibration
    bins = _bins(content)
    if measured is None and not bins:
        return None
    parts = {} if measured is None else {"before": measured.before, "after": measured.after}
    shown = {name: part for name, part in parts.items() if part}
    body = render(
        "calibration.html",
        charts=draw_all([_chart(bins)]) if bins else None,
        parts=shown,
        metrics={name: METRICS.get(name, name) for part in shown.values() for name in part},
        fitted=measured and (measured.fitted or NOT_CALIBRATED),
        is_multilabel=content.rows is not None and content.rows.targets.ndim > 1,
    )
    return Section("calibration", "Calibration", body)


def _bins(content: Content) -> dict[str, Sequence[ReliabilityBin]]:
    if content.rows is None or not len(content.rows):
        return {}
    found = content.head.reliability(content.rows.predicted, content.rows.targets)
    if found is None:
        return {}
    if content.runs:  # each has a temperature of its own, which one head cannot undo
        return {"": found.after or found.before}
    return {name: bins for name, bins in (("before", found.before), ("after", found.after)) if bins}


def _chart(bins: dict[str, Sequence[ReliabilityBin]]) -> Chart:
    series = [Series([(0, 0), (1, 1)], style="reference")]
    # What counts is drawn last, in the first colour.
    for colour, (name, part) in zip(range(len(bins), 0, -1), bins.items(), strict=True):
        series.append(Series([(one.confidence, one.accuracy) for one in part], name, "marked", colour))
    last = list(bins.values())[-1]
    return Chart(
        "Reliability",
        "Accuracy by confidence: " + "; ".join(f"{one.confidence:.2f}: {one.accuracy:.2f}" for one in last),
        Axis("confidence", 0.0, 1.0, spec=".1f"),
        Axis("share that is right", 0.0, 1.0, spec=".1f"),
        series,
    )
