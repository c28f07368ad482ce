"""The head of pre-training on texts: which token was at each masked position."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.base import LOGITS, Head
from keras_transfer.heads.epoch_metrics import EpochMetric
from keras_transfer.heads.evaluation import ACCURACY, Report
from keras_transfer.heads.token_loss import TokenAccuracy, TokenCrossentropy, evaluate_tokens
from keras_transfer.networks.types import Batches, JsonObject, Loss, Tensor


@dataclass(frozen=True)
class MaskedLanguageHead(Head):
    """Which token was at each masked position, out of the whole vocabulary (Devlin et al. 2019, arXiv 1810.04805).

    Targets are ``int32[batch, masked]``, -1 at positions that a shorter text does not use.

    Attributes:
        names: Of the outputs: there are as many as tokens, and they have no names.
        embedding: The network's own embedding of tokens, which is the output layer's kernel too.
    """

    embedding: keras.layers.Layer

    figure = ACCURACY
    metric = "accuracy"

    @property
    def is_solvable(self) -> bool:
        """It has a hidden layer: it cannot be solved."""
        return False

    def pool(self, features: Tensor) -> Tensor:
        """Leave ``[batch, masked, width]`` as it is."""
        return layers.Identity(name="head_pooled", dtype="float32")(features)

    def describe_pooling(self) -> None:
        """Nothing is pooled."""

    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn ``[batch, masked, width]`` into logits, ``float32[batch, masked, vocabulary]``."""
        import keras_hub  # takes seconds, and images need none of it

        # The network has taken the masked tokens out: the head is to take them all.
        every = keras.ops.cumsum(keras.ops.ones_like(pooled[..., 0], dtype="int32"), axis=1) - 1
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=self.embedding, intermediate_activation="gelu", dtype="float32", name=LOGITS
        )
        return head(pooled, every)

    def final_layer(self) -> layers.Layer:
        """Return the layer from logits to probabilities."""
        return layers.Softmax(dtype="float32")

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Return nothing for each row: the reader makes targets of the texts themselves."""
        return np.zeros((len(targets), 0), np.float32)

    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of logits against targets: the mean over all masked tokens of a batch."""
        return TokenCrossentropy()

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return the accuracy, with each masked token counting once."""
        return (EpochMetric("accuracy", "max", lambda: TokenAccuracy(name="accuracy")),)


@dataclass(frozen=True, kw_only=True)
class MaskedReport(Report):
    """How well a network predicts masked tokens.

    Attributes:
        masked: How many tokens were masked in the rows; the same ones every time.
        accuracy: Share of those that the network predicted correctly. The loss is the mean over them, too, in nats.
    """

    masked: int
    accuracy: float

    @property
    def perplexity(self) -> float:
        """From how many tokens the network as good as chose, at each masked one."""
        return float(np.exp(self.loss))

    def figures(self) -> JsonObject:
        """Return the figures as metrics.json records them."""
        return {"accuracy": self.accuracy, "perplexity": self.perplexity, "masked": self.masked}

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        """Return the fields that :meth:`figures` gave."""
        return {key: values[key] for key in ("accuracy", "masked")}


def evaluate_masked(model: keras.Model, batches: Batches, *, split: str, n: int) -> MaskedReport:
    """Run a masked language model over a dataset.

    Args:
        model: From inputs to logits, ``float32[batch, masked, vocabulary]``.
        batches: Inputs, and what was masked, ``int32[batch, masked]``, -1 where nothing was.
        split: The split's name.
        n: How many rows it has.

    Returns:
        The report.
    """
    found = evaluate_tokens(model, batches)
    return MaskedReport(split=split, n=n, loss=found.loss, masked=found.tokens, accuracy=found.accuracy)
