"""What heads that predict a token of the vocabulary at each position share."""

from abc import ABC
from dataclasses import dataclass

from keras import layers

from keras_transfer.heads.base import Head
from keras_transfer.heads.epoch_metrics import EpochMetric
from keras_transfer.heads.token_loss import TokenAccuracy, TokenCrossentropy
from keras_transfer.networks.types import Loss, Tensor


@dataclass(frozen=True)
class TokenHead(Head, ABC):
    """Predicts a token at each position; its output layer is tied to the network's embedding of tokens.

    Targets are ``[batch, tokens]``, -1 at positions that do not count.
    """

    metric = "accuracy"

    @property
    def is_solvable(self) -> bool:
        """Return False: its kernel is that of the network's first layer."""
        return False

    def pool(self, features: Tensor) -> Tensor:
        """Return ``[batch, tokens, width]`` unchanged."""
        return layers.Identity(name="head_pooled", dtype="float32")(features)

    def describe_pooling(self) -> None:
        """Return None: nothing is pooled."""

    def final_layer(self) -> layers.Layer:
        return layers.Softmax(dtype="float32")

    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of logits against targets: the mean over all tokens of a batch that count."""
        return TokenCrossentropy()

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        return (EpochMetric("accuracy", "max", lambda: TokenAccuracy(name="accuracy")),)
