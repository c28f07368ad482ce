"""One or more numbers."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from keras_transfer.config.schema import HeadConfig
from keras_transfer.console.text import one_line
from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.calibration import Calibration, fit_residual_scale
from keras_transfer.heads.coverage import Coverage, cover_numbers
from keras_transfer.heads.coverage_report import IntervalReport, report_intervals
from keras_transfer.heads.epoch_metrics import EpochMetric, MeanRootMeanSquaredError
from keras_transfer.heads.evaluation import MEAN_ABSOLUTE_ERROR, Floats, Report
from keras_transfer.heads.linear_models import LinearModel, Ridge
from keras_transfer.heads.predictions import OPTIONAL, Prediction
from keras_transfer.heads.reliability import CalibrationReport, measure_deviations
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.heads.target import HIGH, LOW, TargetHead
from keras_transfer.networks.types import JsonObject, Loss, Tensor

_RESIDUAL_SCALE = "residual_scale"


@dataclass(frozen=True)
class NumberReport:
    """Results for one number, in its own units, each with its 95 % bootstrap interval.

    ``r2``, the share of the variance that is explained, is None if the number is the same in all rows.
    """

    name: str
    mae: float
    mae_interval: tuple[float, float]
    rmse: float
    rmse_interval: tuple[float, float]
    r2: float | None
    r2_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class RegressionReport(Report):
    """Results of a regression model on a split; its loss is that of training, on standardized numbers.

    Attributes:
        mae: Mean absolute error: of one number in its own units, of several the mean in standard deviations of the
            training rows.
        numbers: A report per number.
        coverage: How often intervals contain the true numbers, with ``head.coverage``.
    """

    mae: float
    numbers: tuple[NumberReport, ...]
    coverage: IntervalReport | None = None

    def figures(self) -> JsonObject:
        numbers = [asdict(number) for number in self.numbers]
        return {
            "mae": self.mae,
            "numbers": {number.pop("name"): number for number in numbers},
            **({} if self.coverage is None else {"coverage": self.coverage.to_json()}),
        }

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        numbers: dict[str, JsonObject] = {
            name: {key: tuple(value) if isinstance(value, list) else value for key, value in number.items()}
            for name, number in values["numbers"].items()
        }
        return {
            "mae": values["mae"],
            "numbers": tuple(NumberReport(name, **n) for name, n in numbers.items()),
            "coverage": IntervalReport.from_json(values["coverage"]) if "coverage" in values else None,
        }


@dataclass(frozen=True)
class NumberPrediction(Prediction):
    """A prediction of numbers for one input.

    Attributes:
        values: The numbers by name, in the units of the training data.
        intervals: The bounds of each number's interval, which contains the true number as often as ``head.coverage``
            promises; None without it.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] | None = field(default=None, metadata=OPTIONAL)

    def __str__(self) -> str:
        """Names, numbers and their intervals."""
        intervals = self.intervals or {}
        spans = {name: f" ({low:.6g} to {high:.6g})" for name, (low, high) in intervals.items()}
        return "\t".join(f"{one_line(name)} {value:.6g}{spans.get(name, '')}" for name, value in self.values.items())

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return ``predicted_NAME`` for each number, and with intervals ``low_NAME`` and ``high_NAME``."""
        found: dict[str, Any] = {f"predicted_{name}": value for name, value in self.values.items()}
        for name, (low, high) in (self.intervals or {}).items():
            found |= {f"low_{name}": low, f"high_{name}": high}
        return found


@dataclass(frozen=True)
class NumberHead(TargetHead):
    """One or more numbers: standardized for training, and converted to their own units by the model's last layer.

    Attributes:
        mean: Means of the training rows.
        scale: Standard deviations of the training rows.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    figure = MEAN_ABSOLUTE_ERROR
    target = "number"
    has_coverage = True
    metric = "mae"
    report_type = RegressionReport
    evidence_has_sign = True
    predictions_output = "values"

    @classmethod
    def fit(cls, names: tuple[str, ...], config: HeadConfig, targets: Targets) -> Self:
        exact = targets.astype(np.float64)
        return cls(names, config, tuple(exact.mean(axis=0).tolist()), tuple(exact.std(axis=0).tolist()))

    @classmethod
    def restore(cls, names: tuple[str, ...], config: HeadConfig, facts: JsonObject) -> Self:
        """Restore the head with its mean and scale, the standard deviations of residuals, and intervals."""
        mean, scale = (tuple(float(facts[key][name]) for name in names) for key in ("mean", "scale"))
        return cls(
            names,
            config,
            mean,
            scale,
            coverage=Coverage.restore(config.coverage, facts, names),
            calibration=Calibration.from_json(facts, _RESIDUAL_SCALE, names),
        )

    @property
    def facts(self) -> JsonObject:
        """Mean, scale, standard deviations of residuals and intervals, by name. The model also has mean and scale."""
        values = {"mean": self.mean, "scale": self.scale}
        calibration = {} if self.calibration is None else self.calibration.to_json(_RESIDUAL_SCALE, self.names)
        coverage = {} if self.coverage is None else {"coverage": self.coverage.to_json(self.names)}
        named = {key: dict(zip(self.names, value, strict=True)) for key, value in values.items()}
        return {**named, **calibration, **coverage}

    def choose_coverage(self, predicted: Floats, targets: Targets) -> Self:
        """Choose intervals, if the recipe asks for them."""
        if self.config.coverage is None:
            return self
        return replace(self, coverage=cover_numbers(self.config.coverage, predicted, targets))

    def fit_calibration(self, predicted: Floats, targets: Targets, split: str) -> Self:
        """Fit the standard deviation of each number's residuals; predictions do not change."""
        return replace(self, calibration=fit_residual_scale(predicted, targets, np.array(self.scale), split))

    def measure_calibration(self, predicted: Floats, targets: Targets) -> CalibrationReport:
        """Return coverage and negative log likelihood with the fitted standard deviations."""
        if self.calibration is None:
            return CalibrationReport(None, {}, {})
        errors = predicted.astype(np.float64) - targets
        after = measure_deviations(errors, np.array(self.calibration.values))
        return CalibrationReport(self.calibration.fitted, {}, after)

    @property
    def is_solvable(self) -> bool:
        """Ridge regression minimises squared errors."""
        return super().is_solvable and self.config.loss == "squared_error"

    def final_layer(self) -> layers.Layer:
        """Return a layer from standardized numbers to their own units."""
        return layers.Rescaling(list(self.scale), list(self.mean), dtype="float32")

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        return ((targets - np.array(self.mean)) / np.array(self.scale)).astype(np.float32)

    def decode(self, encoded: Tensor) -> Tensor:
        """Return the numbers in their own units."""
        return self.final_layer()(encoded)

    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of standardized numbers; label smoothing does not apply."""
        return keras.losses.Huber() if self.config.loss == "huber" else keras.losses.MeanSquaredError()

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return mean absolute error and root mean squared error, in the units of the report's ``mae``, and R2."""
        units = np.asarray(np.array(self.scale, np.float32) / self._unit.astype(np.float32), np.float32)

        def absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
            return keras.ops.mean(keras.ops.abs(y_true - y_pred) * units, axis=-1)

        return (
            EpochMetric("mae", "min", lambda: keras.metrics.MeanMetricWrapper(absolute_error, name="mae")),
            EpochMetric("rmse", "min", lambda: MeanRootMeanSquaredError(units, name="rmse")),
            EpochMetric("r2", "max", lambda: keras.metrics.R2Score(name="r2")),
        )

    @property
    def _unit(self) -> NDArray[np.float64]:
        """The unit of errors if numbers are averaged, for which their own units would be meaningless."""
        return np.array(self.scale) if len(self.names) > 1 else np.ones(1)

    def linear_model(self) -> LinearModel:
        """Return ridge regression of standardized numbers."""
        return Ridge(self.predictions)

    def linear_targets(self, targets: Targets) -> Targets:
        return self.encode(targets)

    def row_losses(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        errors = np.abs(predicted.astype(np.float64) - targets) / np.array(self.scale)
        losses = np.where(errors <= 1.0, errors**2 / 2, errors - 0.5) if self.config.loss == "huber" else errors**2
        return losses.mean(axis=1)

    def score(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        """Return the mean absolute error."""
        errors = np.abs(predicted.astype(np.float64) - targets) / self._unit
        return counts @ errors.mean(axis=1) / counts.sum(axis=1)

    def quality(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        """Return the negative mean absolute error in standard deviations of the training rows."""
        unit = np.array(self.scale) / self._unit
        return -self.score(predicted, targets, counts) / unit.mean()

    def report(self, split: str, predicted: Floats, targets: Targets) -> RegressionReport:
        """Compare predicted numbers with true ones."""
        columns = zip(self.names, predicted.astype(np.float64).T, targets.astype(np.float64).T, strict=True)
        return RegressionReport(
            split=split,
            n=len(targets),
            loss=float(self.row_losses(predicted, targets).mean()),
            mae=self.score_once(predicted, targets),
            numbers=tuple(_compare(*column) for column in columns),
            calibration=self.measure_calibration(predicted, targets),
            coverage=None if self.coverage is None else report_intervals(self.coverage, self.names, predicted, targets),
        )

    def explained_outputs(self, predicted: Floats, targets: Targets | None) -> list[tuple[int, ...]]:
        """Return the number with the largest error; without targets, the one farthest from the mean."""
        truth = np.array(self.mean) if targets is None else targets
        errors = np.abs(predicted.astype(np.float64) - truth) / np.array(self.scale)
        return [(int(number),) for number in errors.argmax(axis=1)]

    def to_prediction(self, name: str, row: Floats) -> NumberPrediction:
        """Return a record with the numbers, and with their intervals."""
        values = dict(zip(self.names, row.astype(float).tolist(), strict=True))
        if self.coverage is None:
            return NumberPrediction(name, values)
        halves = zip(values.items(), self.coverage.bounds, strict=True)
        return NumberPrediction(name, values, {key: (value - half, value + half) for (key, value), half in halves})

    def serving_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return ``values: float32[batch, numbers]``, ``standard_deviations`` of the same shape, and ``names``.

        A model that is not calibrated has no standard deviations. With ``head.coverage`` there are also ``low`` and
        ``high``, of the same shape: the bounds of the intervals.
        """
        outputs = {"values": predicted, "names": self.repeat_names(predicted)}
        if self.calibration is not None:
            scale = tf.constant(self.calibration.values, tf.float32)
            outputs["standard_deviations"] = tf.ones_like(predicted) * scale
        if self.coverage is not None:
            halves = tf.constant(self.coverage.bounds, tf.float32)
            outputs |= {LOW: predicted - halves, HIGH: predicted + halves}
        return outputs

    def allowance(self, tolerance: float) -> Floats:
        """Return the tolerance in the numbers' units, plus rounding of numbers that are large in comparison."""
        return tolerance * np.array(self.scale) + np.spacing(np.abs(self.mean).astype(np.float32))


def _compare(name: str, predicted: Floats, truth: Floats) -> NumberReport:
    errors = predicted - truth

    def mae(counts: Floats) -> Floats:
        return counts @ np.abs(errors) / counts.sum(axis=1)

    def rmse(counts: Floats) -> Floats:
        return np.sqrt(counts @ errors**2 / counts.sum(axis=1))

    centred = truth - truth.mean()

    def r2(counts: Floats) -> Floats:
        n = counts.sum(axis=1)
        variance = counts @ centred**2 / n - (counts @ centred / n) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, 1.0 - counts @ errors**2 / n / variance, np.nan)

    once, n = np.ones((1, len(truth))), len(truth)
    varies = truth.min() < truth.max()
    return NumberReport(
        name=name,
        mae=float(mae(once)[0]),
        mae_interval=bootstrap(mae, n),
        rmse=float(rmse(once)[0]),
        rmse_interval=bootstrap(rmse, n),
        r2=float(r2(once)[0]) if varies else None,
        r2_interval=bootstrap(r2, n) if varies else None,
    )
