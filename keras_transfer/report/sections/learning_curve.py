"""What more labels would gain."""

import numpy as np

from keras_transfer.frozen.learning_curve import LearningCurve
from keras_transfer.frozen.power_law import LEVEL
from keras_transfer.report.charts import Chart, Series, draw_all, fit_axis
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

_ANCHOR, _TITLE = "learning-curve", "More labels"


def learning_curve(content: Content) -> Section | None:
    """Return the score of the solved head by the number of labels, and what twice as many are expected to give."""
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
