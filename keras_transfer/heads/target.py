"""What the heads of all targets share: calibration, evaluation, predictions and serving."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from keras_transfer.config.schema import FeatureMapHeadConfig, HeadConfig
from keras_transfer.config.section import Section, is_set
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import ConfigError
from keras_transfer.heads.base import LOGITS, Head
from keras_transfer.heads.calibration import Calibration
from keras_transfer.heads.coverage import Coverage, check_rows
from keras_transfer.heads.evaluation import Floats, Report
from keras_transfer.heads.linear_models import LinearModel
from keras_transfer.heads.predictions import Prediction
from keras_transfer.heads.reliability import CalibrationReport
from keras_transfer.heads.solver import Folds, SolvedHead, solve_head, solve_like
from keras_transfer.networks.types import JsonObject, Tensor

NAMES, OK, LABEL_INDEX = "names", "ok", "label_index"
"""Outputs of an exported model: the names of the predictions, which inputs could be read, and, in place of a class
name, its index among the names."""

ABSTAIN, IN_SET, UNCERTAIN, LOW, HIGH = "abstain", "in_set", "uncertain", "low", "high"
"""Outputs of an exported model whose run promised a coverage: see docs/abstention.md."""


@dataclass(frozen=True)
class TargetHead(Head):
    """A head that predicts the labels of examples, and everything that depends on the kind of target.

    Attributes:
        config: Pooling, dropout, hidden layer and loss.
        calibration: What was fitted after training; None before that, or if there were no rows to fit it on.
        coverage: What was chosen for sets or intervals; None before that, or without ``head.coverage``.
    """

    config: HeadConfig
    calibration: Calibration | None = field(default=None, kw_only=True)
    coverage: Coverage | None = field(default=None, kw_only=True)

    target: ClassVar[str]
    """The ``data.target`` that the head is for."""

    settings_type: ClassVar[type[Section]] = Section
    """The keys of ``head.settings`` in a recipe, for a head that has settings of its own."""

    has_thresholds: ClassVar[bool] = False
    """Whether it decides by ``head.threshold``; a recipe that has that section is an error for other heads."""

    has_coverage: ClassVar[bool] = False
    """Whether it predicts sets or intervals by ``head.coverage``; a recipe that has that key is an error for others."""

    report_type: ClassVar[type[Report]]

    predictions_output: ClassVar[str]
    """Which of an exported model's outputs are the predictions themselves."""

    neutral: ClassVar[float] = float("nan")
    """What an exported model returns, in place of predictions, for an input that it cannot read."""

    @property
    def settings(self) -> Any:
        """The settings of the recipe, as :attr:`settings_type` with its defaults."""
        return self.settings_type.model_validate(self.config.settings)

    # What a run learns and stores beside the weights.

    @classmethod
    def fit(cls, names: tuple[str, ...], config: HeadConfig, targets: Targets) -> Self:
        """Make the head for training rows.

        Args:
            names: Names of the outputs.
            config: The recipe's head section.
            targets: Targets of the training rows.
        """
        return cls(names, config)

    @classmethod
    def restore(cls, names: tuple[str, ...], config: HeadConfig, facts: JsonObject) -> Self:
        """Restore the head of a run from :attr:`facts`."""
        return cls(names, config)

    def check_validation(self, targets: Targets) -> None:
        """Check before training that :meth:`calibrate` can use these rows.

        Args:
            targets: Targets of the validation rows; may be empty.

        Raises:
            ConfigError: It cannot use them.
        """
        check_rows(self.config.coverage, len(targets))

    def calibrate(self, predicted: Floats, targets: Targets) -> Self:
        """Return the head with the values that are chosen after training, on validation rows.

        An existing calibration of the head is kept.

        Args:
            predicted: ``float32[n, outputs]`` of the trained model, not yet calibrated.
            targets: Of the same rows.

        Raises:
            TrainingError: Predictions are NaN or infinite.
        """
        head = self if self.calibration else self.fit_calibration(predicted, targets, "validation")
        calibrated = head.calibrated(predicted)
        return head.choose_thresholds(calibrated, targets).choose_coverage(calibrated, targets)

    def choose_thresholds(self, predicted: Floats, targets: Targets) -> Self:
        """Return the head with the thresholds that are chosen according to the recipe.

        Args:
            predicted: ``float32[n, outputs]``, calibrated.
            targets: Of the same rows.
        """
        return self

    def choose_coverage(self, predicted: Floats, targets: Targets) -> Self:
        """Return the head with the sets or intervals for ``head.coverage``; unchanged without it.

        Args:
            predicted: ``float32[n, outputs]``, calibrated, of rows that the model was not trained on.
            targets: Of the same rows.

        Raises:
            TrainingError: Predictions are NaN or infinite.
        """
        return self

    def without_fits(self) -> Self:
        return replace(self, coverage=None, calibration=None)

    # Calibration; a head without calibration does not override these.

    def fit_calibration(self, predicted: Floats, targets: Targets, split: str) -> Self:
        """Return the head with a temperature, or with standard deviations, that fits these rows.

        Args:
            predicted: ``float32[n, outputs]`` for rows that the model was not trained on.
            targets: Of the same rows.
            split: ``validation``, or ``train`` for predictions of rows that were held out one fold at a time.

        Raises:
            TrainingError: Predictions are NaN or infinite.
        """
        return self

    def calibrated(self, predicted: Floats) -> Floats:
        """Return calibrated predictions ``[n, outputs]`` for those of the trained model, as the saved model does."""
        return predicted

    def uncalibrated(self, predicted: Floats) -> Floats:
        """Reverse :meth:`calibrated`, up to rounding."""
        return predicted

    def measure_calibration(self, predicted: Floats, targets: Targets) -> CalibrationReport | None:
        """Return how well calibrated predictions ``[n, outputs]`` are, and were before :meth:`calibrated`."""
        return None

    # Layers.

    @property
    def is_solvable(self) -> bool:
        return self.config.hidden is None

    def pool(self, features: Tensor) -> Tensor:
        """Turn a feature map into a vector.

        Args:
            features: ``[batch, height, width, channels]`` or ``[batch, tokens, channels]``; or ``[batch, channels]`` if
                the network pools itself.

        Returns:
            ``float32[batch, channels]``, or twice as many channels with ``both``.

        Raises:
            ConfigError: ``head.pooling`` is set, and the network pools itself.
        """
        rank = len(features.shape)
        if rank == 2 and isinstance(self.config, FeatureMapHeadConfig) and is_set(self.config, "pooling"):
            raise ConfigError(
                f"head.pooling: the backbone pools its features itself. Received: {self.config.pooling}. Leave it out."
            )
        if not isinstance(self.config, FeatureMapHeadConfig) or rank == 2:
            return layers.Identity(name="head_pooled", dtype="float32")(features)
        # Sums over many positions lose precision in half precision.
        axes = "1D" if rank == 3 else "2D"
        average = getattr(layers, f"GlobalAveragePooling{axes}")(name="head_average", dtype="float32")
        largest = getattr(layers, f"GlobalMaxPooling{axes}")(name="head_max", dtype="float32")
        if self.config.pooling == "average":
            return average(features)
        if self.config.pooling == "max":
            return largest(features)
        both = [average(features), largest(features)]
        return layers.Concatenate(name="head_average_max", dtype="float32")(both)

    def describe_pooling(self) -> str | None:
        return self.config.pooling if isinstance(self.config, FeatureMapHeadConfig) else None

    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn pooled features, ``[batch, channels]``, into raw ``float32[batch, outputs]`` under any precision."""
        x = layers.Dropout(self.config.dropout, name="head_dropout")(pooled)
        if self.config.hidden is not None:
            x = layers.Dense(self.config.hidden, activation="gelu", name="head_hidden")(x)
            x = layers.Dropout(self.config.dropout, name="head_hidden_dropout")(x)
        return layers.Dense(len(self.names), dtype="float32", name=LOGITS)(x)

    # Training.

    @abstractmethod
    def linear_model(self) -> LinearModel:
        """Return the linear model with the same optimum as the loss."""

    def linear_targets(self, targets: Targets) -> Targets:
        """Return targets as :meth:`linear_model` takes them."""
        return targets

    def label_targets(self) -> Targets | None:
        """Return targets with one row per output that has only that output; None if there are no such rows."""
        return None

    def solve(
        self,
        features: NDArray[np.float32],
        targets: Targets,
        weights: NDArray[np.float32],
        folds: Folds,
        label_features: NDArray[np.float32] | None = None,
    ) -> SolvedHead:
        """Solve the head on pooled features.

        Args:
            features: ``[n, channels]``.
            targets: Of the same rows.
            weights: ``[n]``, sample weights.
            folds: Folds of the rows, on which the strength of the penalty is chosen.
            label_features: ``[outputs, channels]``, features of each output's name; None if names have no meaning, as
                for numbers.

        Returns:
            The solution; its predictions for held-out rows are in ``held_out``.
        """
        labels = self.label_targets()
        return solve_head(
            features,
            self.linear_targets(targets),
            weights,
            model=self.linear_model,
            folds=folds,
            hints=None if label_features is None or labels is None else (label_features, labels),
        )

    def solve_like(
        self,
        solved: SolvedHead,
        features: NDArray[np.float32],
        targets: Targets,
        weights: NDArray[np.float32],
        label_features: NDArray[np.float32] | None = None,
    ) -> SolvedHead:
        """Solve the head on other rows with the strength of an earlier solution, which is fast.

        Args:
            solved: The earlier solution; label names are used if it used them.
            features: ``[n, channels]``.
            targets: Of the same rows.
            weights: ``[n]``, sample weights.
            label_features: As for :meth:`solve`.
        """
        labels = self.label_targets()
        return solve_like(
            solved,
            features,
            self.linear_targets(targets),
            weights,
            model=self.linear_model,
            hints=None if label_features is None or labels is None else (label_features, labels),
        )

    # Evaluation.

    @abstractmethod
    def row_losses(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        """Return the loss of each row, ``float64[n]``, without label smoothing."""

    @abstractmethod
    def score(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        """Return :attr:`figure` for some resamples.

        Args:
            predicted: ``[n, outputs]``.
            targets: Of the same rows.
            counts: ``[resamples, n]``, how often each row counts.
        """

    def score_once(self, predicted: Floats, targets: Targets) -> float:
        """Return :attr:`figure`."""
        return float(self.score(predicted, targets, np.ones((1, len(targets))))[0])

    def quality(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        """Return the quality of predictions on a scale that all kinds of target share: higher is better.

        For shares, this is what :meth:`score` returns. Errors are negative, and in standard deviations of the training
        rows, so that 0.01 is small for each kind of target.

        Args:
            predicted: ``[n, outputs]``.
            targets: Of the same rows.
            counts: ``[resamples, n]``, how often each row counts.
        """
        score = self.score(predicted, targets, counts)
        return -score if self.figure.is_error else score

    @abstractmethod
    def report(self, split: str, predicted: Floats, targets: Targets) -> Report:
        """Compare predictions with the truth.

        Args:
            split: The name of the split.
            predicted: ``float32[n, outputs]``.
            targets: Of the same rows.
        """

    # Explaining.

    def explained_outputs(self, predicted: Floats, targets: Targets | None) -> list[tuple[int, ...]]:
        """Choose for each row the outputs whose evidence is shown with an example.

        Args:
            predicted: ``float32[n, outputs]``.
            targets: Of the same rows; None if they are unknown.

        Returns:
            One or two outputs each; the first is compared with the second. By default, the two largest predictions.
        """
        return [tuple(row[:2].tolist()) for row in np.argsort(-predicted, axis=1, kind="stable")]

    # Predicting and serving.

    @abstractmethod
    def to_prediction(self, name: str, row: Floats) -> Prediction:
        """Turn the prediction for an input, ``float32[outputs]``, into a record for users."""

    @abstractmethod
    def serving_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return the outputs of an exported model, in a graph, for predictions ``float32[batch, outputs]``."""

    def read_predictions(self, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the predictions among the outputs of an exported model, ``float32[batch, outputs]``.

        Args:
            outputs: Outputs by name, those of the endpoint that takes tensors.

        Raises:
            KeyError: They are missing.
        """
        return np.asarray(outputs[self.predictions_output], np.float32)

    def tensor_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return the outputs of an exported model whose format only supports numbers, in a graph.

        By default those of :meth:`serving_outputs` that are not strings.

        Args:
            predicted: ``float32[batch, outputs]``.
        """
        return {name: x for name, x in self.serving_outputs(predicted).items() if x.dtype != tf.string}

    def repeat_names(self, predicted: Tensor) -> Tensor:
        """Return the names of the outputs in their order, ``string[batch, outputs]``, the same in every row.

        Servers that return row by row, as TensorFlow Serving does, need a row for each input.
        """
        return tf.tile(tf.constant([self.names], tf.string), [tf.shape(predicted)[0], 1])

    def masked_outputs(self, predicted: Tensor, ok: Tensor) -> dict[str, Tensor]:
        """Return :meth:`serving_outputs` with ``ok``, and neutral values for rows in which it is false.

        Neutral values are impossible as predictions: empty strings, probabilities of 0, empty sets, and NaN for
        numbers, since any number could be a prediction. ``abstain`` is false. ``names`` do not change.

        Args:
            predicted: ``float32[batch, outputs]``.
            ok: ``bool[batch]``, whether each input could be read.
        """
        outputs = self.serving_outputs(predicted)
        masked = {name: x if name == NAMES else mask_rows(x, ok, self.neutral) for name, x in outputs.items()}
        return {**masked, OK: ok}

    def endpoint_outputs(self, predicted: Tensor, ok: Tensor) -> dict[str, Tensor]:
        """Return the outputs of a SavedModel's endpoint for tensors; by default :meth:`masked_outputs`.

        They have to include what :meth:`read_predictions` needs.

        Args:
            predicted: ``float32[batch, outputs]``.
            ok: ``bool[batch]``, whether each input could be read.
        """
        return self.masked_outputs(predicted, ok)

    def allowance(self, tolerance: float) -> Floats:
        """Return how much served predictions may differ, ``[outputs]``, for a tolerance of raw outputs."""
        return np.full(len(self.names), tolerance)

    def is_tied(self, predicted: Floats, tolerance: float) -> NDArray[np.bool_]:
        """Return ``bool[n]``: whether the other outputs of a row change within a tolerance."""
        return np.zeros(len(predicted), bool)


def mask_rows(output: Tensor, ok: Tensor, neutral: float) -> Tensor:
    """Return an output of an exported model with neutral values in rows that are not ``ok``.

    Args:
        output: ``[batch, ...]``.
        ok: ``bool[batch]``.
        neutral: The value for floats; strings are empty, and other numbers 0.
    """
    value = tf.constant(neutral, output.dtype) if output.dtype.is_floating else tf.zeros([], output.dtype)
    rows = tf.reshape(ok, tf.concat([tf.shape(ok), tf.ones([output.shape.rank - 1], tf.int32)], axis=0))
    return tf.where(rows, output, value)
