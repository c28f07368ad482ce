"""The head of pre-training on texts: which token was at each masked position."""

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
    """Which token was at each masked position, out of the whole vocabulary (Devlin et al. 2019, arXiv 1810.04805).

    Targets are ``int32[batch, masked]``, -1 at positions that a shorter text does not use.

    Attributes:
        names: Of the outputs: there are as many as tokens, and they have no names.
        embedding: The network's own embedding of tokens, which is the output layer's kernel too.
    """

    embedding: keras.layers.Layer

    figure = ACCURACY

    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn ``[batch, masked, width]`` into logits, ``float32[batch, masked, vocabulary]``."""
        import keras_hub  # takes seconds, and images need none of it

        # The network has taken the masked tokens out: the head is to take them all.
        every = keras.ops.cumsum(keras.ops.ones_like(pooled[..., 0], dtype="int32"), axis=1) - 1
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=self.embedding, intermediate_activation="gelu", dtype="float32", name=LOGITS
        )
        return head(pooled, every)

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Return nothing for each row: the reader makes targets of the texts themselves."""
        return np.zeros((len(targets), 0), np.float32)


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
        return {"accuracy": self.accuracy, "perplexity": self.perplexity, "masked": self.masked}

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        return {key: values[key] for key in ("accuracy", "masked")}


def evaluate_masked(model: keras.Model, batches: Batches, *, split: str, n: int) -> MaskedReport:
    """Run a masked language model over a dataset.

    Args:
        model: From inputs to logits, ``float32[batch, masked, vocabulary]``.
        batches: Inputs, and what was masked, ``int32[batch, masked]``, -1 where nothing was.
    """
    found = evaluate_tokens(model, batches)
    return MaskedReport(split=split, n=n, loss=found.loss, masked=found.tokens, accuracy=found.accuracy)
