"""The head of speech recognition: the next token of a transcript, from the states of a decoder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_transfer.console.text import one_line
from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.base import LOGITS, Head
from keras_transfer.heads.epoch_metrics import EpochMetric
from keras_transfer.heads.evaluation import CHARACTER_ERROR_RATE, WORD_ERROR_RATE, Improvement, Report
from keras_transfer.heads.predictions import OPTIONAL, Prediction
from keras_transfer.heads.token_loss import TokenAccuracy, TokenCrossentropy, TokenFigures
from keras_transfer.heads.word_errors import ErrorRate, TranscriptErrors
from keras_transfer.networks.types import JsonObject, Layer, Loss, Tensor

_UNUSED = -1.0


class TranscriptTokenizer(Protocol):
    """What a head uses of a network's tokenizer."""

    @property
    def end(self) -> int:
        """The token that ends a transcript."""

    def encode(self, text: str) -> Sequence[int]:
        """Return the tokens of a text, without special ones."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; special ones are left out."""


@dataclass(frozen=True)
class Segment:
    """A part of a transcript.

    Attributes:
        start: Where it starts in the recording, in seconds.
        end: Where it ends.
        text: What is said.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript(Prediction):
    """The text of a recording.

    Attributes:
        text: What is said; empty if nothing is.
        score: Mean logarithm of the probabilities of the chosen tokens, of decoders that compute it. It is not
            calibrated: it orders transcripts by how sure the network is, and no more.
        segments: Parts with their times, with ``head.timestamps``.
        language: The language that was recognized, if the recipe leaves that to the network.
    """

    text: str
    score: float | None = field(default=None, metadata=OPTIONAL)
    segments: tuple[Segment, ...] | None = field(default=None, metadata=OPTIONAL)
    language: str | None = field(default=None, metadata=OPTIONAL)

    def __str__(self) -> str:
        """The text in one line."""
        return one_line(" ".join(self.text.split()))

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return ``predicted_text``, and score, language and segments, these as JSON, if there are any."""
        found = super().columns(top_k)
        if self.segments is not None:
            found["segments"] = json.dumps([asdict(segment) for segment in self.segments], ensure_ascii=False)
        return found


@dataclass(frozen=True)
class TranscriptHead(Head):
    """The next token of a transcript, out of the network's vocabulary.

    The output layer's kernel is the network's embedding of tokens, as the network was pretrained.

    Attributes:
        names: Of the outputs: there are as many as tokens, and they have no names.
        tokenizer: Turns texts into tokens and back.
        prompt: The tokens that each transcript starts with; they are given, and not learned.
        rule: By which transcripts and recognized texts are normalized before they are compared.
        token_embedding: The network's embedding of tokens; None for the head of a finished run, whose model has it.
    """

    tokenizer: TranscriptTokenizer
    prompt: tuple[int, ...]
    rule: str
    token_embedding: Layer | None = None

    figure = WORD_ERROR_RATE
    metric = "accuracy"
    predictions_output: ClassVar[str] = "text"
    """Which of an exported model's outputs are the predictions themselves."""

    @property
    def facts(self) -> JsonObject:
        """What is scored and served by: the content of the run folder's head.json."""
        return {"prompt": list(self.prompt), "normalization": self.rule}

    @property
    def is_solvable(self) -> bool:
        """Its kernel is that of the network's first layer: it cannot be solved."""
        return False

    def pool(self, features: Tensor) -> Tensor:
        """Leave ``[batch, length, width]`` as it is."""
        return layers.Identity(name="head_pooled", dtype="float32")(features)

    def describe_pooling(self) -> None:
        """Nothing is pooled."""

    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn ``[batch, length, width]`` into logits, ``float32[batch, length, vocabulary]``."""
        return TiedLogits(self.token_embedding, name=LOGITS, dtype="float32")(pooled)

    def final_layer(self) -> layers.Layer:
        """Return the layer from logits to probabilities."""
        return layers.Softmax(dtype="float32")

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Turn transcripts into the tokens that follow each position of prompt and transcript.

        Args:
            targets: ``object[n]`` of ``str``, normalized.

        Returns:
            ``float32[n, most]``: -1 inside the prompt, then the tokens and the end, then -1 again. Tokens beyond
            ``float32``'s exact integers do not exist.
        """
        rows = [[*self.tokenizer.encode(text), self.tokenizer.end] for text in targets]
        given = max(len(self.prompt) - 1, 0)
        encoded = np.full((len(rows), given + max(map(len, rows), default=0)), _UNUSED, np.float32)
        for place, row in enumerate(rows):
            encoded[place, given : given + len(row)] = row
        return encoded

    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of logits against targets: the mean over all tokens of a batch."""
        return TokenCrossentropy()

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return the accuracy, with each token counting once."""
        return (EpochMetric("accuracy", "max", lambda: TokenAccuracy(name="accuracy")),)

    def report(self, split: str, n: int, tokens: TokenFigures, errors: TranscriptErrors) -> "TranscriptReport":
        """Return the report on a split.

        Args:
            split: The split's name.
            n: How many rows it has.
            tokens: Of the network, given the transcript's tokens before each one.
            errors: Of the recognized texts, as :func:`measure_transcripts` returns them.
        """
        return TranscriptReport(
            split=split,
            n=n,
            loss=tokens.loss,
            accuracy=tokens.accuracy,
            words=errors.words,
            characters=errors.characters,
            speakers=errors.speakers,
        )

    def to_prediction(
        self,
        name: str,
        tokens: Sequence[int],
        *,
        score: float | None = None,
        segments: Sequence[Segment] | None = None,
        language: str | None = None,
    ) -> Transcript:
        """Turn the tokens that were chosen for a recording into a record for users.

        Args:
            name: Of the input.
            tokens: ``int[n]``, without the prompt; filled up with the end.
            score: Mean logarithm of their probabilities, if that is known.
            segments: Parts with their times, if the recipe asks for them.
            language: The language that was recognized, if the network chose it.
        """
        text = self.tokenizer.decode([int(token) for token in tokens])
        return Transcript(name, text, score, None if segments is None else tuple(segments), language)


class TiedLogits(layers.Layer):
    """Logits of tokens: states times the transposed embedding of tokens, in this layer's own dtype.

    The embedding belongs to the network alone: it is trained if the network's stage is, and no weight of the head.

    Args:
        token_embedding: Keras' ``ReversibleEmbedding``.
        **options: Those of a layer.
    """

    def __init__(self, token_embedding: Layer, **options: Any) -> None:
        super().__init__(**options)
        self._embedding: Callable[[], Layer] = lambda: (
            token_embedding
        )  # Keras would count the weights of an attribute as this layer's

    def call(self, states: Tensor) -> Tensor:
        """Return ``[batch, length, vocabulary]`` for ``[batch, length, width]``."""
        return self._embedding().call(states, reverse=True)  # called as a layer, it would compute in its own dtype

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return that of the logits."""
        return (*input_shape[:-1], self._embedding().input_dim)


@dataclass(frozen=True, kw_only=True)
class TranscriptReport(Report):
    """How far recognized texts are from transcripts.

    Attributes:
        accuracy: Share of tokens that were predicted correctly, given the transcript's tokens before each one. The
            loss is the mean over them, too, in nats.
        words: The word error rate.
        characters: The character error rate.
        speakers: The number of speakers; None if they are unknown.
    """

    accuracy: float
    words: ErrorRate
    characters: ErrorRate
    speakers: int | None = None

    @property
    def wer(self) -> float:
        """The word error rate."""
        return self.words.rate

    @property
    def wer_interval(self) -> tuple[float, float]:
        """Its 95 % interval, over utterances."""
        return self.words.interval

    @property
    def cer(self) -> float:
        """The character error rate."""
        return self.characters.rate

    @property
    def cer_interval(self) -> tuple[float, float]:
        """Its 95 % interval, over utterances."""
        return self.characters.interval

    @property
    def improvements(self) -> tuple[Improvement, ...]:
        """What training bought, in words and in characters; empty if that was not measured."""
        every = (self.words.improvement, self.characters.improvement)
        return tuple(improvement for improvement in every if improvement is not None)

    def figures(self) -> JsonObject:
        """Return the figures as metrics.json records them."""
        return {
            "wer": self.wer,
            "wer_interval": list(self.wer_interval),
            "cer": self.cer,
            "cer_interval": list(self.cer_interval),
            "accuracy": self.accuracy,
            "words": self.words.to_json(),
            "characters": self.characters.to_json(),
            **({} if self.speakers is None else {"speakers": self.speakers}),
        }

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        """Return the fields that :meth:`figures` gave."""

        def read(name: str, key: str) -> JsonObject:
            return {**values[key], "rate": values[name], "interval": values[f"{name}_interval"]}

        return {
            "accuracy": values["accuracy"],
            "words": ErrorRate.from_json(WORD_ERROR_RATE, read("wer", "words")),
            "characters": ErrorRate.from_json(CHARACTER_ERROR_RATE, read("cer", "characters")),
            "speakers": values.get("speakers"),
        }
