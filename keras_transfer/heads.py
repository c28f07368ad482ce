"""The new layers on top of a backbone, with the loss and the metrics that go with them."""

from dataclasses import dataclass
from typing import Any

import keras
import keras_hub
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
            features: ``[batch, height, width, channels]``; or ``[batch, channels]`` of a network that pools itself.

        Returns:
            ``float32[batch, channels]``, or twice as many channels with ``both``.
        """
        if not isinstance(self.config, PictureHeadConfig):
            return layers.Identity(name="head_pooled", dtype="float32")(features)
        # Sums over many positions lose digits in half precision.
        average = layers.GlobalAveragePooling2D(name="head_average", dtype="float32")
        largest = layers.GlobalMaxPooling2D(name="head_max", dtype="float32")
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


@dataclass(frozen=True)
class MaskedLanguageHead:
    """Which token stood at each masked place, out of the whole vocabulary (Devlin et al. 2019, arXiv 1810.04805).

    Answers are ``int32[batch, masked]``, -1 at places that a shorter text does not use.

    Attributes:
        embedding: The network's own embedding of tokens, which also tells the answers apart.
    """

    embedding: keras.layers.Layer

    @property
    def is_linear(self) -> bool:
        """It has a hidden layer: it cannot be solved."""
        return False

    def pool(self, features: Any) -> Any:
        """Leave ``[batch, masked, width]`` as it is."""
        return layers.Identity(name="head_pooled", dtype="float32")(features)

    def describe_pooling(self) -> None:
        """Nothing is pooled."""

    def classify(self, pooled: Any) -> Any:
        """Turn ``[batch, masked, width]`` into logits, ``float32[batch, masked, vocabulary]``."""
        # The network has taken the masked tokens out: the head is to take them all.
        every = keras.ops.cumsum(keras.ops.ones_like(pooled[..., 0], dtype="int32"), axis=1) - 1
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=self.embedding, intermediate_activation="gelu", dtype="float32", name=LOGITS
        )
        return head(pooled, every)

    def probabilities(self, logits: Any) -> Any:
        """Turn logits into probabilities."""
        return layers.Softmax(dtype="float32")(logits)

    def loss(self, *, label_smoothing: float) -> keras.losses.Loss:
        """Return the loss of logits against answers: the mean over all masked tokens of a batch."""
        return MaskedCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return what is reported every epoch, each masked token counting once."""
        return [MaskedAccuracy(name="accuracy")]


class MaskedCrossentropy(keras.losses.Loss):
    """Cross-entropy of a batch, each masked token counting once."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return ``float32[batch]``, whose mean is that over the tokens."""
        values, used = _crossentropy(y_true, y_pred)
        tokens = keras.ops.mean(keras.ops.sum(used, axis=1))  # of a text
        return keras.ops.divide_no_nan(keras.ops.sum(values, axis=1), tokens)


# Keras takes the mean of a row before that over rows, and rows of two batches may have different lengths: what is
# averaged over tokens is made flat.


class MaskedCrossentropyMean(keras.metrics.Mean):
    """The same over all batches of an evaluation."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        values, used = _crossentropy(y_true, y_pred)
        super().update_state(keras.ops.ravel(values), keras.ops.ravel(used))


class MaskedAccuracy(keras.metrics.Mean):
    """Share of masked tokens that are found again."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        answers = keras.ops.ravel(keras.ops.cast(y_true, "int32"))
        found = keras.ops.ravel(keras.ops.cast(keras.ops.argmax(y_pred, axis=-1), "int32"))
        right, used = (keras.ops.cast(x, "float32") for x in (keras.ops.equal(answers, found), answers >= 0))
        super().update_state(right, used)


def _crossentropy(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """In nats, 0 at places that are not used, and which are: ``float32[batch, masked]`` both."""
    answers = keras.ops.cast(y_true, "int32")
    used = keras.ops.cast(answers >= 0, "float32")
    values = keras.ops.sparse_categorical_crossentropy(keras.ops.maximum(answers, 0), y_pred, from_logits=True)
    return used * values, used


Head = ClassificationHead | MaskedLanguageHead
"""Any of them."""
