"""Figures as inline SVG: lines, dots and bars between two axes, drawn by a template in the colours of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from keras_transfer.report.html import render

Points = Sequence[tuple[float, float]]

COLOURS = 8
"""Series after the eighth have the colours of the first ones again."""

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 12, 46
_TICKS = 5
_MOST_POINTS = 200


@dataclass(frozen=True)
class Series:
    """What is drawn from one list of points.

    Attributes:
        points: ``(x, y)`` each; those that are NaN or infinite are left out.
        name: The name in the legend; empty for none.
        style: ``marked`` is a line with a dot at each point; a ``band`` is the area between ``points`` and ``low``;
            ``reference`` is a thin dashed line.
        colour: From 1 to 8.
        low: The lower edge of a band, one y per point.
    """

    points: Points
    name: str = ""
    style: Literal["line", "marked", "dots", "bars", "band", "reference"] = "line"
    colour: int = 1
    low: Sequence[float] = ()


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        is_log: Whether equal distances are equal factors.
        ticks: Positions of the labels; None for round numbers.
        spec: Format of the ticks, as for ``format``.
    """

    label: str
    low: float
    high: float
    is_log: bool = False
    ticks: Sequence[float] | None = None
    spec: str = "g"

    def place(self, value: float) -> float:
        """Return the position of a value, from 0 to 1."""
        low, high, value = (math.log(x) for x in (self.low, self.high, value)) if self.is_log else self._plain(value)
        return (value - low) / ((high - low) or 1.0)

    def _plain(self, value: float) -> tuple[float, float, float]:
        return self.low, self.high, value


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        description: A text alternative.
        marks: Positions on the x axis of dotted vertical lines.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[float] = ()


def fit_axis(label: str, values: Any, *, from_zero: bool = False, is_log: bool = False, whole: bool = False) -> Axis:
    """Return an axis with round ends for some values.

    Args:
        values: At least one that is finite, or the axis goes from 0 to 1.
        from_zero: Whether it starts at 0.
        is_log: Whether it is logarithmic; the values are positive.
        whole: Whether ticks are whole numbers.
    """
    finite = np.asarray(values, np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return Axis(label, 0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if is_log:
        return Axis(label, low, high * (1.0 if high > low else 2.0), is_log=True, ticks=_log_ticks(low, high))
    low = min(low, 0.0) if from_zero else low
    if low == high:
        low, high = (low - 1.0, high + 1.0) if not from_zero else (low, high + 1.0)
    step = _round_step((high - low) / _TICKS)
    step = max(1.0, step) if whole else step
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    ticks = [round(low + number * step, 12) for number in range(round((high - low) / step) + 1)]
    return Axis(label, low, high, ticks=ticks)


def draw(chart: Chart) -> Markup:
    """Return a chart as a ``<figure>`` with inline SVG."""
    frame = {"width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "right": _WIDTH - _RIGHT, "top": _TOP}
    frame["bottom"] = _HEIGHT - _BOTTOM
    return render(
        "chart.html",
        chart=chart,
        frame=frame,
        x_ticks=[(_x(chart, tick), format(tick, chart.x.spec)) for tick in _ticks(chart.x)],
        y_ticks=[(_y(chart, tick), format(tick, chart.y.spec)) for tick in _ticks(chart.y)],
        marks=[_x(chart, mark) for mark in chart.marks],
        drawn=[_Drawn.of(chart, series) for series in chart.series],
    )


def draw_all(charts: Sequence[Chart]) -> Markup:
    """Return charts side by side, as many as the window is wide for."""
    return Markup('<div class="charts">{}</div>').format(Markup("").join(map(draw, charts)))


def thin(x: NDArray[Any], y: NDArray[Any]) -> list[tuple[float, float]]:
    """Return points of a curve with many points, few enough for a page, including its ends."""
    index = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(int))
    return list(zip(np.asarray(x, float)[index].tolist(), np.asarray(y, float)[index].tolist(), strict=True))


@dataclass(frozen=True)
class _Drawn:
    """A series in the coordinates of the chart."""

    series: Series
    path: str
    points: list[tuple[float, float]]
    bars: list[tuple[float, float, float, float]]

    @classmethod
    def of(cls, chart: Chart, series: Series) -> "_Drawn":
        kept = [(x, y) for x, y in series.points if math.isfinite(x) and math.isfinite(y)]
        points = [(_x(chart, x), _y(chart, y)) for x, y in kept]
        path = " ".join(f"{x},{y}" for x, y in points)
        if series.style == "band":
            lower = [(_x(chart, x), _y(chart, y)) for (x, _), y in zip(series.points, series.low, strict=True)]
            path = " ".join(f"{x},{y}" for x, y in [*points, *reversed(lower)])
        return cls(series, path, points, _bars(chart, kept) if series.style == "bars" else [])


def _bars(chart: Chart, points: Points) -> list[tuple[float, float, float, float]]:
    """x, y, width and height of bars of equal width, starting at 0."""
    if not points:
        return []
    step = points[1][0] - points[0][0] if len(points) > 1 else chart.x.high - chart.x.low
    width = max(0.9 * abs(_x(chart, points[0][0] + step) - _x(chart, points[0][0])), 0.5)
    base = _y(chart, max(chart.y.low, 0.0))
    places = [(_x(chart, x) - width / 2, _y(chart, y)) for x, y in points]
    return [(round(x, 1), min(y, base), round(width, 1), round(abs(base - y), 1)) for x, y in places]


def _x(chart: Chart, value: float) -> float:
    share = min(max(chart.x.place(value), 0.0), 1.0)
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(chart: Chart, value: float) -> float:
    share = min(max(chart.y.place(value), 0.0), 1.0)
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _ticks(axis: Axis) -> Sequence[float]:
    if axis.ticks is not None:
        return axis.ticks
    return [axis.low + (axis.high - axis.low) * number / _TICKS for number in range(_TICKS + 1)]


def _round_step(step: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= step * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1.0, 2.0, 5.0)]
    found = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return found or [low, high]
