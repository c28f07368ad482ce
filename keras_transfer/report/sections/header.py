"""The top of the page: the result first, next to the values to compare it with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import PurePath
from typing import Any

import numpy as np
from markupsafe import Markup

from keras_transfer.heads import (
    ClassificationReport,
    MaskedReport,
    MultilabelReport,
    RegressionReport,
    TranscriptReport,
)
from keras_transfer.heads.evaluation import ACCURACY, WORD_ERROR_RATE, Floats, Report
from keras_transfer.report.content import Content
from keras_transfer.report.html import exact, render


@dataclass(frozen=True)
class Compared:
    """A value on the scale of the headline.

    Attributes:
        low: Lower end of its interval, if that is known.
        high: Upper end.
        is_ours: Whether it is the value of the run.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    is_ours: bool = False


@dataclass(frozen=True)
class Headline:
    """The result in one figure.

    Attributes:
        interval: Its 95 % interval, if that is known.
        further: Other figures by name, each with its format.
        deviation: Standard deviation over the runs of a cross-validation.
    """

    name: str
    value: float | None
    spec: str
    interval: tuple[float, float] | None = None
    further: Mapping[str, tuple[float | None, str]] = field(default_factory=dict)
    deviation: float | None = None


def make_header(content: Content) -> tuple[str, Markup]:
    """Return the title of the document, and the content above the sections."""
    config = content.run.config
    source = content.source or config.data.source
    name = PurePath(source).name or source
    task = config.task.replace("_", " ")
    headline = _find_headline(content)
    compared = [] if headline is None else list(_compare(content, headline))
    title = f"{name}: {task}"
    header = render(
        "header.html",
        name=name,
        task=f"{task[:1].upper()}{task[1:]}",
        report=content.report,
        headline=headline,
        compared=compared,
        scale=_scale(compared),
        runs=len(content.runs),
        less_is_better=isinstance(content.report, RegressionReport | TranscriptReport),
        improvements=() if content.report is None else content.report.improvements,
        notes=content.notes,
        cut=lambda value: exact(value, headline.spec if headline else "g"),
    )
    return title, header


def _find_headline(content: Content) -> Headline | None:
    if content.summary is not None:
        return _summarised(content, content.summary["test"])
    return None if content.report is None else describe_report(content.report)


def _summarised(content: Content, figures: Mapping[str, Any]) -> Headline | None:
    """The mean over the runs of a cross-validation."""
    own = content.head.figure.name if content.rows is not None else "loss"
    if own not in figures:
        return None
    spec = ".1%" if own in (ACCURACY.name, WORD_ERROR_RATE.name) else ".4g"
    further = {
        f"{name.replace('_', ' ')}, mean of the runs": (figure["mean"], ".4g")
        for name, figure in figures.items()
        if name not in (own, "n")
    }
    return Headline(own.replace("_", " "), figures[own]["mean"], spec, further=further, deviation=figures[own]["std"])


@singledispatch
def describe_report(report: Report) -> Headline:
    """Return the result of a report: by default the loss, which every report has, and its other numbers."""
    further = {
        name.replace("_", " "): (value, ".4g")
        for name, value in report.figures().items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Headline("loss", report.loss, ".4f", further=further)


@describe_report.register
def _(report: ClassificationReport) -> Headline:
    further = {"mean F1 of the classes": (report.macro_f1, ".3f"), "loss": (report.loss, ".4f")}
    if report.auroc is not None:
        further = {"area under the ROC curve": (report.auroc, ".3f"), **further}
    return Headline("accuracy", report.accuracy, ".1%", report.accuracy_interval, further)


@describe_report.register
def _(report: MultilabelReport) -> Headline:
    return Headline(
        "mean average precision",
        report.mean_average_precision,
        ".3f",
        report.mean_average_precision_interval,
        {
            "mean F1 of the labels": (report.macro_f1, ".3f"),
            "F1 of all decisions": (report.micro_f1, ".3f"),
            "loss": (report.loss, ".4f"),
        },
    )


@describe_report.register
def _(report: RegressionReport) -> Headline:
    if len(report.numbers) > 1:
        return Headline(
            "mean absolute error, in standard deviations", report.mae, ".4g", further={"loss": (report.loss, ".4f")}
        )
    (number,) = report.numbers
    further = {"root mean squared error": (number.rmse, ".4g"), "R2": (number.r2, ".3f"), "loss": (report.loss, ".4f")}
    return Headline("mean absolute error", report.mae, ".4g", number.mae_interval, further)


@describe_report.register
def _(report: MaskedReport) -> Headline:
    further = {"perplexity": (report.perplexity, ".1f"), "loss": (report.loss, ".4f")}
    return Headline("of the masked tokens predicted correctly", report.accuracy, ".1%", further=further)


@describe_report.register
def _(report: TranscriptReport) -> Headline:
    further: dict[str, tuple[float | None, str]] = {"character error rate": (report.cer, ".1%")}
    if len(report.improvements) > 1:
        further["character error rate before training"] = (report.improvements[1].before, ".1%")
    if report.accuracy is not None:
        further |= {"tokens predicted correctly": (report.accuracy, ".1%"), "loss": (report.loss, ".4f")}
    return Headline("word error rate", report.wer, ".1%", report.wer_interval, further)


def _compare(content: Content, headline: Headline) -> list[Compared]:
    """The run's metric next to that of the solved head alone, and of a constant prediction."""
    report = content.report
    if report is None or headline.value is None or content.summary is not None:
        return []
    low, high = headline.interval or (None, None)
    compared = [Compared("this run", headline.value, low, high, is_ours=True)]
    if report.gain is not None:
        compared.append(Compared("solved head alone", report.gain.head_value))
    if report.improvements:
        compared.append(Compared("before training", report.improvements[0].before))
    constant = _constant(report, content)
    if constant is not None:
        compared.append(Compared(*constant))
    return compared if len(compared) > 1 else []


@singledispatch
def _constant(report: Report, content: Content) -> tuple[str, float] | None:
    """The result of a constant prediction, learned only from the training rows."""
    return None


@_constant.register
def _(report: ClassificationReport, content: Content) -> tuple[str, float] | None:
    counts = content.counts("classes").get("train")
    if not counts or not report.n:
        return None
    majority = max(counts, key=lambda name: counts[name])
    support = {one.name: one.support for one in report.classes}
    return f"always {majority}", support.get(majority, 0) / report.n


@_constant.register
def _(report: MultilabelReport, content: Content) -> tuple[str, float] | None:
    counts = content.counts("labels").get("train")
    if not counts:
        return None
    rows = max(content.run.record["splits"]["train"]["count"], 1)
    rates = [counts.get(name, 0) / rows for name in content.names]
    return _score_constant("always the base rates", np.asarray(rates), content)


@_constant.register
def _(report: RegressionReport, content: Content) -> tuple[str, float] | None:
    numbers = content.ranges().get("train", {})
    if any(name not in numbers for name in content.names):
        return None
    return _score_constant("always the mean", np.asarray([numbers[name]["mean"] for name in content.names]), content)


def _score_constant(name: str, constant: Floats, content: Content) -> tuple[str, float] | None:
    if content.rows is None or not len(content.rows):
        return None
    predicted = np.tile(constant.astype(np.float32), (len(content.rows), 1))
    value = content.head.score_once(predicted, content.rows.targets)
    return (name, value) if np.isfinite(value) else None


def _scale(compared: list[Compared]) -> list[dict[str, float]]:
    """The positions of values and intervals on a line of length 100 that starts at 0."""
    if not compared:
        return []
    top = max(one.high or one.value for one in compared)
    top = 1.0 if all(one.value <= 1.0 for one in compared) and 0.25 < top <= 1.0 else (top or 1.0)
    places = []
    for one in compared:
        low, high = (one.value if end is None else end for end in (one.low, one.high))
        places.append({"value": 100 * one.value / top, "low": 100 * low / top, "width": 100 * (high - low) / top})
    return [{key: round(value, 2) for key, value in place.items()} for place in places]
