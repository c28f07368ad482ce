"""The loss of an epoch once its logits are calibrated, so that epochs are compared by what they tell apart.

A network that trains on few rows becomes overconfident, which costs loss before it costs accuracy, and a temperature
that is fitted after training takes it back (Guo et al. 2017, arXiv 1706.04599).
"""

import math

import keras
import numpy as np

from keras_transfer.heads.calibration import POWERS, SPREAD
from keras_transfer.heads.epoch_metrics import EpochMetric
from keras_transfer.networks.types import Array, Tensor

CALIBRATED_LOSS = "calibrated_loss"
"""Name of the metric; for a head that has nothing to calibrate it is the loss."""

# A parabola through three neighbours finds the least loss to half a percent at worst; the bounds have neighbours, too.
_STEP = 0.25
_FACTORS = np.exp(np.arange(POWERS[0] - _STEP, POWERS[1] + 1.5 * _STEP, _STEP)).astype(np.float32)
# Outputs times factors that are computed at once.
_MOST_AT_ONCE = 2**16
_ROWS_AT_ONCE = 1024


def calibrated_loss(outputs: int, *, classes: bool) -> EpochMetric:
    """Return the metric of a head.

    Args:
        classes: Whether they are classes, of which a row has one, or labels.
    """
    return EpochMetric(CALIBRATED_LOSS, "min", lambda: CalibratedLoss(outputs, classes=classes, name=CALIBRATED_LOSS))


@keras.saving.register_keras_serializable(package="keras_transfer")
class CalibratedLoss(keras.metrics.Metric):
    """Cross-entropy of logits at the temperature that is best for the rows so far, in nats.

    Sums over rows are kept for a grid of factors on logits, so that batches, devices and processes can be added up. As
    in :mod:`keras_transfer.heads.calibration`, one more row counts of which nothing is known, a temperature far from 1
    costs something while there are few rows, and each label has its own; the result is the mean of the labels.

    Args:
        outputs: How many there are.
        classes: Whether they are classes or labels.
        name: In the history.
    """

    def __init__(self, outputs: int, *, classes: bool, name: str = CALIBRATED_LOSS) -> None:
        super().__init__(name=name)
        self._outputs, self._classes = outputs, classes
        columns = 1 if classes else outputs
        # A loss is a part that depends on the factor, and a part that is proportional to it: for the true targets, and
        # for a row of which nothing is known. All are positive: nothing cancels out.
        self._bent = self.add_variable((columns, len(_FACTORS)), "zeros", name="bent")
        self._straight = self.add_variable((columns,), "zeros", name="straight")
        self._unknown = self.add_variable((columns,), "zeros", name="unknown")
        self._rows = self.add_variable((), "zeros", name="rows")

    def get_config(self) -> dict[str, object]:
        """Return what makes the metric again."""
        return {"outputs": self._outputs, "classes": self._classes, "name": self.name}

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch of ``[batch, outputs]``."""
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
        """``[columns, factors]``: log-sum-exp of what is below the largest logit, or softplus of the distance to 0."""
        ops = keras.ops
        scaled = -below[:, :, None] * factors
        if self._classes:
            return ops.sum(ops.logsumexp(scaled, axis=1), axis=0)[None]
        return ops.sum(ops.softplus(scaled), axis=0)

    def measure(self, y_true: Array, y_pred: Array) -> float:
        """Return the result of these rows alone, ``[n, outputs]``.

        The metric's variables stay as they are. Processes that share them would each add all rows; unlike a mean, the
        result depends on how many there are.
        """
        state = self.stateless_reset_state()
        for start in range(0, len(y_pred), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            state = self.stateless_update_state(state, y_true[part], y_pred[part])
        return float(self.stateless_result(state))

    def result(self) -> Tensor:
        """Return the least loss of the grid, by a parabola through it and its neighbours."""
        ops = keras.ops
        doubt = 1.0 / (self._rows + 1.0)
        straight = (1.0 - doubt) * self._straight + doubt * self._unknown
        sums = self._bent + straight[:, None] * _FACTORS + (np.log(_FACTORS) / SPREAD) ** 2 / 2.0
        losses = ops.divide_no_nan(sums, self._rows)
        middle = ops.clip(ops.argmin(losses, axis=1), 1, len(_FACTORS) - 2)
        before, at, after = (ops.take_along_axis(losses, (middle + k)[:, None], axis=1)[:, 0] for k in (-1, 0, 1))
        curvature = before - 2.0 * at + after
        lower = ops.divide_no_nan(ops.square(after - before), 8.0 * curvature)
        # At an end of the grid a parabola would lead out of it.
        least = ops.min(losses, axis=1)
        inside = ops.logical_and(at <= before, at <= after)
        return ops.mean(ops.where(inside, at - lower, least))
