"""The content of a run's page: its report, and the rows that the report is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import DataError
from keras_transfer.heads import ClassificationReport, MultilabelReport, RegressionReport
from keras_transfer.heads.evaluation import Floats, Report
from keras_transfer.run.folder import METRICS, damaged
from keras_transfer.run.run import Run
from keras_transfer.tasks.base import predict_examples


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number that can be drawn: neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300


@dataclass(frozen=True)
class Rows:
    """The rows that the report is about, in one order.

    Attributes:
        names: The name of each example.
        targets: ``int64[n]``, an index into the classes, or ``float32[n, outputs]``.
        predicted: ``float32[n, outputs]``, calibrated.
        examples: The examples themselves; None if they cannot be read here.
        places: For each row its index among the examples, None if it is missing; by default the rows' own order.
        decided: ``int64[n]``, the predicted classes, if not one head decided for all rows.
        uncalibrated: ``float32[n, outputs]``, what was predicted before calibration, if not one head calibrated all
            rows.
        groups: The speaker, or other group, of each row; None if there are none, or the data is gone.
    """

    names: tuple[str, ...]
    targets: Targets
    predicted: Floats
    examples: Examples | None = None
    places: Sequence[int | None] | None = None
    decided: NDArray[np.int64] | None = None
    uncalibrated: Floats | None = None
    groups: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.names)


_RANGE = ("mean", "least", "largest")


@dataclass(frozen=True)
class Content:
    """A finished run with the rows that its page shows: those of the test split if there are any.

    Attributes:
        run: The run; of a cross-validation the first one.
        report: On the rows; None if the run has neither validation nor test rows.
        rows: None for tasks that predict no targets, or if the run folder has no predictions and the data is missing.
        notes: Lines for the reader: which rows are shown and what is missing.
        source: The source of the rows, if it is not the run's own.
        runs: For a cross-validation, all of its runs; the rows are those of all runs.
        summary: Of a cross-validation, the content of summary.json.
    """

    run: Run
    report: Report | None
    rows: Rows | None = None
    notes: tuple[str, ...] = ()
    source: str | None = None
    runs: tuple[Run, ...] = ()
    summary: Mapping[str, Any] | None = None

    @property
    def head(self) -> Any:
        """The run's head, which interprets the outputs."""
        return self.run.head

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs: classes, labels or numbers."""
        return self.run.target.names

    def counts(self, key: str) -> dict[str, dict[str, int]]:
        """Return how many rows of each split have each class or label, as data.json records it.

        Args:
            key: ``classes`` or ``labels``; empty for runs that have others.
        """
        found = {}
        for name, split in self.run.record["splits"].items():
            counts = split.get(key)
            if isinstance(counts, dict) and all(isinstance(count, int) for count in counts.values()):
                found[name] = counts
        return found

    def ranges(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return mean, minimum and maximum of each number in each split, as in data.json."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, split in self.run.record["splits"].items():
            numbers = split.get("numbers")
            for number, figures in numbers.items() if isinstance(numbers, dict) else ():
                if isinstance(figures, dict) and all(is_number(figures.get(key)) for key in _RANGE):
                    found.setdefault(name, {})[number] = figures
        return found

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The loss of each row, ``float64[n]``; empty if there are no rows."""
        if self.rows is None:
            return np.zeros(0)
        return np.asarray(self.head.row_losses(self.rows.predicted, self.rows.targets), np.float64)

    @cached_property
    def decided(self) -> NDArray[np.int64]:
        """The index of the predicted class of each row, ``int64[n]``; empty if there are no rows."""
        if self.rows is None:
            return np.zeros(0, np.int64)
        return self.head.decide(self.rows.predicted) if self.rows.decided is None else self.rows.decided


_ORDER = ("test", "validation")


def read_content(run: Run, splits: Splits | None = None, predicted: Mapping[str, Floats] | None = None) -> Content:
    """Collect the content of the page for a run's own rows.

    Args:
        splits: The run's data, if it is in memory; else it is read again, if it is on this machine.
        predicted: Predictions by split, if they are in memory; else they are read from the run folder. If it has
            none, the rows are predicted again.

    Raises:
        CheckpointError: The run folder is damaged.
    """
    reports = run.reports
    name = next((name for name in (*_ORDER, *reports) if name in reports), None)
    if name is None:
        return Content(run, None, notes=("The run has neither validation nor test rows, so nothing was measured.",))
    _check_names(run, reports[name])
    notes = () if name == "test" else (f"The run has no test rows. This page shows its {name} rows.",)
    if run.task.refusal(run) is not None:  # it predicts no targets
        return Content(run, reports[name], notes=notes)
    rows, missing = _find_rows(run, name, _find_split(run, name, splits), predicted or {})
    return Content(run, reports[name], rows, (*notes, *missing))


def _check_names(run: Run, report: Report) -> None:
    """Refuse a report on outputs other than those of the run."""
    size = len(run.target.names)
    named: Sequence[Any]
    if isinstance(report, ClassificationReport):
        named = report.classes
    elif isinstance(report, MultilabelReport):
        named = report.labels
    elif isinstance(report, RegressionReport):
        named = report.numbers
    else:
        return
    fits = tuple(one.name for one in named) == run.target.names
    if isinstance(report, ClassificationReport):
        fits = fits and [len(row) for row in report.confusion] == [size] * size
    if not fits:
        raise damaged(run.folder / METRICS, f"the {report.split} report is not on the run's {run.target.headline()}")


def _find_split(run: Run, name: str, splits: Splits | None) -> Split | DataError:
    if splits is not None:
        return next(split for split in splits if split.name == name)
    try:
        return run.load_split(name)
    except DataError as error:
        return error


def _find_rows(
    run: Run, name: str, split: Split | DataError, predicted: Mapping[str, Floats]
) -> tuple[Rows | None, tuple[str, ...]]:
    """The rows of a split, and lines on missing ones."""
    if isinstance(split, Split) and name in predicted:
        return _make_rows(split, split.targets, predicted[name]), ()
    recorded = run.predictions.get(name)
    if isinstance(split, DataError):
        if recorded is None:
            return None, (
                f"Some sections are missing: the run folder has no predictions.npz, and {_first_line(split)}",
            )
        names = tuple(row[0] for row in run.record["splits"][name]["rows"])
        rows = Rows(names, recorded.targets, recorded.predicted)
        return _add_remaining(run, name, rows) or (rows, (f"Examples are not shown: {_first_line(split)}",))
    if recorded is None:
        return predict_rows(run, split), ()
    return _make_rows(split, recorded.targets, recorded.predicted), ()


def _add_remaining(run: Run, name: str, rows: Rows) -> tuple[Rows, tuple[str, ...]] | None:
    """Rows with the examples that still exist, and a line on the others; None if none exist."""
    try:
        examples, places = run.load_remaining(name)
    except DataError:
        return None
    gone = sum(place is None for place in places)
    if gone == len(places):
        return None
    line = f"{gone:,} of {len(places):,} examples are gone or have changed since the run. They are not shown."
    return replace(rows, examples=examples, places=places), (line,)


def _first_line(error: DataError) -> str:
    """The problem without the advice, which is for users who evaluate."""
    return str(error).partition(". ")[0].partition("\n")[0].rstrip(".") + "."


def predict_rows(run: Run, split: Split) -> Rows:
    """Predict the rows of a split."""
    return _make_rows(split, split.targets, predict_examples(run, split.examples))


def _make_rows(split: Split, targets: Targets, predicted: Floats) -> Rows:
    groups = None if split.groups is None else split.groups.tolist()
    return Rows(split.examples.names, targets, predicted, split.examples, groups=groups)


def read_other_content(run: Run, split: Split, source: str) -> Content:
    """Collect the content of a page for another source."""
    if run.task.refusal(run) is not None:
        return Content(run, run.task.evaluate(run, split), source=source)
    rows = predict_rows(run, split)
    return Content(run, run.head.report(split.name, rows.predicted, rows.targets), rows, source=source)
