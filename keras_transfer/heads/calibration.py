"""Calibration: probabilities that match the share of correct rows, and standard deviations of numbers.

A temperature divides logits by one number (Guo et al. 2017, arXiv 1706.04599). The order of classes does not change,
nor the order of rows within a label. Everything here works on probabilities, whose logarithms are logits up to a
constant, so that it also applies to an average over flipped views.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from keras_transfer.errors import TrainingError
from keras_transfer.heads.resampling import Floats
from keras_transfer.networks.types import Array, JsonObject, Tensor

# The smallest normal float32, and half the distance from 1 to the next smaller float32: neither logarithm is infinite.
_LEAST, _LEAST_REST = float(np.finfo(np.float32).tiny), 2.0**-25
# With fewer rows that have a label, or fewer that do not, the label gets the factor of all labels together.
_LEAST_ROWS = 5
_LEAST_SPREAD = 1e-3
TEMPERATURE = "temperature"
"""Name of the layer that divides raw outputs by it, in a model that is calibrated."""

POWERS = (-5.0, 5.0)
"""Natural logarithms of the least and greatest factor on logits."""

SPREAD = 0.7
"""Standard deviation of the logarithm of temperatures before any row is seen (docs/experiments.md#calibration)."""

# Logits and their losses.


def class_losses(logits: Floats, targets: Array, doubt: float = 0.0) -> NDArray[np.float64]:
    """Return the cross-entropy of each row, ``float64[n]``, in nats.

    Args:
        logits: ``[n, classes]``.
        targets: ``int[n]``.
        doubt: Share of each target that is distributed evenly over the classes.
    """
    logs = log_softmax(np.asarray(logits, np.float64), axis=1)
    return np.asarray(-(1.0 - doubt) * logs[np.arange(len(logs)), targets] - doubt * logs.mean(axis=1))


def label_losses(logits: Floats, targets: Array, doubt: float = 0.0) -> NDArray[np.float64]:
    """Return the binary cross-entropy of each row and label, ``float64[n, labels]``, in nats.

    Args:
        logits: ``[n, labels]``.
        targets: ``[n, labels]``, 0 or 1.
        doubt: Share of each target that is distributed evenly over 0 and 1.
    """
    marks, exact = (1.0 - doubt) * targets + 0.5 * doubt, np.asarray(logits, np.float64)
    return np.asarray(-(marks * log_expit(exact) + (1.0 - marks) * log_expit(-exact)))


def doubt_of(rows: int) -> float:
    """Return the share of one extra row: ``1 / (rows + 1)``.

    Calibration counts one extra row of which nothing is known. Without it, there would be no optimal temperature if all
    rows are right.
    """
    return 1.0 / (rows + 1)


def fit_factor(loss: Callable[[float], float]) -> float:
    """Return the factor on logits with the lowest loss, between ``exp(-5)`` and ``exp(5)``: the inverse temperature."""
    found = minimize_scalar(lambda power: loss(math.exp(power)), bounds=POWERS, method="bounded")
    return math.exp(float(found.x))


def _fit_temperature(loss: Callable[[float], float], rows: int) -> float:
    """Return the temperature with the lowest loss: a mean over rows, plus a normal prior on its logarithm around 0."""
    return 1.0 / fit_factor(lambda factor: loss(factor) + (math.log(factor) / SPREAD) ** 2 / (2 * rows))


def to_class_logits(probabilities: Floats) -> NDArray[np.float64]:
    """Return logits ``float64[n, classes]`` of probabilities."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST))


def to_label_logits(probabilities: Floats) -> NDArray[np.float64]:
    """Return logits ``float64[n, labels]`` of probabilities."""
    exact = np.asarray(probabilities, np.float64)
    return np.log(np.maximum(exact, _LEAST)) - np.log(np.maximum(1.0 - exact, _LEAST_REST))


def check_finite(predicted: Floats, split: str) -> None:
    """Raise an error for predictions that are NaN or infinite: no metric of them would be meaningful.

    Args:
        predicted: ``[n, outputs]``.

    Raises:
        TrainingError: There are such predictions; the message has the number of rows.
    """
    wrong = ~np.isfinite(predicted).all(axis=1)
    if wrong.any():
        raise TrainingError(
            f"The model's predictions for {int(wrong.sum()):,} of {len(predicted):,} {split} rows are NaN or infinite. "
            "Set training.precision=float32 or lower training.learning_rate, and run again."
        )


# What is fitted.


@dataclass(frozen=True)
class Fitted:
    """The rows on which calibration was fitted.

    Attributes:
        split: ``validation``; or ``train``, whose rows a solved head predicted while they were held out.
        rows: Number of rows.
    """

    split: str
    rows: int

    def __str__(self) -> str:
        return f"fitted on {self.rows:,} {'held-out training' if self.split == 'train' else self.split} rows"


@dataclass(frozen=True)
class Calibration:
    """Values that were fitted after training.

    Attributes:
        values: One temperature for classes; a temperature per label; or a standard deviation per number.
        fitted: The rows on which they were fitted.
    """

    values: tuple[float, ...]
    fitted: Fitted

    def to_json(self, key: str, names: Sequence[str] | None) -> JsonObject:
        """Return the entry in head.json.

        Args:
            names: Names of the outputs that have a value each; None for a single value.
        """
        values = self.values[0] if names is None else dict(zip(names, self.values, strict=True))
        return {key: values, "calibrated_on": asdict(self.fitted)}

    @classmethod
    def from_json(cls, facts: JsonObject, key: str, names: Sequence[str] | None) -> Self | None:
        """Read back what :meth:`to_json` returned; None if the run was not calibrated.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is not a positive number.
        """
        if key not in facts:
            return None
        values = tuple(float(value) for value in ([facts[key]] if names is None else [facts[key][n] for n in names]))
        if not all(math.isfinite(value) and value > 0.0 for value in values):
            raise ValueError(f"{key} {values}")
        fitted = facts["calibrated_on"]
        return cls(values, Fitted(str(fitted["split"]), int(fitted["rows"])))


def fit_class_temperature(predicted: Floats, targets: Array, split: str) -> Calibration:
    """Fit the temperature of classes.

    Args:
        predicted: ``float32[n, classes]``, probabilities; at least one row.
        targets: ``int64[n]``.
    """
    check_finite(predicted, split)
    logits, doubt = to_class_logits(predicted), doubt_of(len(predicted))
    value = _fit_temperature(lambda factor: float(class_losses(factor * logits, targets, doubt).mean()), len(logits))
    return Calibration((value,), Fitted(split, len(predicted)))


def fit_label_temperatures(predicted: Floats, targets: Array, split: str) -> Calibration:
    """Fit a temperature for each label.

    Args:
        predicted: ``float32[n, labels]``, probabilities; at least one row.
        targets: ``float32[n, labels]``, 0 or 1.

    Returns:
        The temperatures; labels with fewer than five positive or negative rows share that of all labels together.
    """
    check_finite(predicted, split)
    logits, doubt = to_label_logits(predicted), doubt_of(len(predicted))

    def fit(columns: slice) -> float:
        chosen, truth = logits[:, columns], targets[:, columns]
        return _fit_temperature(lambda factor: float(label_losses(factor * chosen, truth, doubt).mean()), len(logits))

    shared, with_label = fit(slice(None)), (targets > 0.5).sum(axis=0)
    enough = np.minimum(with_label, len(targets) - with_label) >= _LEAST_ROWS
    values = tuple(fit(slice(k, k + 1)) if enough[k] else shared for k in range(targets.shape[1]))
    return Calibration(values, Fitted(split, len(predicted)))


def fit_residual_scale(predicted: Floats, targets: Array, spread: Floats, split: str) -> Calibration:
    """Fit the standard deviation of each number's residuals around the prediction.

    Args:
        predicted: ``float32[n, numbers]``; at least one row.
        targets: ``float32[n, numbers]``.
        spread: ``[numbers]``, standard deviations of the training rows: the value if there is only one row. The minimum
            is a thousandth of it, so that rows without any error do not promise that there will never be one.
    """
    check_finite(predicted, split)
    errors, exact = predicted.astype(np.float64) - targets, np.asarray(spread, np.float64)
    rows = len(errors)
    fitted = np.sqrt((errors**2).sum(axis=0) / (rows - 1)) if rows > 1 else exact
    return Calibration(tuple(np.maximum(fitted, _LEAST_SPREAD * exact).tolist()), Fitted(split, rows))


# Where it is applied: arrays, and the saved model.


def temper_classes(probabilities: Floats, temperature: float) -> NDArray[np.float32]:
    """Return calibrated probabilities of classes; the inverse temperature reverses it."""
    return np.asarray(softmax(to_class_logits(probabilities) / temperature, axis=-1), np.float32)


def temper_labels(probabilities: Floats, temperatures: Sequence[float]) -> NDArray[np.float32]:
    """Return calibrated probabilities of labels; the inverse temperatures reverse it."""
    return np.asarray(expit(to_label_logits(probabilities) / np.asarray(temperatures, np.float64)), np.float32)


def add_class_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """Do the same as :func:`temper_classes` with Keras operations, which any ``.keras`` file can contain."""
    logits = keras.ops.log(keras.ops.maximum(probabilities, _LEAST))
    scaled = keras.layers.Rescaling(1.0 / temperature, dtype="float32", name=TEMPERATURE)(logits)
    return keras.layers.Softmax(dtype="float32", name="calibrated")(scaled)


def add_label_temperatures(probabilities: Tensor, temperatures: Sequence[float]) -> Tensor:
    """Do the same as :func:`temper_labels` with Keras operations."""
    ops = keras.ops
    rest = ops.maximum(1.0 - probabilities, _LEAST_REST)
    logits = ops.log(ops.maximum(probabilities, _LEAST)) - ops.log(rest)
    factors = [1.0 / temperature for temperature in temperatures]
    scaled = keras.layers.Rescaling(factors, dtype="float32", name=TEMPERATURE)(logits)
    return keras.layers.Activation("sigmoid", dtype="float32", name="calibrated")(scaled)
