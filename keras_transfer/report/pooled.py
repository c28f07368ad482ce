"""The page of a cross-validation: the test rows of all its runs, each predicted by the run that held it out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.errors import CheckpointError
from keras_transfer.heads import ClassificationReport, MultilabelReport
from keras_transfer.heads.evaluation import Floats, Report, stack_rows
from keras_transfer.heads.probabilities import ProbabilityHead
from keras_transfer.heads.reliability import CalibrationReport
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.page import write_content
from keras_transfer.run.folder import REPORT, SUMMARY, damaged, read_json
from keras_transfer.run.run import Run
from keras_transfer.storage.inside import check_inside

_SPLIT = "test"


def write_pooled_page(
    folder: Path, runs: Sequence[Run], summary: Mapping[str, Any], *, file: Path | None = None
) -> Path:
    """Write the page of a cross-validation.

    Args:
        file: The output file; by default report.html in the folder.

    Raises:
        CheckpointError: A run folder is damaged, or the file cannot be written.
    """
    rows, report, notes = _pool(runs)
    content = Content(runs[0], report, rows, notes, runs=tuple(runs), summary=summary)
    return write_content(content, file or folder / REPORT)


def read_runs(folder: Path) -> tuple[list[Run], dict[str, Any]]:
    """Read a cross-validation from its folder, which may be untrusted.

    Returns:
        The runs, and the content of summary.json.

    Raises:
        CheckpointError: The folder is damaged.
    """
    check_inside(folder, files=(SUMMARY, REPORT))
    file = folder / SUMMARY
    summary = read_json(file, "test", "runs")
    names, figures = summary["runs"], summary["test"]
    if not isinstance(names, list) or not names or not all(_is_below(folder, name) for name in names):
        raise damaged(file, "runs: expected the names of the folders of runs in this folder")
    if not isinstance(figures, dict) or not all(_is_figure(figure, len(names)) for figure in figures.values()):
        raise damaged(file, "test: expected mean, std and the values of all runs")
    return [Run(folder / name) for name in names], summary


def _is_below(folder: Path, name: Any) -> bool:
    return isinstance(name, str) and name in {entry.name for entry in folder.iterdir() if entry.is_dir()}


def _is_figure(figure: Any, runs: int) -> bool:
    if not isinstance(figure, dict) or not isinstance(figure.get("values"), list) or len(figure["values"]) != runs:
        return False
    return all(isinstance(value, int | float) for value in (figure.get("mean"), figure.get("std"), *figure["values"]))


def _pool(runs: Sequence[Run]) -> tuple[Rows | None, Report | None, tuple[str, ...]]:
    """The rows of all runs, a report on them, and lines on missing ones."""
    if any(run.task.refusal(run) is not None for run in runs):
        return None, None, ()
    predicted = [run.predictions.get(_SPLIT) for run in runs]
    if any(run.target.names != runs[0].target.names for run in runs):
        raise CheckpointError(f"The runs in {runs[0].folder.parent} have different classes. Run the recipe again.")
    parts = [part for part in predicted if part is not None]
    if len(parts) < len(runs):
        return None, None, ("Some sections are missing: run folders have no predictions.npz.",)
    rows = Rows(
        names=tuple(str(row[0]) for run in runs for row in run.record["splits"][_SPLIT]["rows"]),
        targets=np.concatenate([part.targets for part in parts]),
        predicted=stack_rows([part.predicted for part in parts]),
    )
    # Each run has its own temperature and coverage, so that those of the first one do not apply to all rows.
    head = runs[0].head.without_fits()
    report = replace(head.report(_SPLIT, rows.predicted, rows.targets), calibration=None)
    if isinstance(head, ProbabilityHead):
        before = np.concatenate([run.head.uncalibrated(part.predicted) for run, part in zip(runs, parts, strict=True)])
        rows = replace(rows, uncalibrated=before)
        report = replace(report, calibration=_compare_calibration(runs, head, rows, before))
    if isinstance(report, ClassificationReport):
        decided = np.concatenate([run.head.decide(part.predicted) for run, part in zip(runs, parts, strict=True)])
        rows = replace(rows, decided=decided)
        return rows, _with_classes(report, head, rows, decided), ()
    if isinstance(report, MultilabelReport):
        present = np.concatenate([run.head.present(part.predicted) for run, part in zip(runs, parts, strict=True)])
        return rows, _with_labels(report, head, rows, present), ()
    return rows, report, ()


def _compare_calibration(
    runs: Sequence[Run], head: ProbabilityHead, rows: Rows, uncalibrated: Floats
) -> CalibrationReport:
    """Calibration of all rows before and after each run's own temperature; the head of the page has none."""
    before = head.measure_calibration(uncalibrated, rows.targets).before
    fitted = [run.head.calibration and run.head.calibration.fitted for run in runs]
    if not all(fitted):
        return CalibrationReport(None, before, {})
    return CalibrationReport(fitted[0], before, head.measure_calibration(rows.predicted, rows.targets).before)


def _with_classes(
    report: ClassificationReport, head: Any, rows: Rows, decided: NDArray[np.int64]
) -> ClassificationReport:
    """The report with the classes that each run predicted with its own thresholds."""
    certain = np.eye(rows.predicted.shape[1], dtype=np.float32)[decided]
    by_runs = replace(head, decision=None).report(_SPLIT, certain, rows.targets)
    return replace(by_runs, loss=report.loss, auroc=report.auroc, calibration=report.calibration)


def _with_labels(report: MultilabelReport, head: Any, rows: Rows, present: NDArray[np.bool_]) -> MultilabelReport:
    """The report with the labels that each run predicted with its own thresholds, of which none is shown."""
    half = replace(head, thresholds=(0.5,) * len(head.names), choice=None)
    by_runs = half.report(_SPLIT, present.astype(np.float32), rows.targets)
    labels = tuple(
        replace(own, precision=other.precision, recall=other.recall, f1=other.f1, threshold=float("nan"))
        for own, other in zip(report.labels, by_runs.labels, strict=True)
    )
    return replace(report, labels=labels, choice=None, macro_f1=by_runs.macro_f1, micro_f1=by_runs.micro_f1)
