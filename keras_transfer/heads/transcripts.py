"""The head of speech recognition: predicts the next token of a transcript from the states of a decoder."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from keras_transfer.console.text import one_line
from keras_transfer.data.readers.transcribed import TranscriptTokenizer
from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.base import LOGITS
from keras_transfer.heads.evaluation import CHARACTER_ERROR_RATE, WORD_ERROR_RATE, Floats, Improvement, Report
from keras_transfer.heads.predictions import OPTIONAL, Prediction
from keras_transfer.heads.target import OK, mask_rows
from keras_transfer.heads.token_head import TokenHead
from keras_transfer.heads.token_loss import TokenFigures
from keras_transfer.heads.word_errors import ErrorRate, count_edits, measure_transcripts
from keras_transfer.networks.types import JsonObject, Layer, Tensor

_UNUSED = -1.0
STEP_SECONDS = 0.02
"""From a timestamp to the next one."""


@dataclass(frozen=True)
class Segment:
    """A part of a transcript.

    Attributes:
        start: Where the segment starts in the recording, in seconds.
        end: Where it ends; None if the network did not predict it, as at the end of a recording.
        text: The spoken text.
    """

    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class Transcript(Prediction):
    """The text of a recording.

    Attributes:
        text: The spoken text; empty if there is no speech.
        score: Mean log-probability of the chosen tokens, for decoders that compute it. It is not calibrated: it only
            ranks transcripts by how sure the network is.
        segments: Segments with their times, with ``head.timestamps``.
    """

    text: str
    score: float | None = field(default=None, metadata=OPTIONAL)
    segments: tuple[Segment, ...] | None = field(default=None, metadata=OPTIONAL)

    def __str__(self) -> str:
        """The text in one line."""
        return one_line(" ".join(self.text.split()))

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return ``predicted_text``, and score and segments, the latter as JSON, if there are any."""
        found = super().columns(top_k)
        if self.segments is not None:
            found["segments"] = json.dumps([asdict(segment) for segment in self.segments], ensure_ascii=False)
        return found


@dataclass(frozen=True)
class TranscriptHead(TokenHead):
    """Predicts the next token of a transcript, out of the network's vocabulary.

    The output layer's kernel is the network's embedding of tokens, as in pretraining.

    Attributes:
        names: Names of the outputs; tokens have none.
        tokenizer: Turns texts into tokens and back.
        prompt: The tokens that each transcript starts with; they are given, not learned.
        rule: How transcripts and recognized texts are normalized before they are compared.
        token_embedding: The network's embedding of tokens; None for the head of a finished run, whose model contains
            it.
        timestamps: Whether predicted tokens include timestamps.
    """

    tokenizer: TranscriptTokenizer
    prompt: tuple[int, ...]
    rule: str
    token_embedding: Layer | None = None
    timestamps: bool = False

    figure = WORD_ERROR_RATE
    is_exact = True
    predictions_output: ClassVar[str] = "text"
    """Which of an exported model's outputs are the predictions themselves."""

    @property
    def prediction_width(self) -> None:
        """None: it depends on the longest transcript of a batch."""

    @property
    def facts(self) -> JsonObject:
        """What evaluation and serving need: the content of the run folder's head.json."""
        return {"prompt": list(self.prompt), "normalization": self.rule, "timestamps": self.timestamps}

    def read_out(self, pooled: Tensor) -> Tensor:
        """Turn ``[batch, length, width]`` into logits, ``float32[batch, length, vocabulary]``."""
        return TiedLogits(self.token_embedding, name=LOGITS, dtype="float32")(pooled)

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        """Turn transcripts into the next token for each position of prompt and transcript.

        Args:
            targets: ``object[n]`` of ``str``, normalized.

        Returns:
            ``float32[n, most]``: -1 inside the prompt, then the tokens and the end, then -1 again. All tokens are exact
            in ``float32``.
        """
        rows = [[*self.tokenizer.encode(text), self.tokenizer.end] for text in targets]
        given = max(len(self.prompt) - 1, 0)
        encoded = np.full((len(rows), given + max(map(len, rows), default=0)), _UNUSED, np.float32)
        for place, row in enumerate(rows):
            encoded[place, given : given + len(row)] = row
        return encoded

    def report(
        self,
        split: str,
        predicted: Floats,
        targets: Targets,
        *,
        tokens: TokenFigures | None = None,
        untrained: Sequence[str] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> "TranscriptReport":
        """Compare recognized texts with transcripts.

        Args:
            split: The name of the split.
            predicted: ``float32[n, 1 + tokens]``, as :meth:`to_prediction` takes rows.
            targets: ``object[n]`` of transcripts.
            tokens: Results per token, given the transcript's tokens before each one; None if they cannot be computed.
            untrained: The texts that the network recognized before training.
            groups: The speaker, or other group, of each row.

        Raises:
            DataError: The package that counts errors is not installed.
        """
        errors = measure_transcripts(
            targets.tolist(), self.to_texts(predicted), rule=self.rule, untrained=untrained, groups=groups
        )
        return TranscriptReport(
            split=split,
            n=len(targets),
            loss=float("nan") if tokens is None else tokens.loss,
            accuracy=None if tokens is None else tokens.accuracy,
            words=errors.words,
            characters=errors.characters,
            groups=errors.groups,
        )

    # Predicting and serving.

    def to_prediction(self, name: str, row: Floats) -> Transcript:
        """Turn the prediction for a recording into a record for users.

        Args:
            name: Of the input.
            row: ``float32[1 + n]``: the score, then the tokens without the prompt, padded with the end token.
                Timestamps among them count from the start of the recording.
        """
        tokens = [int(token) for token in row[1:]]
        begin = self.tokenizer.timestamp_begin
        segments = None if not self.timestamps or begin is None else read_segments(tokens, self.tokenizer, begin)
        return Transcript(name, self.tokenizer.decode(tokens), float(row[0]), segments)

    def to_texts(self, predicted: Floats) -> list[str]:
        """Return the texts of predictions, ``float32[rows, 1 + n]``."""
        return [self.to_prediction("", row).text for row in predicted]

    def row_losses(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        """Return the number of word errors in each transcript, ``float64[n]``, which ranks the worst ones.

        Args:
            predicted: ``float32[n, 1 + tokens]``.
            targets: Of the same rows.
        """
        edits = count_edits(targets.tolist(), self.to_texts(predicted), rule=self.rule).edits
        return edits.sum(axis=1).astype(np.float64)

    def score(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        """Return the word error rate for some resamples.

        Args:
            predicted: ``float32[n, 1 + tokens]``.
            targets: Of the same rows.
            counts: ``[resamples, n]``, how often each row counts.
        """
        return count_edits(targets.tolist(), self.to_texts(predicted), rule=self.rule).rates(counts)

    def score_once(self, predicted: Floats, targets: Targets) -> float:
        """Return the word error rate."""
        return float(self.score(predicted, targets, np.ones((1, len(targets))))[0])

    def serving_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return the outputs of an exported model, in a graph.

        Args:
            predicted: ``float32[batch, 1 + n]``, as :meth:`to_prediction` takes rows.

        Returns:
            ``text: string[batch]``; ``score: float32[batch]``, the mean log-probability of the chosen tokens; and with
            timestamps ``timed_text: string[batch]``, which includes them: ``<|0.00|> Hello.<|1.20|>``.
        """
        pieces = tf.constant([*self.tokenizer.pieces, b""], tf.string)
        tokens = tf.cast(predicted[:, 1:], tf.int32)
        # Timestamps, whose ids follow the vocabulary, and all other tokens that are not text have no pieces.
        known = tf.where((tokens >= 0) & (tokens < len(self.tokenizer.pieces)), tokens, len(self.tokenizer.pieces))
        written = tf.gather(pieces, known)
        outputs = {self.predictions_output: _join(written), "score": predicted[:, 0]}
        begin = self.tokenizer.timestamp_begin
        if self.timestamps and begin is not None:
            seconds = tf.strings.as_string(tf.cast(tokens - begin, tf.float32) * STEP_SECONDS, precision=2)
            stamps = tf.strings.join(["<|", seconds, "|>"])
            outputs["timed_text"] = _join(tf.where(tokens >= begin, stamps, written))
        return outputs

    def read_predictions(self, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return ``float32[batch, 1 + n]``, as :meth:`to_prediction` takes rows.

        Args:
            outputs: Outputs by name, of the endpoint that takes tensors: they include those of :meth:`tensor_outputs`.

        Raises:
            KeyError: They are missing.
        """
        score, tokens = (np.asarray(outputs[name], np.float32) for name in ("score", "tokens"))
        return np.concatenate([score[:, None], tokens], axis=1)

    def tensor_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return the outputs of an exported model that are numbers: ``tokens`` and ``score``."""
        return {"tokens": tf.cast(predicted[:, 1:], tf.int32), "score": predicted[:, 0]}

    def masked_outputs(self, predicted: Tensor, ok: Tensor) -> dict[str, Tensor]:
        """Return :meth:`serving_outputs` with ``ok``; rows in which it is false have an empty text and a score of NaN.

        Args:
            predicted: ``float32[batch, 1 + n]``.
            ok: ``bool[batch]``, whether each input could be read.
        """
        outputs = {name: mask_rows(x, ok, float("nan")) for name, x in self.serving_outputs(predicted).items()}
        return {**outputs, OK: ok}

    def endpoint_outputs(self, predicted: Tensor, ok: Tensor) -> dict[str, Tensor]:
        """Return the same with ``tokens``.

        Args:
            predicted: ``float32[batch, 1 + n]``.
            ok: ``bool[batch]``, whether each input could be read.
        """
        return {**self.tensor_outputs(predicted), **self.masked_outputs(predicted, ok)}


def _join(pieces: Tensor) -> Tensor:
    """Return ``string[rows]`` for ``string[rows, n]``; a network may choose tokens that are not whole characters."""
    joined = tf.strings.strip(tf.strings.reduce_join(pieces, axis=1))
    return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")


def read_segments(
    tokens: Sequence[int], tokenizer: TranscriptTokenizer, timestamp_begin: int, step_seconds: float = STEP_SECONDS
) -> tuple[Segment, ...]:
    """Divide a transcript by its timestamps: one before each segment, and one after it.

    Args:
        tokens: Without the prompt.
        tokenizer: Turns the others into text.
        timestamp_begin: The token of 0 s.
        step_seconds: Time between consecutive timestamps.

    Returns:
        The segments that have a text. One without a timestamp after it ends where the next one starts; the last one has
        no end.
    """
    found: list[Segment] = []
    start, own = 0.0, list[int]()

    def close(end: float | None) -> None:
        text = tokenizer.decode(own)
        if text:
            found.append(Segment(start, end, text))
        own.clear()

    for token in tokens:
        if token >= timestamp_begin:
            time = round((token - timestamp_begin) * step_seconds, 2)
            close(time)
            start = time
        elif token != tokenizer.end:
            own.append(token)
    close(None)
    return tuple(found)


class TiedLogits(layers.Layer):
    """Logits of tokens: states times the transposed embedding of tokens, in this layer's own dtype.

    The embedding belongs to the network: it is trained with the network's stage, and is not a weight of the head.

    Args:
        token_embedding: Keras' ``ReversibleEmbedding``.
        **options: Options of ``keras.layers.Layer``.
    """

    def __init__(self, token_embedding: Layer, **options: Any) -> None:
        super().__init__(**options)
        # Keras would count the weights of an attribute among this layer's.
        self._embedding: Callable[[], Layer] = lambda: token_embedding

    def call(self, states: Tensor) -> Tensor:
        """Return ``[batch, length, vocabulary]`` for ``[batch, length, width]``."""
        return self._embedding().call(states, reverse=True)  # called as a layer, it would compute in its own dtype

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the logits."""
        return (*input_shape[:-1], self._embedding().input_dim)


@dataclass(frozen=True, kw_only=True)
class TranscriptReport(Report):
    """How much recognized texts differ from transcripts.

    The loss is the mean over the tokens of transcripts, given those before each one, in nats; NaN if only texts are
    available, as from an exported model.

    Attributes:
        accuracy: Share of those tokens that were predicted correctly; None without a loss.
        words: The word error rate.
        characters: The character error rate.
        groups: The number of groups, such as speakers; None if unknown.
    """

    accuracy: float | None
    words: ErrorRate
    characters: ErrorRate
    groups: int | None = None

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
        """The improvements by training, for words and then for characters; empty if they were not measured."""
        every = (self.words.improvement, self.characters.improvement)
        return tuple(improvement for improvement in every if improvement is not None)

    def to_json(self) -> JsonObject:
        """Return the entry of this split in metrics.json; it has no loss if that is unknown."""
        values = super().to_json()
        return {name: value for name, value in values.items() if name != "loss" or not math.isnan(value)}

    @classmethod
    def from_json(cls, split: str, values: JsonObject) -> Self:
        """Read back what :meth:`to_json` returned."""
        return super().from_json(split, {"loss": math.nan, **values})

    def figures(self) -> JsonObject:
        """Return the metrics for metrics.json."""
        return {
            "wer": self.wer,
            "wer_interval": list(self.wer_interval),
            "cer": self.cer,
            "cer_interval": list(self.cer_interval),
            **({} if self.accuracy is None else {"accuracy": self.accuracy}),
            "words": self.words.to_json(),
            "characters": self.characters.to_json(),
            **({} if self.groups is None else {"groups": self.groups}),
        }

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        """Return the fields from what :meth:`figures` returned."""

        def read(name: str, key: str) -> JsonObject:
            return {**values[key], "rate": values[name], "interval": values[f"{name}_interval"]}

        return {
            "accuracy": values.get("accuracy"),
            "words": ErrorRate.from_json(WORD_ERROR_RATE, read("wer", "words")),
            "characters": ErrorRate.from_json(CHARACTER_ERROR_RATE, read("cer", "characters")),
            "groups": values.get("groups"),
        }
