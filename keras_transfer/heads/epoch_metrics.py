"""Metrics that a head can report every epoch, computed from raw outputs while a model trains and validates."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np

from keras_transfer.heads.evaluation import Floats
from keras_transfer.networks.types import Metric, Tensor

Mode = Literal["min", "max"]
"""Whether a lower or a higher value is better."""


@dataclass(frozen=True)
class EpochMetric:
    """A metric that a head can report every epoch.

    Attributes:
        name: As in the history; validation adds ``val_`` in front.
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
        activation: From logits to probabilities: ``softmax`` for classes, of which the most probable one is predicted,
            ``sigmoid`` for labels.
        **options: Those of ``keras.metrics.F1Score``.
    """

    def __init__(self, activation: Literal["softmax", "sigmoid"] = "softmax", **options: object) -> None:
        super().__init__(**options)
        self._activation = activation

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch."""
        super().update_state(y_true, getattr(keras.ops, self._activation)(y_pred), sample_weight)

    def result(self) -> Tensor:
        """Return F1; a macro average is that of the outputs that rows have, as in reports, and 0 if there are none."""
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
    """Counts of positive and negative rows over the bins of each output's logit: what metrics of their order need."""

    def __init__(self, outputs: int, *, classes: bool, name: str) -> None:
        super().__init__(name=name)
        self._outputs, self._classes = outputs, classes
        self._positives = self.add_variable((outputs * _BINS,), "zeros", name="positives")
        self._negatives = self.add_variable((outputs * _BINS,), "zeros", name="negatives")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch of ``[batch, outputs]``."""
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
        """Positive and negative rows, ``[outputs, bins]``, from the lowest score to the highest."""
        shape = (self._outputs, _BINS)
        return keras.ops.reshape(self._positives, shape), keras.ops.reshape(self._negatives, shape)


class MeanAUROC(_Ranking):
    """Mean area under the ROC curve of outputs that have both positive and negative rows; NaN if there is none.

    Of classes, each is compared with all others; for two classes this is the area of either. Rows whose scores share a
    bin count as tied.
    """

    def result(self) -> Tensor:
        """Return the share of pairs, of a positive and a negative row, that are in order (Hanley and McNeil 1982)."""
        ops = keras.ops
        positives, negatives = self._counts()
        below = ops.cumsum(negatives, axis=1) - negatives
        ordered = ops.sum(positives * (below + negatives / 2.0), axis=1)
        return _mean_of_defined(ordered, ops.sum(positives, axis=1) * ops.sum(negatives, axis=1))


class MeanAveragePrecision(_Ranking):
    """Mean average precision of outputs that have positive rows, as in the report; NaN if there is none."""

    def result(self) -> Tensor:
        """Return the mean of the precision at each positive row."""
        ops = keras.ops
        positives, negatives = (ops.flip(counts, axis=1) for counts in self._counts())
        found = ops.cumsum(positives, axis=1)
        precision = ops.divide_no_nan(found, found + ops.cumsum(negatives, axis=1))
        return _mean_of_defined(ops.sum(positives * precision, axis=1), ops.sum(positives, axis=1))


class MeanRootMeanSquaredError(keras.metrics.Metric):
    """Root mean squared error of each number, averaged over the numbers.

    Args:
        units: ``[numbers]``, what a difference of 1 in raw outputs is in the units of the result.
        name: In the history.
    """

    def __init__(self, units: Floats, *, name: str) -> None:
        super().__init__(name=name)
        self._units = np.asarray(units, np.float32)
        self._squares = self.add_variable(self._units.shape, "zeros", name="squares")
        self._rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch of ``[batch, numbers]``."""
        errors = (keras.ops.cast(y_pred, "float32") - keras.ops.cast(y_true, "float32")) * self._units
        self._squares.assign_add(keras.ops.sum(keras.ops.square(errors), axis=0))
        self._rows.assign_add(keras.ops.cast(keras.ops.shape(errors)[0], "float32"))

    def result(self) -> Tensor:
        """Return the mean over the numbers."""
        return keras.ops.mean(keras.ops.sqrt(keras.ops.divide_no_nan(self._squares, self._rows)))


def _against_others(logits: Tensor) -> Tensor:
    """The logit of each class against the mean of all others, which orders rows as its probability does."""
    logs = keras.ops.log_softmax(keras.ops.cast(logits, "float32"), axis=-1)
    # Of a probability that rounds to 1, the others have what float32 can still tell from 0.
    others = keras.ops.log(keras.ops.maximum(-keras.ops.expm1(logs), 1e-9))
    return logs - others + math.log(logits.shape[-1] - 1)


def _mean_of_defined(numerators: Tensor, denominators: Tensor) -> Tensor:
    """The mean of the fractions whose denominator is not 0; NaN if all are."""
    defined = keras.ops.cast(denominators > 0, "float32")
    return keras.ops.sum(keras.ops.divide_no_nan(numerators, denominators)) / keras.ops.sum(defined)
