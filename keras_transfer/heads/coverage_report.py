"""Reports of how often prediction sets and intervals contain the truth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.console.text import with_interval
from keras_transfer.heads.coverage import Bools, Coverage, residuals
from keras_transfer.heads.evaluation import Floats
from keras_transfer.heads.resampling import bootstrap, wilson_interval
from keras_transfer.networks.types import JsonObject


@dataclass(frozen=True)
class LabelCoverage:
    """How often the truth about a label was not ruled out, with a 95 % Wilson interval; how often it was uncertain."""

    name: str
    covered: float
    interval: tuple[float, float]
    uncertain: float


@dataclass(frozen=True)
class NumberCoverage:
    """How often a number was in its interval, with a 95 % Wilson interval of that share, and the interval's width."""

    name: str
    covered: float
    interval: tuple[float, float]
    mean_width: float


@dataclass(frozen=True)
class SetReport:
    """How often prediction sets contain the truth.

    Attributes:
        promised: The recipe's ``head.coverage``.
        validation_rows: Number of rows on which the sets were chosen.
        covered: The share of rows whose set contains the true class; of labels the mean over labels of the share of
            rows for which the truth is not ruled out.
        interval: Its 95 % interval: Wilson's for classes, a bootstrap over rows for labels.
        mean_size: Mean number of classes in a set, or of labels that may be present.
        abstained: The share of rows whose set has more than one class, or for which a label is uncertain.
        labels: A report per label; of classes none.
    """

    promised: float
    validation_rows: int
    covered: float
    interval: tuple[float, float]
    mean_size: float
    abstained: float
    labels: tuple[LabelCoverage, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the entry in metrics.json."""
        return _to_json(asdict(self), "labels")

    @classmethod
    def from_json(cls, values: JsonObject) -> "SetReport":
        """Read back what :meth:`to_json` returned."""
        labels = tuple(LabelCoverage(name, **_read(label)) for name, label in values.get("labels", {}).items())
        return cls(**_read({key: value for key, value in values.items() if key != "labels"}), labels=labels)

    def __str__(self) -> str:
        what = "labels that may be present" if self.labels else "classes in a set"
        return (
            f"{with_interval(self.covered, self.interval)}, promised {self.promised:g}; on average "
            f"{self.mean_size:.2f} {what}, {self.abstained:.1%} of rows abstained"
        )


@dataclass(frozen=True)
class IntervalReport:
    """How often intervals contain the true numbers.

    Attributes:
        promised: The recipe's ``head.coverage``, for each number.
        validation_rows: Number of rows on which the widths were chosen.
        numbers: A report per number.
    """

    promised: float
    validation_rows: int
    numbers: tuple[NumberCoverage, ...]

    def to_json(self) -> JsonObject:
        """Return the entry in metrics.json."""
        return _to_json(asdict(self), "numbers")

    @classmethod
    def from_json(cls, values: JsonObject) -> "IntervalReport":
        """Read back what :meth:`to_json` returned."""
        numbers = tuple(NumberCoverage(name, **_read(number)) for name, number in values["numbers"].items())
        return cls(values["promised"], values["validation_rows"], numbers)

    def lines(self) -> dict[str, str]:
        """Return a line for each number, by its title."""
        several = len(self.numbers) > 1
        return {
            f"coverage of {number.name}" if several else "coverage": (
                f"{with_interval(number.covered, number.interval)}, promised {self.promised:g}; intervals are "
                f"{number.mean_width:.4g} wide"
            )
            for number in self.numbers
        }


def _to_json(values: JsonObject, key: str) -> JsonObject:
    """A record with its rows keyed by their names."""
    named = {row.pop("name"): {k: _plain(v) for k, v in row.items()} for row in values.pop(key)}
    return {name: _plain(value) for name, value in values.items()} | ({key: named} if named else {})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read(values: JsonObject) -> JsonObject:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def report_class_sets(coverage: Coverage, sets: Bools, targets: NDArray[Any]) -> SetReport:
    """Count how many sets contain the true class.

    Args:
        sets: ``bool[n, classes]``.
        targets: ``int64[n]``.
    """
    found, sizes = sets[np.arange(len(targets)), targets], sets.sum(axis=1)
    return SetReport(
        promised=coverage.promised,
        validation_rows=coverage.rows,
        covered=float(found.mean()),
        interval=_wilson(found),
        mean_size=float(sizes.mean()),
        abstained=float((sizes > 1).mean()),
    )


def report_labels(
    coverage: Coverage, names: Sequence[str], present: Bools, uncertain: Bools, targets: Floats
) -> SetReport:
    """Count for how many rows the truth about labels is not ruled out.

    Args:
        present: ``bool[n, labels]``, the predicted labels.
        uncertain: ``bool[n, labels]``, for which neither answer is ruled out.
        targets: ``float32[n, labels]``, 0 or 1.
    """
    found = uncertain | (present == (targets > 0.5))
    rows = found.mean(axis=1)
    return SetReport(
        promised=coverage.promised,
        validation_rows=coverage.rows,
        covered=float(rows.mean()),
        interval=bootstrap(lambda counts: counts @ rows / counts.sum(axis=1), len(rows)),
        mean_size=float((present | uncertain).sum(axis=1).mean()),
        abstained=float(uncertain.any(axis=1).mean()),
        labels=tuple(
            LabelCoverage(name, float(column.mean()), _wilson(column), float(both.mean()))
            for name, column, both in zip(names, found.T, uncertain.T, strict=True)
        ),
    )


def report_intervals(coverage: Coverage, names: Sequence[str], predicted: Floats, targets: Floats) -> IntervalReport:
    """Count how many intervals contain the true number.

    Args:
        predicted: ``float32[n, numbers]``.
        targets: ``float32[n, numbers]``.
    """
    found = residuals(predicted, targets) <= np.array(coverage.bounds)
    columns = zip(names, found.T, coverage.bounds, strict=True)
    numbers = tuple(
        NumberCoverage(name, float(column.mean()), _wilson(column), 2.0 * half) for name, column, half in columns
    )
    return IntervalReport(coverage.promised, coverage.rows, numbers)


def _wilson(found: Bools) -> tuple[float, float]:
    return wilson_interval(int(found.sum()), len(found))
