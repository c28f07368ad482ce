"""Reports for people: tables on the screen, the history as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from keras_transfer.evaluation import MaskedReport, Report
from keras_transfer.lr_finder import RangeTest
from keras_transfer.training import PhaseSummary

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


def print_report(report: Report | MaskedReport, console: Console) -> None:
    """Print a report as tables; one on masked tokens as lines."""
    if isinstance(report, MaskedReport):
        console.print(f"{report.split.capitalize()}: {report.n} rows, {report.masked} masked tokens", highlight=False)
        console.print(f"accuracy    {report.accuracy:.4f}", highlight=False)
        console.print(f"loss        {report.loss:.4f}  (perplexity {report.perplexity:.1f})", highlight=False)
        return
    low, high = report.accuracy_interval
    table = Table(title=f"{report.split.capitalize()}: {report.n} rows", title_justify="left")
    for heading in ("class", "precision", "recall", "F1", "rows"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for figures in report.classes[:_MOST_CLASSES]:
        table.add_row(
            figures.name, f"{figures.precision:.3f}", f"{figures.recall:.3f}", f"{figures.f1:.3f}", str(figures.support)
        )
    if len(report.classes) > _MOST_CLASSES:
        table.add_row(f"and {len(report.classes) - _MOST_CLASSES} more", "", "", "", "")
    table.add_section()
    table.add_row("mean", "", "", f"{report.macro_f1:.3f}", str(report.n))
    console.print(table)
    if len(report.classes) <= _MOST_CONFUSED:
        _print_confusion(report, console)
    console.print(f"accuracy  {report.accuracy:.4f}  (95 % interval {low:.4f} to {high:.4f})", highlight=False)
    console.print(f"loss      {report.loss:.4f}", highlight=False)
    if report.auroc is not None:
        console.print(f"AUROC     {report.auroc:.4f}  (of {report.classes[1].name})", highlight=False)
    if report.gain is not None:
        console.print(f"fine-tuning: {report.gain}", highlight=False, soft_wrap=True)


def _print_confusion(report: Report, console: Console) -> None:
    table = Table(title="Confusion", title_justify="left")
    table.add_column("true \\ predicted")
    for figures in report.classes:
        table.add_column(figures.name, justify="right")
    for figures, row in zip(report.classes, report.confusion, strict=True):
        table.add_row(figures.name, *(str(count) for count in row))
    console.print(table)


def plot_history(history: Path, picture: Path) -> None:
    """Draw loss and accuracy over the epochs of all phases.

    Args:
        history: The run's history.jsonl.
        picture: The PNG to write.
    """
    # Imported here: pyplot would choose a window system, and `--help` needs neither.
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, label in ((metric, "training"), (f"val_{metric}", "validation")):
            points = [(epoch, line[name]) for epoch, line in enumerate(lines, start=1) if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        for epoch in range(1, len(lines)):
            if lines[epoch]["phase"] != lines[epoch - 1]["phase"]:
                axes.axvline(epoch + 0.5, color="grey", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)


def plot_range_test(test: RangeTest, picture: Path) -> None:
    """Draw the loss over the learning rate, and what is suggested.

    Args:
        test: The curve.
        picture: The PNG to write.

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
    figure.savefig(picture, dpi=120)
