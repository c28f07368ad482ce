"""Calibration metrics with intervals, and bins of confidence and accuracy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads.calibration import Fitted
from keras_transfer.heads.resampling import Floats, bootstrap_each
from keras_transfer.networks.types import Array, JsonObject

# The 95 % interval of a normal distribution.
_DEVIATIONS = 1.96

NOT_CALIBRATED = "not calibrated: no validation rows"
"""Why a model has neither a temperature nor standard deviations."""

BINS = 15
"""Bins of equal width between 0 and 1 in which confidence and accuracy are compared, as by Guo et al. 2017."""


@dataclass(frozen=True)
class Measured:
    """A metric with its 95 % bootstrap interval."""

    value: float
    interval: tuple[float, float]

    def to_json(self) -> JsonObject:
        """Return the entry in metrics.json."""
        return {"value": self.value, "interval": list(self.interval)}

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.interval[0]:.4g} to {self.interval[1]:.4g})"


@dataclass(frozen=True)
class CalibrationReport:
    """How well calibrated a model is on a split.

    Of classes and labels the metrics are ``log_loss`` in nats, ``brier_score`` as scikit-learn computes it, and
    ``expected_calibration_error`` over :data:`BINS` bins of equal width (Naeini et al. 2015; Guo et al. 2017). Of
    numbers they are ``coverage``, the share of values within 1.96 standard deviations of the prediction, and
    ``negative_log_likelihood`` of a normal distribution, in nats per value.

    Attributes:
        fitted: The rows on which calibration was fitted; None if the model is not calibrated.
        before: Metrics of the model before calibration; empty for numbers, which have no standard deviation then.
        after: Metrics of the calibrated model; empty if it is not calibrated.
    """

    fitted: Fitted | None
    before: Mapping[str, Measured]
    after: Mapping[str, Measured]

    def to_json(self) -> JsonObject:
        """Return the entry ``calibration`` in metrics.json."""
        fitted = None if self.fitted is None else asdict(self.fitted)
        parts = {"before": self.before, "after": self.after}
        return {
            "calibrated_on": fitted,
            **{key: {name: measured.to_json() for name, measured in part.items()} for key, part in parts.items()},
        }

    @classmethod
    def from_json(cls, values: JsonObject) -> Self:
        """Read back what :meth:`to_json` returned."""

        def read(part: JsonObject) -> dict[str, Measured]:
            return {
                name: Measured(each["value"], (each["interval"][0], each["interval"][1])) for name, each in part.items()
            }

        fitted = values["calibrated_on"]
        return cls(fitted and Fitted(**fitted), read(values["before"]), read(values["after"]))


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions whose confidence is in one bin: calibrated if accuracy and confidence are equal.

    Attributes:
        low: Lower bound of the confidence.
        high: Upper bound.
        confidence: Mean confidence of the predictions in the bin.
        accuracy: Share of them that are right.
        rows: Number of predictions; for labels, one per row and label.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    rows: int


@dataclass(frozen=True)
class Reliability:
    """Reliability bins before and after calibration; empty bins are left out.

    Attributes:
        before: Bins of the model before calibration.
        after: Bins of the calibrated model; empty if it is not calibrated.
    """

    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]


def find_bins(confidence: Floats) -> NDArray[np.int64]:
    """Return the index of the bin of each confidence, from 0; a bin includes its upper bound."""
    return np.clip(np.ceil(np.asarray(confidence, np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)


def reliability(confidence: Floats, happened: Array) -> tuple[ReliabilityBin, ...]:
    """Compare confidence with accuracy, bin by bin.

    Args:
        confidence: ``[n, k]``, probabilities: of the predicted class (``k`` is 1), or of each label.
        happened: ``[n, k]``, whether the predicted class is the true one, or the row has the label.

    Returns:
        The non-empty bins, in order.
    """
    bins, given, truth = find_bins(confidence).ravel(), np.ravel(confidence).astype(np.float64), np.ravel(happened)
    rows = np.bincount(bins, minlength=BINS)
    sums = (np.bincount(bins, weights, BINS) for weights in (given, truth.astype(np.float64)))
    means = [total / np.maximum(rows, 1) for total in sums]
    return tuple(
        ReliabilityBin(k / BINS, (k + 1) / BINS, float(means[0][k]), float(means[1][k]), int(rows[k]))
        for k in range(BINS)
        if rows[k]
    )


def measure_probabilities(
    log_losses: Floats, brier_scores: Floats, confidence: Floats, happened: Array
) -> dict[str, Measured]:
    """Return log loss, Brier score and expected calibration error with their intervals.

    Args:
        log_losses: ``[n]``.
        brier_scores: ``[n]``.
        confidence: ``[n, k]`` as :func:`reliability` takes it.
        happened: ``[n, k]`` likewise.
    """
    n, k = confidence.shape
    gaps = np.zeros((n, BINS))
    np.add.at(gaps, (np.arange(n)[:, None], find_bins(confidence)), happened - confidence.astype(np.float64))

    def measure(counts: Floats) -> Floats:
        total = counts.sum(axis=1)
        error = np.abs(counts @ gaps).sum(axis=1) / (total * k)
        return np.stack([counts @ log_losses / total, counts @ brier_scores / total, error], axis=1)

    return _with_intervals(("log_loss", "brier_score", "expected_calibration_error"), measure, n)


def measure_deviations(errors: Floats, scale: Floats) -> dict[str, Measured]:
    """Return coverage and negative log likelihood with their intervals.

    Args:
        errors: ``[n, numbers]``.
        scale: ``[numbers]``, standard deviations.
    """
    scores = np.asarray(errors, np.float64) / scale
    inside = (np.abs(scores) <= _DEVIATIONS).mean(axis=1)
    losses = (scores**2 / 2 + np.log(scale) + 0.5 * math.log(2 * math.pi)).mean(axis=1)

    def measure(counts: Floats) -> Floats:
        return np.stack([counts @ inside, counts @ losses], axis=1) / counts.sum(axis=1)[:, None]

    return _with_intervals(("coverage", "negative_log_likelihood"), measure, len(scores))


def _with_intervals(names: Sequence[str], measure: Callable[[Floats], Floats], rows: int) -> dict[str, Measured]:
    values, intervals = measure(np.ones((1, rows)))[0], bootstrap_each(measure, rows)
    return {name: Measured(float(values[i]), intervals[i]) for i, name in enumerate(names)}
