"""Whether probabilities are reliable."""

from collections.abc import Sequence
from dataclasses import replace

from keras_transfer.heads.reliability import NOT_CALIBRATED, CalibrationReport, ReliabilityBin
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
        fitted=measured and _describe(measured, content),
        is_multilabel=content.rows is not None and content.rows.targets.ndim > 1,
    )
    return Section("calibration", "Calibration", body)


def _describe(measured: CalibrationReport, content: Content) -> str:
    if content.runs and measured.fitted:
        return "each run is calibrated on rows of its own"
    return str(measured.fitted or NOT_CALIBRATED)


def _bins(content: Content) -> dict[str, Sequence[ReliabilityBin]]:
    if content.rows is None or not len(content.rows):
        return {}
    rows = content.rows
    found = content.head.reliability(rows.predicted, rows.targets)
    if found is None:
        return {}
    before = found.before
    if rows.uncalibrated is not None:
        before = replace(content.head, calibration=None).reliability(rows.uncalibrated, rows.targets).before
    return {name: bins for name, bins in (("before", before), ("after", found.after)) if bins}


def _chart(bins: dict[str, Sequence[ReliabilityBin]]) -> Chart:
    series = [Series([(0, 0), (1, 1)], style="reference")]
    # The most important series is drawn last, in the first colour.
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
