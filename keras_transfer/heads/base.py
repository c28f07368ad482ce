"""What every head has: layers, loss and metrics."""

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
        """The number of columns of predictions; None if it depends on the rows, as that of transcripts does."""
        return len(self.names)

    @property
    def facts(self) -> JsonObject:
        """What prediction needs beside the model: the content of the run folder's head.json."""
        return {}

    @property
    @abstractmethod
    def is_solvable(self) -> bool:
        """Whether there is a linear problem whose optimum is that of the loss, so that the head can be solved."""

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """Turn the output of the network into pooled features."""

    @abstractmethod
    def describe_pooling(self) -> str | None:
        """Return what pooled features depend on, for the key of the cache; None if the network pools itself."""

    @abstractmethod
    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn pooled features into raw, ``float32`` under any precision."""

    @abstractmethod
    def final_layer(self) -> layers.Layer:
        """Return a layer from raw to predictions."""

    @abstractmethod
    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Turn targets into what raw outputs are trained towards, ``float32[n, outputs]``."""

    @abstractmethod
    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of raw against encoded targets."""

    @abstractmethod
    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return the metrics that can be reported every epoch, with each example counting once.

        The one that :attr:`metric` names is always reported, the others only for a recipe that uses them.
        """

    def metrics(self, names: Collection[str] = ()) -> list[Metric]:
        """Return new metrics of encoded targets and raw outputs.

        Args:
            names: Of :meth:`epoch_metrics`, those to report beside :attr:`metric`.
        """
        return [metric.make() for metric in self.epoch_metrics() if metric.name in (self.metric, *names)]

    def add_calibration(self, predictions: Tensor) -> Tensor:
        """Turn symbolic predictions of the trained model into those that are served, with layers of Keras alone.

        Returns:
            The same tensor if nothing was fitted after training.
        """
        return predictions

    def decode(self, encoded: Tensor) -> Tensor:
        """Turn encoded targets, in a graph, into what perfect predictions would be."""
        return encoded

    def predictions(self, raw: Floats) -> NDArray[np.float32]:
        """Turn raw ``float32[n, outputs]`` into predictions."""
        return np.asarray(keras.ops.convert_to_numpy(self.final_layer()(raw)), np.float32)

    def measure(self, raw: Floats, targets: Targets, metrics: Sequence[Metric] | None = None) -> dict[str, float]:
        """Return loss and metrics as an epoch would report them.

        Args:
            raw: ``float32[n, outputs]``.
            targets: Of the same rows.
            metrics: New ones; by default those that are always reported.
        """
        encoded = self.encode(targets)
        # Called as a whole, a loss would be the share of one of several devices.
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
        """Return confidence and accuracy of calibrated predictions ``[n, outputs]`` by bins; None if it has none."""
        return None

    def explained_outputs(self, predicted: Floats, targets: Targets | None) -> list[tuple[int, ...]]:
        """Choose for each row the outputs whose evidence is shown beside an example; by default none.

        Args:
            predicted: ``float32[n, outputs]``.
            targets: Of the same rows; None if they are unknown.
        """
        return [()] * len(predicted)

    def margins(self, predicted: Floats) -> NDArray[np.float64] | None:
        """Return how sure predictions are, ``float64[n]``: 0 if another one is as probable; None if that is unknown.

        Args:
            predicted: ``float32[n, outputs]``.
        """
        return None

    def without_fits(self) -> Self:
        """Return the head without what was fitted to the rows of one run; by default nothing is."""
        return self

    def class_weights(self, targets: Targets, weights: str | Mapping[str, float]) -> NDArray[np.float32]:
        """Return factors on the weights of rows, ``float32[n]``; a head without classes has none but ones.

        Args:
            targets: Targets of the rows.
            weights: The recipe's ``training.class_weights``.

        Raises:
            ConfigError: The weights do not have the names of the classes.
        """
        return np.ones(len(targets), np.float32)
