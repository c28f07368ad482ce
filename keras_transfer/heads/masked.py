"""The head of pre-training on texts: it predicts the token at each masked position."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.base import LOGITS
from keras_transfer.heads.evaluation import ACCURACY, Report
from keras_transfer.heads.token_head import TokenHead
from keras_transfer.heads.token_loss import evaluate_tokens
from keras_transfer.networks.types import Batches, JsonObject, Tensor


@dataclass(frozen=True)
class MaskedLanguageHead(TokenHead):
    """Predicts the token at each masked position, out of the whole vocabulary (Devlin et al. 2019, arXiv 1810.04805).

    Targets are ``int32[batch, masked]``, -1 at positions that a shorter text does not use.

    Attributes:
        names: Names of the outputs; tokens have none.
        embedding: The network's own embedding of tokens, which is the output layer's kernel too.
    """

    embedding: keras.layers.Layer

    figure = ACCURACY

    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn ``[batch, masked, width]`` into logits, ``float32[batch, masked, vocabulary]``."""
        import keras_hub  # takes seconds, and recipes on images do not need it

        # The network has already gathered the masked tokens: the head takes all of them.
        every = keras.ops.cumsum(keras.ops.ones_like(pooled[..., 0], dtype="int32"), axis=1) - 1
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=self.embedding, intermediate_activation="gelu", dtype="float32", name=LOGITS
        )
        return head(pooled, every)

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Return no target for each row: the reader makes targets from the texts themselves."""
        return np.zeros((len(targets), 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class MaskedReport(Report):
    """How well a network predicts masked tokens.

    Attributes:
        masked: Number of masked tokens in the rows; the same tokens every time.
        accuracy: Share of them that the network predicted correctly. The loss is also the mean over them, in nats.
    """

    masked: int
    accuracy: float

    @property
    def perplexity(self) -> float:
        """The effective number of tokens that the network chose from at each masked position."""
        return float(np.exp(self.loss))

    def figures(self) -> JsonObject:
        return {"accuracy": self.accuracy, "perplexity": self.perplexity, "masked": self.masked}

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        return {key: values[key] for key in ("accuracy", "masked")}


def evaluate_masked(model: keras.Model, batches: Batches, *, split: str, n: int) -> MaskedReport:
    """Run a masked language model over a dataset.

    Args:
        model: From inputs to logits, ``float32[batch, masked, vocabulary]``.
        batches: Inputs, and the masked tokens, ``int32[batch, masked]``, -1 at unused positions.
    """
    found = evaluate_tokens(model, batches)
    return MaskedReport(split=split, n=n, loss=found.loss, masked=found.tokens, accuracy=found.accuracy)
