"""Reports for people: tables on the screen, the history as an image."""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_transfer.heads import ClassificationReport, MaskedReport, MultilabelReport, RegressionReport
from keras_transfer.heads.evaluation import Report
from keras_transfer.training.lr_finder import RangeTest
from keras_transfer.training.phase import PhaseSummary

# A table of more classes than this is read by nobody; metrics.json has them all.
_MOST_CLASSES = 30
_MOST_CONFUSED = 12


def print_plan(summaries: Sequence[PhaseSummary], stages: int, console: Console) -> None:
    """Print what each phase trains.

    Args:
        summaries: One a phase.
        stages: How many stages the backbone has.
        console: Where to.
    """
    table = Table(title="Phases", title_justify="left")
    for heading in ("phase", "epochs", "stages that train", "BatchNorm", "weights that train"):
        table.add_column(heading)
    for summary in summaries:
        phase = summary.phase
        table.add_row(
            phase.name,
            "solved" if phase.solve else str(phase.epochs),
            _name_stages(summary.stages, stages),
            phase.batch_norm if phase.stages else "frozen",
            f"{summary.trained:,} of {summary.total:,} ({summary.trained / summary.total:.1%})",
        )
    console.print(table)


def _name_stages(names: Sequence[str], stages: int) -> str:
    if not names:
        return f"head alone (0 of {stages})"
    span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return f"{span} ({len(names)} of {stages}) and head"


def print_report(report: Report, console: Console) -> None:
    """Print a report as tables."""
    _print_figures(report, console)
    if report.gain is not None:
        console.print(f"fine-tuning: {report.gain}", highlight=False, soft_wrap=True)


@singledispatch
def _print_figures(report: Report, console: Console) -> None:
    """What a report of its kind has; every report has a loss."""
    _print_lines(report, {}, console)


def _new_table(report: Report, *headings: str) -> Table:
    table = Table(title=escape(f"{report.split[:1].upper()}{report.split[1:]}: {report.n} rows"), title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _print_lines(report: Report, lines: Mapping[str, str], console: Console) -> None:
    lines = {**lines, "loss": f"{report.loss:.4f}"}
    width = max(map(len, lines))
    for name, line in lines.items():
        console.print(f"{name:<{width}}  {line}", highlight=False, markup=False)


@_print_figures.register
def _(report: ClassificationReport, console: Console) -> None:
    table = _new_table(report, "class", "precision", "recall", "F1", "rows")
    for figures in report.classes[:_MOST_CLASSES]:
        table.add_row(
            escape(figures.name),
            f"{figures.precision:.3f}",
            f"{figures.recall:.3f}",
            f"{figures.f1:.3f}",
            str(figures.support),
        )
    if len(report.classes) > _MOST_CLASSES:
        table.add_row(f"and {len(report.classes) - _MOST_CLASSES} more", "", "", "", "")
    table.add_section()
    table.add_row("mean", "", "", f"{report.macro_f1:.3f}", str(report.n))
    console.print(table)
    print_confusion([figures.name for figures in report.classes], report.confusion, "Confusion", console)
    lines = {"accuracy": _with_interval(report.accuracy, report.accuracy_interval)}
    if report.auroc is not None:
        lines["AUROC"] = f"{report.auroc:.4f}  (of {report.classes[1].name})"
    _print_lines(report, lines, console)


@_print_figures.register
def _(report: MultilabelReport, console: Console) -> None:
    headings = ("label", "threshold", "AP", "precision", "recall", "F1", "rows")
    table = _new_table(report, *headings)
    for label in report.labels[:_MOST_CLASSES]:
        average = "" if label.average_precision is None else f"{label.average_precision:.3f}"
        figures = (f"{value:.3f}" for value in (label.precision, label.recall, label.f1))
        table.add_row(escape(label.name), f"{label.threshold:.3f}", average, *figures, str(label.support))
    if len(report.labels) > _MOST_CLASSES:
        table.add_row(f"and {len(report.labels) - _MOST_CLASSES} more", *[""] * (len(headings) - 1))
    console.print(table)
    lines = {"F1, mean of labels": f"{report.macro_f1:.4f}", "F1, all decisions": f"{report.micro_f1:.4f}"}
    mean, interval = report.mean_average_precision, report.mean_average_precision_interval
    if mean is not None and interval is not None:
        lines = {"mean average precision": _with_interval(mean, interval), **lines}
    _print_lines(report, lines, console)


@_print_figures.register
def _(report: RegressionReport, console: Console) -> None:
    table = _new_table(report, "number", "MAE", "RMSE", "R2")
    for number in report.numbers[:_MOST_CLASSES]:
        table.add_row(
            escape(number.name),
            _with_span(number.mae, number.mae_interval),
            _with_span(number.rmse, number.rmse_interval),
            "" if number.r2 is None or number.r2_interval is None else _with_span(number.r2, number.r2_interval),
        )
    if len(report.numbers) > _MOST_CLASSES:
        table.add_row(f"and {len(report.numbers) - _MOST_CLASSES} more", "", "", "")
    console.print(table)
    unit = " standard deviations, the mean of all numbers" if len(report.numbers) > 1 else ""
    _print_lines(report, {"MAE": f"{report.mae:.4g}{unit}"}, console)


@_print_figures.register
def _(report: MaskedReport, console: Console) -> None:
    title = f"{report.split[:1].upper()}{report.split[1:]}: {report.n} rows, {report.masked} masked tokens"
    console.print(title, highlight=False, markup=False)
    _print_lines(report, {"accuracy": f"{report.accuracy:.4f}", "perplexity": f"{report.perplexity:.1f}"}, console)


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.4f}  (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"


def _with_span(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"


def print_confusion(names: Sequence[str], counts: Sequence[Sequence[int]], title: str, console: Console) -> None:
    """Print how many rows of each class were taken for each, unless the classes are too many to be read.

    Args:
        names: Of the classes.
        counts: ``counts[i][j]`` rows of class i were taken for class j.
        title: Above the table.
        console: Where to.
    """
    if len(names) > _MOST_CONFUSED:
        return
    table = Table(title=title, title_justify="left")
    table.add_column("true \\ predicted")
    for name in names:
        table.add_column(escape(name), justify="right")
    for name, row in zip(names, counts, strict=True):
        table.add_row(escape(name), *map(str, row))
    console.print(table)


def plot_range_test(test: RangeTest, image: Path) -> None:
    """Draw the loss over the learning rate, and what is suggested.

    Args:
        test: The curve.
        image: The PNG to write.

    Raises:
        ConfigError: Nothing is suggested.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="grey", markersize=4, label="a batch")
    axes.plot(test.rates, test.smoothed, label="smoothed")
    axes.axvline(test.learning_rate, color="grey", linestyle=":", label=f"{test.learning_rate:g}")
    axes.set(xlabel="training.learning_rate", ylabel="loss", xscale="log", title=f"phase {test.phase}")
    axes.set_ylim(0.0, 2.0 * test.smoothed[0])  # the explosion at the end would flatten what comes before it
    axes.legend(frameon=False)
    figure.savefig(image, dpi=120)
