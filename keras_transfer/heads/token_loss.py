"""Loss and accuracy per token, for heads whose outputs are sequences: each target token counts once."""

from dataclasses import dataclass

import keras

from keras_transfer.networks.types import Batches, Tensor


class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy of a batch, each token counting once.

    Targets are ``[batch, tokens]``, -1 at positions that do not count; raw outputs are logits,
    ``[batch, tokens, vocabulary]``. If one of them is longer, only the positions that both have count: targets are
    encoded for a whole split, and batches are as long as their longest row.
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``float32[batch]``, whose mean is the mean over the tokens."""
        values, used = _crossentropy(y_true, y_pred)
        tokens = keras.ops.mean(keras.ops.sum(used, axis=1))  # per row
        return keras.ops.divide_no_nan(keras.ops.sum(values, axis=1), tokens)


# Keras averages each row before it averages over rows, and rows of two batches may have different lengths: values that
# are averaged over tokens are flattened.


class TokenCrossentropyMean(keras.metrics.Mean):
    """Mean cross-entropy over the tokens of all batches of an evaluation."""

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        values, used = _crossentropy(y_true, y_pred)
        super().update_state(keras.ops.ravel(values), keras.ops.ravel(used))


class TokenAccuracy(keras.metrics.Mean):
    """Share of tokens that are predicted correctly."""

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        expected, logits = _same_length(y_true, y_pred)
        found = keras.ops.cast(keras.ops.argmax(logits, axis=-1), "int32")
        right, used = keras.ops.equal(expected, found), expected >= 0
        super().update_state(*(keras.ops.ravel(keras.ops.cast(x, "float32")) for x in (right, used)))


def _crossentropy(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropy in nats, 0 at positions that do not count, and their mask: ``float32[batch, tokens]``."""
    expected, logits = _same_length(y_true, y_pred)
    used = keras.ops.cast(expected >= 0, "float32")
    values = keras.ops.sparse_categorical_crossentropy(keras.ops.maximum(expected, 0), logits, from_logits=True)
    return used * values, used


def _same_length(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """``int32[batch, tokens]`` and ``[batch, tokens, vocabulary]``, cut to the shorter of the two."""
    expected = keras.ops.cast(y_true, "int32")[:, : keras.ops.shape(y_pred)[1]]
    return expected, y_pred[:, : keras.ops.shape(expected)[1]]


@dataclass(frozen=True)
class TokenFigures:
    """Results over all batches of an evaluation."""

    loss: float
    accuracy: float
    tokens: int


def evaluate_tokens(model: keras.Model, batches: Batches) -> TokenFigures:
    """Evaluate a model on a dataset, given the tokens before each position.

    Args:
        model: From inputs to logits, ``float32[batch, tokens, vocabulary]``.
        batches: Inputs and targets, ``[batch, tokens]``, -1 at positions that do not count; weights are not used.
    """
    loss, accuracy = TokenCrossentropyMean(), TokenAccuracy()
    tokens = 0
    for inputs, expected, *_ in batches.as_numpy_iterator():  # arrays, which every backend accepts
        logits = model.predict_on_batch(inputs)
        loss.update_state(expected, logits)
        accuracy.update_state(expected, logits)
        tokens += int((expected[:, : logits.shape[1]] >= 0).sum())
    return TokenFigures(float(loss.result()), float(accuracy.result()), tokens)
