"""Plans and reports as tables on a terminal."""

from collections.abc import Mapping, Sequence
from functools import singledispatch

import numpy as np
from rich.console import Console

from keras_transfer.console import print_line, print_table, table_width
from keras_transfer.console.text import one_line, with_interval
from keras_transfer.data.tables.tables import some
from keras_transfer.frozen.learning_curve import LearningCurve
from keras_transfer.heads import (
    ClassificationReport,
    MaskedReport,
    MultilabelReport,
    RegressionReport,
    TranscriptReport,
)
from keras_transfer.heads.evaluation import Report
from keras_transfer.heads.reliability import NOT_CALIBRATED, CalibrationReport
from keras_transfer.heads.word_errors import ErrorRate
from keras_transfer.networks.types import IntArray
from keras_transfer.training.phase import PhaseSummary

# A larger table is unreadable; metrics.json has all of them.
_MOST_CLASSES = 30
_LARGEST_MATRIX, _WIDEST_MATRIX = 12, 200
_MOST_PAIRS = 10


def print_plan(summaries: Sequence[PhaseSummary], stages: int, console: Console) -> None:
    """Print what each phase trains."""
    rows = [
        (
            summary.phase.name,
            "solved" if summary.phase.solve else str(summary.phase.epochs),
            _name_stages(summary.stages, stages),
            summary.phase.batch_norm if summary.phase.stages else "frozen",
            f"{summary.trained:,} of {summary.total:,} ({summary.trained / summary.total:.1%})",
        )
        for summary in summaries
    ]
    headings = ("phase", "epochs", "stages that train", "BatchNorm", "weights that train")
    print_table(headings, rows, console, title="Phases", left=headings)


def _name_stages(names: Sequence[str], stages: int) -> str:
    if not names:
        return f"head alone (0 of {stages})"
    span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return f"{span} ({len(names)} of {stages}) and head"


def print_report(report: Report, console: Console) -> None:
    """Print a report as tables."""
    _print_figures(report, console)
    if report.calibration is not None:
        _print_calibration(report.calibration, console)
    if report.gain is not None:
        print_line(f"fine-tuning: {report.gain}", console)
    if report.improvements:
        print_line(f"fine-tuning: {'; '.join(map(str, report.improvements))}", console)


def print_learning_curve(curve: LearningCurve, console: Console) -> None:
    """Print the estimated gain from twice as many labels."""
    print_line(curve, console)


@singledispatch
def _print_figures(report: Report, console: Console) -> None:
    """Print the metrics of a kind of report; every report has a loss."""
    _print_lines(report, {}, console)


def _print_rows(
    report: Report,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
    footer: Sequence[Sequence[str]] = (),
) -> None:
    """A row per class, label or number; only the first if there are many, since metrics.json has all."""
    shown = list(rows[:_MOST_CLASSES])
    if len(rows) > len(shown):
        shown.append((f"and {len(rows) - len(shown)} more in metrics.json", *[""] * (len(headings) - 1)))
    title = f"{report.split[:1].upper()}{report.split[1:]}: {report.n} rows"
    print_table(headings, shown, console, title=title, footer=footer)


def _print_absent(what: str, names: Sequence[str], console: Console) -> None:
    """Print which classes or labels are not included in the averages."""
    if names:
        print_line(f"{what} without rows, left out of averages: {some(map(one_line, names))}", console)


def _three_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _print_lines(report: Report, lines: Mapping[str, str], console: Console) -> None:
    lines = {**lines, "loss": f"{report.loss:.4f}"}
    width = max(map(len, lines))
    for name, line in lines.items():
        print_line(f"{name:<{width}}  {line}", console)


@_print_figures.register
def _(report: ClassificationReport, console: Console) -> None:
    rows = [
        (one.name, *map(_three_digits, (one.precision, one.recall, one.f1)), str(one.support)) for one in report.classes
    ]
    mean = ("mean", "", "", f"{report.macro_f1:.3f}", str(report.n))
    _print_rows(report, ("class", "precision", "recall", "F1", "rows"), rows, console, footer=[mean])
    _print_absent("Classes", report.without_rows, console)
    print_confusion([one.name for one in report.classes], report.confusion, "Confusion", console)
    lines = {"accuracy": with_interval(report.accuracy, report.accuracy_interval)}
    if report.auroc is not None:
        lines["AUROC"] = f"{report.auroc:.4f}  (of {report.classes[1].name})"
    if report.decision is not None:
        lines["thresholds"] = str(report.decision)
    if report.coverage is not None:
        lines["coverage"] = str(report.coverage)
    _print_lines(report, lines, console)


@_print_figures.register
def _(report: MultilabelReport, console: Console) -> None:
    rows = [
        (
            label.name,
            f"{label.threshold:.3f}",
            *map(_three_digits, (label.average_precision, label.precision, label.recall, label.f1)),
            str(label.support),
        )
        for label in report.labels
    ]
    _print_rows(report, ("label", "threshold", "AP", "precision", "recall", "F1", "rows"), rows, console)
    _print_absent("Labels", report.without_rows, console)
    lines = {"F1, mean of labels": f"{report.macro_f1:.4f}", "F1, all decisions": f"{report.micro_f1:.4f}"}
    if report.choice is not None:
        lines["thresholds"] = str(report.choice)
    if report.coverage is not None:
        lines["coverage"] = str(report.coverage)
    mean, interval = report.mean_average_precision, report.mean_average_precision_interval
    if mean is not None and interval is not None:
        lines = {"mean average precision": with_interval(mean, interval), **lines}
    _print_lines(report, lines, console)


@_print_figures.register
def _(report: RegressionReport, console: Console) -> None:
    rows = [
        (
            number.name,
            _with_span(number.mae, number.mae_interval),
            _with_span(number.rmse, number.rmse_interval),
            "" if number.r2 is None or number.r2_interval is None else _with_span(number.r2, number.r2_interval),
        )
        for number in report.numbers
    ]
    _print_rows(report, ("number", "MAE", "RMSE", "R2"), rows, console)
    unit = " standard deviations, the mean of all numbers" if len(report.numbers) > 1 else ""
    coverage = {} if report.coverage is None else report.coverage.lines()
    _print_lines(report, {"MAE": f"{report.mae:.4g}{unit}", **coverage}, console)


@_print_figures.register
def _(report: MaskedReport, console: Console) -> None:
    title = f"{report.split[:1].upper()}{report.split[1:]}: {report.n} rows, {report.masked} masked tokens"
    print_line(title, console)
    _print_lines(report, {"accuracy": f"{report.accuracy:.4f}", "perplexity": f"{report.perplexity:.1f}"}, console)


@_print_figures.register
def _(report: TranscriptReport, console: Console) -> None:
    rows = [_describe_errors(name, rate) for name, rate in (("words", report.words), ("characters", report.characters))]
    headings: tuple[str, ...] = ("", "error rate", "95 % interval", "of", "substituted", "left out", "added")
    if report.words.group_interval is not None:
        headings = (*headings[:3], f"over {report.groups} groups", *headings[3:])
    _print_rows(report, headings, rows, console)
    if report.accuracy is not None:
        _print_lines(report, {"tokens right": f"{report.accuracy:.4f}"}, console)


def _describe_errors(name: str, rate: ErrorRate) -> tuple[str, ...]:
    groups = () if rate.group_interval is None else (_as_shares(rate.group_interval),)
    counts = (rate.length, rate.substitutions, rate.deletions, rate.insertions)
    return (name, f"{rate.rate:.1%}", _as_shares(rate.interval), *groups, *(f"{count:,}" for count in counts))


def _as_shares(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


_CALIBRATION = {
    "log_loss": "log loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "calibration error",
    "coverage": "coverage of 95 % intervals",
    "negative_log_likelihood": "negative log likelihood",
}


def _print_calibration(calibration: CalibrationReport, console: Console) -> None:
    """How well calibrated predictions are, before and after; numbers have no standard deviation before."""
    parts = {"before": calibration.before, "after": calibration.after}
    shown = {name: part for name, part in parts.items() if part}
    title = f"Calibration: {calibration.fitted or NOT_CALIBRATED}"
    if not shown:
        print_line(title, console)
        return
    names = next(iter(shown.values()))
    rows = [(_CALIBRATION.get(name, name), *(str(part[name]) for part in shown.values())) for name in names]
    print_table(("", *shown), rows, console, title=title)


def _with_span(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"


def print_confusion(names: Sequence[str], counts: Sequence[Sequence[int]], title: str, console: Console) -> None:
    """Print the confusion matrix; if it is too large, the pairs of classes that are confused most often.

    Args:
        counts: ``counts[i][j]`` rows of class i were classified as class j.
    """
    headings = ("true \\ predicted", *names)
    rows = [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)]
    widest = console.width if console.is_terminal else _WIDEST_MATRIX
    if len(names) <= _LARGEST_MATRIX and table_width(headings, rows, console) <= widest:
        print_table(headings, rows, console, title=title)
        return
    confused = _most_confused(np.asarray(counts))
    if not confused:
        print_line(f"{title}: no row was misclassified.", console)
        return
    pairs = [
        (names[true], names[predicted], f"{count:,}", f"{count / total:.0%}")
        for true, predicted, count, total in confused
    ]
    print_table(("true", "predicted", "rows", "of class"), pairs, console, title=f"{title}: the most frequent", names=2)


def _most_confused(counts: IntArray) -> list[tuple[int, int, int, int]]:
    """(true class, predicted class, rows, rows of the true class), most rows first."""
    totals = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    pairs = [divmod(int(index), len(counts)) for index in order]
    return [(i, j, int(wrong[i, j]), int(totals[i])) for i, j in pairs if wrong[i, j]]
