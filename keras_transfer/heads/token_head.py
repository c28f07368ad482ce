"""What heads have in common that choose a token out of a network's vocabulary at each position."""

from abc import ABC
from dataclasses import dataclass

from keras import layers

from keras_transfer.heads.base import Head
from keras_transfer.heads.epoch_metrics import EpochMetric
from keras_transfer.heads.token_loss import TokenAccuracy, TokenCrossentropy
from keras_transfer.networks.types import Loss, Tensor


@dataclass(frozen=True)
class TokenHead(Head, ABC):
    """A token at each position; its output layer is tied to the network's embedding of tokens.

    Targets are ``[batch, tokens]``, -1 at positions that do not count.
    """

    metric = "accuracy"

    @property
    def is_solvable(self) -> bool:
        """Its kernel is that of the network's first layer: it cannot be solved."""
        return False

    def pool(self, features: Tensor) -> Tensor:
        """Leave ``[batch, tokens, width]`` as it is."""
        return layers.Identity(name="head_pooled", dtype="float32")(features)

    def describe_pooling(self) -> None:
        """Nothing is pooled."""

    def final_layer(self) -> layers.Layer:
        return layers.Softmax(dtype="float32")

    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of logits against targets: the mean over all tokens of a batch that count."""
        return TokenCrossentropy()

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        return (EpochMetric("accuracy", "max", lambda: TokenAccuracy(name="accuracy")),)
