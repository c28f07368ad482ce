"""The interface of all heads: layers, loss and metrics."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.epoch_metrics import CalibratedLoss, EpochMetric
from keras_transfer.heads.evaluation import Figure, Floats
from keras_transfer.heads.reliability import Reliability
from keras_transfer.networks.types import JsonObject, Loss, Metric, Tensor

LOGITS = "head_logits"
"""Name of the head's last layer with weights."""


@dataclass(frozen=True)
class Head(ABC):
    """The new layers on top of a backbone, with their loss and metrics.

    *Raw* is the output of the last layer with weights, which is trained: logits, or standardized numbers. *Predictions*
    are the output of the final layer, which is served: probabilities, or numbers.

    Attributes:
        names: Of the outputs.
    """

    names: tuple[str, ...]

    figure: ClassVar[Figure]
    """The metric that models are compared by."""

    last_layer: ClassVar[str] = LOGITS
    """Name of the last layer with weights, which :meth:`read_out` makes; a solved head is put into it."""

    is_exact: ClassVar[bool] = False
    """Whether an exported model must return the very strings of the model; else its numbers may differ by rounding."""

    metric: ClassVar[str]
    """Name of the metric that is reported every epoch beside the loss."""

    evidence_has_sign: ClassVar[bool] = False
    """Whether evidence against an output means as much as evidence for it: a number becomes smaller by it."""

    @property
    def prediction_width(self) -> int | None:
        """The number of columns of predictions; None if it depends on the rows, as for transcripts."""
        return len(self.names)

    @property
    def facts(self) -> JsonObject:
        """What prediction needs in addition to the model: the content of the run folder's head.json."""
        return {}

    @property
    @abstractmethod
    def is_solvable(self) -> bool:
        """Whether the head can be solved: whether a linear problem has the same optimum as the loss."""

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """Turn the output of the network into pooled features."""

    @abstractmethod
    def describe_pooling(self) -> str | None:
        """Return the settings on which pooled features depend, for the cache key; None if the network pools itself."""

    @abstractmethod
    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn pooled features into raw outputs, ``float32`` under any precision."""

    @abstractmethod
    def final_layer(self) -> layers.Layer:
        """Return a layer from raw outputs to predictions."""

    @abstractmethod
    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Turn targets into the training targets of raw outputs, ``float32[n, outputs]``."""

    @abstractmethod
    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of raw outputs against encoded targets."""

    @abstractmethod
    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return the metrics that can be reported every epoch, with each example counting once.

        The one that :attr:`metric` names is always reported, the others only for a recipe that uses them.
        """

    def metrics(self, names: Collection[str] = ()) -> list[Metric]:
        """Return new metrics of encoded targets and raw outputs.

        Args:
            names: Names among :meth:`epoch_metrics` to report in addition to :attr:`metric`.
        """
        return [metric.make() for metric in self.epoch_metrics() if metric.name in (self.metric, *names)]

    def add_calibration(self, predictions: Tensor) -> Tensor:
        """Turn the trained model's symbolic predictions into those that are served, using only Keras layers.

        Returns:
            The same tensor if nothing was fitted after training.
        """
        return predictions

    def decode(self, encoded: Tensor) -> Tensor:
        """Turn encoded targets, in a graph, into the predictions of a perfect model."""
        return encoded

    def predictions(self, raw: Floats) -> NDArray[np.float32]:
        """Turn raw outputs ``float32[n, outputs]`` into predictions."""
        return np.asarray(keras.ops.convert_to_numpy(self.final_layer()(raw)), np.float32)

    def measure(self, raw: Floats, targets: Targets, metrics: Sequence[Metric] | None = None) -> dict[str, float]:
        """Return loss and metrics as an epoch would report them.

        Args:
            raw: ``float32[n, outputs]``.
            targets: Of the same rows.
            metrics: New ones; by default those that are always reported.
        """
        encoded = self.encode(targets)
        # Calling the loss object as a whole would return the share of one of several devices.
        rows = self.loss(label_smoothing=0.0).call(
            keras.ops.convert_to_tensor(encoded), keras.ops.convert_to_tensor(raw)
        )
        values = {"loss": float(keras.ops.mean(rows))}
        for metric in self.metrics() if metrics is None else metrics:
            if isinstance(metric, CalibratedLoss):
                values[metric.name] = metric.measure(encoded, raw)
                continue
            metric.update_state(encoded, raw)
            values[metric.name] = float(metric.result())
        return values

    def reliability(self, predicted: Floats, targets: Targets) -> Reliability | None:
        """Return confidence and accuracy of calibrated predictions ``[n, outputs]`` by bins; None if there are none."""
        return None

    def explained_outputs(self, predicted: Floats, targets: Targets | None) -> list[tuple[int, ...]]:
        """Choose for each row the outputs whose evidence is shown with an example; by default none.

        Args:
            predicted: ``float32[n, outputs]``.
            targets: Of the same rows; None if they are unknown.
        """
        return [()] * len(predicted)

    def margins(self, predicted: Floats) -> NDArray[np.float64] | None:
        """Return how sure predictions are, ``float64[n]``: 0 if another one is as probable; None if unknown.

        Args:
            predicted: ``float32[n, outputs]``.
        """
        return None

    def without_fits(self) -> Self:
        """Return the head without values that were fitted to the rows of one run; by default there are none."""
        return self

    def class_weights(self, targets: Targets, weights: str | Mapping[str, float]) -> NDArray[np.float32]:
        """Return factors on the weights of rows, ``float32[n]``; all are 1 for a head without classes.

        Args:
            targets: Targets of the rows.
            weights: The recipe's ``training.class_weights``.

        Raises:
            ConfigError: The names in ``weights`` are not those of the classes.
        """
        return np.ones(len(targets), np.float32)
