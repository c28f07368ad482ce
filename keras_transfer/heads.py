"""The new layers on top of a backbone, with the loss and the metrics that go with them."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_transfer.config import HeadConfig, PictureHeadConfig

LOGITS = "head_logits"
"""Name of the head's last layer."""


@dataclass(frozen=True)
class ClassificationHead:
    """One class out of several.

    Attributes:
        classes: How many, at least 2.
        config: Pooling, dropout and hidden layer.
    """

    classes: int
    config: HeadConfig

    @property
    def is_linear(self) -> bool:
        """Whether logits are a linear function of pooled features, so that the head can be solved."""
        return self.config.hidden is None

    def pool(self, features: Any) -> Any:
        """Turn a feature map into a vector.

        Args:
            features: ``[batch, height, width, channels]`` or ``[batch, tokens, channels]``; or ``[batch, channels]`` of
                a network that pools itself.

        Returns:
            ``float32[batch, channels]``, or twice as many channels with ``both``.
        """
        rank = len(features.shape)
        if not isinstance(self.config, PictureHeadConfig) or rank == 2:
            return layers.Identity(name="head_pooled", dtype="float32")(features)
        # Sums over many positions lose digits in half precision.
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
        """Return what pooled features depend on, for the key of the cache; None where the network pools itself."""
        return self.config.pooling if isinstance(self.config, PictureHeadConfig) else None

    def classify(self, pooled: Any) -> Any:
        """Turn pooled features, ``[batch, channels]``, into logits, ``float32[batch, classes]`` under any precision."""
        x = layers.Dropout(self.config.dropout, name="head_dropout")(pooled)
        if self.config.hidden is not None:
            x = layers.Dense(self.config.hidden, activation="gelu", name="head_hidden")(x)
            x = layers.Dropout(self.config.dropout, name="head_hidden_dropout")(x)
        return layers.Dense(self.classes, dtype="float32", name=LOGITS)(x)

    def probabilities(self, logits: Any) -> Any:
        """Turn ``float32[batch, classes]`` logits into probabilities."""
        return layers.Softmax(dtype="float32")(logits)

    def loss(self, *, label_smoothing: float) -> keras.losses.Loss:
        """Return the loss of logits against one-hot targets."""
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return what is reported every epoch, each example counting once."""
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]
