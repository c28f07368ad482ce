"""Loss and metric over the epochs, and the gain from more labels."""

import json
from typing import Any, Literal

import numpy as np

from keras_transfer.frozen.learning_curve import LearningCurve
from keras_transfer.frozen.power_law import LEVEL
from keras_transfer.report.charts import Axis, Chart, Series, draw_all, fit_axis
from keras_transfer.report.content import Content, is_number
from keras_transfer.report.html import Section, render
from keras_transfer.run.folder import HISTORY
from keras_transfer.run.run import Run

_MOST_EPOCHS, _MOST_MARKED = 1000, 40


def training_curves(content: Content) -> Section | None:
    """Return loss and metric over the epochs of all phases."""
    lines = [] if content.runs else read_history(content.run)
    if not lines:
        return None
    names = ["loss", *(name for name in _metrics(lines) if name != "loss")][:3]
    charts = [_chart(name, lines) for name in names]
    body = render("training.html", charts=draw_all(charts), lines=lines, names=names)
    return Section("training", "Training", body)


def read_history(run: Run) -> list[dict[str, Any]]:
    """Return the readable lines of history.jsonl: a run folder may be untrusted."""
    try:
        text = (run.folder / HISTORY).read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()[:_MOST_EPOCHS]]
    except (OSError, ValueError, RecursionError):
        return []
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("phase"), str)]


def _metrics(lines: list[dict[str, Any]]) -> list[str]:
    """The metrics on training rows in every epoch."""
    other = ("epoch", "seconds", "strength", "learning_rate")
    found = dict.fromkeys(name for line in lines for name, value in line.items() if is_number(value))
    return [name for name in found if name not in other and not name.startswith("val_")]


def _chart(name: str, lines: list[dict[str, Any]]) -> Chart:
    title = name.replace("_", " ")
    series: list[Series] = []
    style: Literal["marked", "line"] = "marked" if len(lines) <= _MOST_MARKED else "line"
    for colour, (key, label) in enumerate(((name, "training"), (f"val_{name}", "validation")), start=1):
        points = [(epoch, line[key]) for epoch, line in enumerate(lines, start=1) if is_number(line.get(key))]
        series += [Series(points, label, style, colour)] if points else []
    values = [y for one in series for _, y in one.points]
    last = ", ".join(f"{one.name} {one.points[-1][1]:.4g}" for one in series)
    steps = fit_axis("epoch", [1, len(lines)], whole=True)
    ends = (0.5, len(lines) + 0.5)
    ticks = [tick for tick in steps.ticks or () if 1 <= tick <= len(lines)] or [1]
    return Chart(
        title=title[:1].upper() + title[1:],
        description=f"{title} over {len(lines)} epochs; in the last one: {last}",
        x=Axis("epoch", *ends, ticks=ticks),
        y=fit_axis(title, values),
        series=series,
        marks=[number + 0.5 for number in range(1, len(lines)) if lines[number]["phase"] != lines[number - 1]["phase"]],
    )


_ANCHOR, _TITLE = "learning-curve", "More labels"


def learning_curve(content: Content) -> Section | None:
    """Return the score of the solved head by the number of labels, and the forecast for twice as many."""
    curve = None if content.runs else content.run.learning_curve
    if curve is None:
        return None
    if not isinstance(curve, LearningCurve):
        return Section(_ANCHOR, _TITLE, render("learning_curve.html", curve=None, reason=curve.reason, chart=None))
    return Section(_ANCHOR, _TITLE, render("learning_curve.html", curve=curve, reason=None, chart=_draw(curve)))


def _draw(curve: LearningCurve) -> object:
    title = curve.figure.name.replace("_", " ")
    measured = [(point.rows, score) for point in curve.points for score in point.scores]
    means = [(point.rows, float(np.mean(point.scores))) for point in curve.points]
    low, high = zip(*(one.interval for one in curve.forecasts), strict=True)
    rows = [one.rows for one in curve.forecasts]
    chart = Chart(
        f"{title[:1].upper()}{title[1:]} by number of labels",
        f"{title} of the solved head: "
        + ", ".join(f"{score:.4g} with {rows:,} labels" for rows, score in means)
        + f"; expected with {rows[-1]:,}: {curve.forecasts[-1].score:.4g}",
        fit_axis("labelled training rows", [*(point.rows for point in curve.points), rows[-1]], is_log=True),
        fit_axis(title, [*(score for _, score in measured), *low, *high]),
        [
            Series(list(zip(rows, high, strict=True)), f"{LEVEL:.0%} interval", "band", colour=2, low=low),
            Series(measured, "heads on draws of labels", "dots", colour=1),
            Series(means, "their mean", colour=1),
            Series([(one.rows, one.score) for one in curve.forecasts], "expected", colour=2),
        ],
    )
    return draw_all([chart])
