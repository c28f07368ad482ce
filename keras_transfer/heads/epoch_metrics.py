"""Metrics that a head can report every epoch, computed from raw outputs while a model trains and validates."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np

from keras_transfer.heads.calibration import POWERS, SPREAD
from keras_transfer.heads.evaluation import Floats
from keras_transfer.networks.types import Array, Metric, Tensor

Mode = Literal["min", "max"]
"""Whether a lower or a higher value is better."""


@dataclass(frozen=True)
class EpochMetric:
    """A metric that a head can report every epoch.

    Attributes:
        name: Its name in the history; validation metrics have the prefix ``val_``.
        mode: Whether a lower or a higher value is better.
        make: Returns a new metric of encoded targets and raw outputs.
    """

    name: str
    mode: Mode
    make: Callable[[], Metric]


@keras.saving.register_keras_serializable(package="keras_transfer")
class LogitF1(keras.metrics.F1Score):
    """F1 of logits.

    Args:
        activation: From logits to probabilities: ``softmax`` for classes, of which the most probable is predicted, or
            ``sigmoid`` for labels.
        **options: Options of ``keras.metrics.F1Score``.
    """

    def __init__(self, activation: Literal["softmax", "sigmoid"] = "softmax", **options: object) -> None:
        super().__init__(**options)
        self._activation = activation

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        super().update_state(y_true, getattr(keras.ops, self._activation)(y_pred), sample_weight)

    def result(self) -> Tensor:
        """Return F1; a macro average is over the outputs that occur, as in reports, and 0 if none does."""
        if self.average != "macro":
            return super().result()
        ops = keras.ops
        positives = self.true_positives + self.false_negatives
        f1 = ops.divide_no_nan(2.0 * self.true_positives, self.true_positives + self.false_positives + positives)
        present = ops.cast(positives > 0, "float32")
        return ops.divide_no_nan(ops.sum(f1 * present), ops.sum(present))


# Bins of the inverse hyperbolic sine of a logit: fine around 0, where the logits of a new head lie close together, and
# a width of 0.4 % of the logit elsewhere. Logits beyond 20 are equal in float32 probabilities anyway.
_BINS, _FINEST, _LARGEST = 4096, 0.01, 20.0


class _Ranking(keras.metrics.Metric):
    """Counts of positive and negative rows over bins of each output's logit, for metrics of ranking."""

    def __init__(self, outputs: int, *, classes: bool, name: str) -> None:
        super().__init__(name=name)
        self._outputs, self._classes = outputs, classes
        self._positives = self.add_variable((outputs * _BINS,), "zeros", name="positives")
        self._negatives = self.add_variable((outputs * _BINS,), "zeros", name="negatives")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        ops = keras.ops
        truth = ops.cast(y_true, "float32")
        logits = _against_others(y_pred) if self._classes else ops.cast(y_pred, "float32")
        limit = float(np.arcsinh(_LARGEST / _FINEST))
        share = (ops.arcsinh(ops.clip(logits, -_LARGEST, _LARGEST) / _FINEST) / limit + 1.0) / 2.0
        bins = ops.clip(ops.cast(share * _BINS, "int32"), 0, _BINS - 1)
        index = ops.ravel(bins + _BINS * ops.arange(self._outputs, dtype="int32"))
        for counts, marks in ((self._positives, truth), (self._negatives, 1.0 - truth)):
            counts.assign_add(ops.segment_sum(ops.ravel(marks), index, num_segments=self._outputs * _BINS))

    def _counts(self) -> tuple[Tensor, Tensor]:
        """Counts of positive and negative rows, ``[outputs, bins]``, from the lowest score to the highest."""
        shape = (self._outputs, _BINS)
        return keras.ops.reshape(self._positives, shape), keras.ops.reshape(self._negatives, shape)


class MeanAUROC(_Ranking):
    """Mean area under the ROC curve of outputs that have both positive and negative rows; NaN if there are none.

    Each class is compared with all others; for two classes the area is the same for both. Rows whose scores are in the
    same bin count as tied.
    """

    def result(self) -> Tensor:
        """Return the share of pairs of a positive and a negative row in the right order (Hanley and McNeil 1982)."""
        ops = keras.ops
        positives, negatives = self._counts()
        below = ops.cumsum(negatives, axis=1) - negatives
        ordered = ops.sum(positives * (below + negatives / 2.0), axis=1)
        return _mean_of_defined(ordered, ops.sum(positives, axis=1) * ops.sum(negatives, axis=1))


class MeanAveragePrecision(_Ranking):
    """Mean average precision of outputs that have positive rows, as in the report; NaN if there are none."""

    def result(self) -> Tensor:
        ops = keras.ops
        positives, negatives = (ops.flip(counts, axis=1) for counts in self._counts())
        found = ops.cumsum(positives, axis=1)
        precision = ops.divide_no_nan(found, found + ops.cumsum(negatives, axis=1))
        return _mean_of_defined(ops.sum(positives * precision, axis=1), ops.sum(positives, axis=1))


class MeanRootMeanSquaredError(keras.metrics.Metric):
    """Root mean squared error of each number, averaged over the numbers.

    Args:
        units: ``[numbers]``, the size of a difference of 1 in raw outputs in the units of the result.
        name: Its name in the history.
    """

    def __init__(self, units: Floats, *, name: str) -> None:
        super().__init__(name=name)
        self._units = np.asarray(units, np.float32)
        self._squares = self.add_variable(self._units.shape, "zeros", name="squares")
        self._rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        errors = (keras.ops.cast(y_pred, "float32") - keras.ops.cast(y_true, "float32")) * self._units
        self._squares.assign_add(keras.ops.sum(keras.ops.square(errors), axis=0))
        self._rows.assign_add(keras.ops.cast(keras.ops.shape(errors)[0], "float32"))

    def result(self) -> Tensor:
        return keras.ops.mean(keras.ops.sqrt(keras.ops.divide_no_nan(self._squares, self._rows)))


def _against_others(logits: Tensor) -> Tensor:
    """The logit of each class against the mean of all others, which ranks rows as its probability does."""
    logs = keras.ops.log_softmax(keras.ops.cast(logits, "float32"), axis=-1)
    # If a probability rounds to 1, the others have the smallest one that float32 can distinguish from 0.
    others = keras.ops.log(keras.ops.maximum(-keras.ops.expm1(logs), 1e-9))
    return logs - others + math.log(logits.shape[-1] - 1)


def _mean_of_defined(numerators: Tensor, denominators: Tensor) -> Tensor:
    """The mean of the fractions whose denominator is not 0; NaN if there are none."""
    defined = keras.ops.cast(denominators > 0, "float32")
    return keras.ops.sum(keras.ops.divide_no_nan(numerators, denominators)) / keras.ops.sum(defined)


CALIBRATED_LOSS = "calibrated_loss"
"""Name of the metric; for a head that has nothing to calibrate it is the loss."""

# A parabola through three neighbours finds the lowest loss to half a percent at worst; the bounds have neighbours, too.
_STEP = 0.25
_FACTORS = np.exp(np.arange(POWERS[0] - _STEP, POWERS[1] + 1.5 * _STEP, _STEP)).astype(np.float32)
# How many products of outputs and factors are computed at once.
_MOST_AT_ONCE = 2**16
_ROWS_AT_ONCE = 1024


def calibrated_loss(outputs: int, *, classes: bool) -> EpochMetric:
    """Return the metric for a head.

    Args:
        classes: Whether the outputs are classes, of which a row has exactly one, or labels.
    """
    return EpochMetric(CALIBRATED_LOSS, "min", lambda: CalibratedLoss(outputs, classes=classes, name=CALIBRATED_LOSS))


@keras.saving.register_keras_serializable(package="keras_transfer")
class CalibratedLoss(keras.metrics.Metric):
    """Cross-entropy of logits at the temperature that is best for the rows so far, in nats.

    Sums over rows are stored for a grid of factors on logits, so that batches, devices and processes can be summed. As
    in :mod:`keras_transfer.heads.calibration`, there is one extra row of which nothing is known, a temperature far from
    1 is penalized if there are few rows, and each label has its own; the result is the mean over labels.

    Args:
        outputs: Number of outputs.
        classes: Whether they are classes or labels.
        name: Its name in the history.
    """

    def __init__(self, outputs: int, *, classes: bool, name: str = CALIBRATED_LOSS) -> None:
        super().__init__(name=name)
        self._outputs, self._classes = outputs, classes
        columns = 1 if classes else outputs
        # A loss is the sum of a part that depends on the factor, and a part that is proportional to it: for the true
        # targets, and for the extra row. All are positive, so nothing cancels out.
        self._bent = self.add_variable((columns, len(_FACTORS)), "zeros", name="bent")
        self._straight = self.add_variable((columns,), "zeros", name="straight")
        self._unknown = self.add_variable((columns,), "zeros", name="unknown")
        self._rows = self.add_variable((), "zeros", name="rows")

    def get_config(self) -> dict[str, object]:
        return {"outputs": self._outputs, "classes": self._classes, "name": self.name}

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        ops = keras.ops
        truth, logits = (ops.cast(x, "float32") for x in (y_true, y_pred))
        if self._classes:
            below = ops.max(logits, axis=1, keepdims=True) - logits
            straight = ops.sum(truth * below, axis=1, keepdims=True)
            unknown = ops.mean(below, axis=1, keepdims=True)
        else:
            below = ops.abs(logits)
            straight = truth * ops.relu(-logits) + (1.0 - truth) * ops.relu(logits)
            unknown = below / 2.0
        parts = math.ceil(self._outputs * len(_FACTORS) / _MOST_AT_ONCE)
        bent = [self._sum_bent(below, factors) for factors in np.array_split(_FACTORS, min(parts, len(_FACTORS)))]
        self._bent.assign_add(ops.concatenate(bent, axis=1))
        self._straight.assign_add(ops.sum(straight, axis=0))
        self._unknown.assign_add(ops.sum(unknown, axis=0))
        self._rows.assign_add(ops.cast(ops.shape(logits)[0], "float32"))

    def _sum_bent(self, below: Tensor, factors: Tensor) -> Tensor:
        """``[columns, factors]``: log-sum-exp of distances below the largest logit, or softplus of those to 0."""
        ops = keras.ops
        scaled = -below[:, :, None] * factors
        if self._classes:
            return ops.sum(ops.logsumexp(scaled, axis=1), axis=0)[None]
        return ops.sum(ops.softplus(scaled), axis=0)

    def measure(self, y_true: Array, y_pred: Array) -> float:
        """Return the result of these rows alone, ``[n, outputs]``.

        The metric's variables do not change. Processes that share them would each add all rows; unlike a mean, the
        result depends on the number of rows.
        """
        state = self.stateless_reset_state()
        for start in range(0, len(y_pred), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            state = self.stateless_update_state(state, y_true[part], y_pred[part])
        return float(self.stateless_result(state))

    def result(self) -> Tensor:
        """Return the lowest loss of the grid, by a parabola through it and its neighbours."""
        ops = keras.ops
        doubt = 1.0 / (self._rows + 1.0)
        straight = (1.0 - doubt) * self._straight + doubt * self._unknown
        sums = self._bent + straight[:, None] * _FACTORS + (np.log(_FACTORS) / SPREAD) ** 2 / 2.0
        losses = ops.divide_no_nan(sums, self._rows)
        middle = ops.clip(ops.argmin(losses, axis=1), 1, len(_FACTORS) - 2)
        before, at, after = (ops.take_along_axis(losses, (middle + k)[:, None], axis=1)[:, 0] for k in (-1, 0, 1))
        curvature = before - 2.0 * at + after
        lower = ops.divide_no_nan(ops.square(after - before), 8.0 * curvature)
        # At an end of the grid, a parabola could extrapolate.
        least = ops.min(losses, axis=1)
        inside = ops.logical_and(at <= before, at <= after)
        return ops.mean(ops.where(inside, at - lower, least))
