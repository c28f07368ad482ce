"""Texts as tf.data: tokenized once, in batches of similar length, in an order that depends only on (seed, epoch)."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast

import numpy as np
import tensorflow as tf

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.readers.base import (
    CLIENTS,
    INPUTS,
    PLAIN,
    Reader,
    Rows,
    View,
    divide_rows,
)
from keras_transfer.data.readers.tokens import IDS, MASK, Tokens, choose_lengths, collect_tokens, order_by_length
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError
from keras_transfer.networks.types import Array, Dataset, JsonObject, Tensor, Tensors

TOKENIZER = "tokenizer"
"""Folder of the tokenizer in a run folder."""

_CHUNK = 1024
_WHOLE_SHARE = 0.99


class Encoder(Protocol):
    """A tokenizer with the special tokens of its family."""

    columns: Sequence[str]
    padding: Mapping[str, int]

    def __call__(self, segments: tuple[Tensor, ...], length: int) -> dict[str, Tensor]:
        """Turn one or two ``string[n]`` into ``[n, length]`` for each column, in a graph."""

    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> dict[str, Array]:
        """Do the same with texts."""

    def save(self, folder: Path) -> None:
        """Write the tokenizer to a folder."""

    def describe(self) -> JsonObject:
        """Return what a client needs to tokenize itself: ``lower_case`` and ``special_tokens``."""

    def to_tokenizer_json(self) -> str | None:
        """Return the tokenizer as Hugging Face's ``tokenizer.json``; None if that cannot be exact."""

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""

    @property
    def resources(self) -> Sequence[Any]:
        """The resources of a graph: vocabularies."""

    @property
    def separator_ids(self) -> Sequence[int]:
        """Tokens that are around texts and between the two of a pair."""

    @property
    def neutral_id(self) -> int:
        """The token with the least meaning."""

    def surfaces(self, ids: Sequence[int]) -> list[bytes | None]:
        """Return the spelling of tokens in a text: empty if unknown, None for a word that is not in the vocabulary."""


class TextReader(Reader):
    """Tokenizes texts, truncates them, and makes batches of them with little padding.

    Inputs are ``int32[batch, tokens]`` by name.

    Args:
        segments: Number of texts per example: 1, or 2 for pairs.
        limit: Maximum number of tokens of an example; training rows may be truncated to fewer.
        pads_to_longest: False for a network whose output depends on padding: every batch then has that length.
        lengths: The lengths to which batches are padded, the last one being the limit; by default any length.
    """

    tensor_endpoint = "serve_tokens"

    def __init__(
        self,
        encoder: Encoder,
        *,
        segments: int,
        limit: int,
        pads_to_longest: bool,
        lengths: Sequence[int] | None = None,
    ) -> None:
        self.encoder, self._segments, self.limit = encoder, segments, limit
        self._pads_to_longest = pads_to_longest
        self._lengths = tuple(lengths or range(1, limit + 1)) if pads_to_longest else (limit,)
        names = ("text",) if segments == 1 else ("text_a", "text_b")
        self.raw_inputs = tuple(tf.TensorSpec([None], tf.string, name) for name in names)
        self.tensor_inputs = tuple(tf.TensorSpec([None, None], tf.int32, name) for name in encoder.columns)
        self.resources, self.names = encoder.resources, tuple(encoder.columns)

    @classmethod
    def fit(
        cls,
        encoder: Encoder,
        splits: Sequence[Split],
        *,
        sequence_length: int | Literal["auto"],
        predict_length: int | Literal["auto"] | None = None,
        maximum_length: int,
        pads_to_longest: bool,
        **options: Any,
    ) -> tuple[Self, list[Split]]:
        """Tokenize splits, each text once, and choose lengths by those of the first split.

        Args:
            splits: The training rows come first; their examples are texts.
            sequence_length: Maximum number of tokens of an example; auto: 99 % of the training texts are whole.
            predict_length: The same for all rows except training rows, if longer.
            pads_to_longest: Whether the network's output does not depend on padding.

        Returns:
            The reader, and the splits with tokens for examples.

        Raises:
            ConfigError: The network does not support that many tokens, or ``predict_length`` is shorter than the
                training texts, or longer although the network's output depends on padding.
        """
        texts = [cast(Texts, split.examples) for split in splits]
        segments = len(texts[0].segments[0])
        wanted = {"sequence_length": sequence_length, "predict_length": predict_length or sequence_length}
        most = _find_most(wanted, maximum_length)
        # One more token than the limit shows which texts are too long.
        tokenized = [_tokenize(encoder, part, most + 1) for part in texts]
        training = tokenized[0].lengths
        whole = max(min(int(np.quantile(training, _WHOLE_SHARE, method="higher")), most), 4)
        length = whole if sequence_length == "auto" else sequence_length
        predicted = max(whole, length) if wanted["predict_length"] == "auto" else int(wanted["predict_length"])
        _check_predict_length(predicted, length, pads_to_longest)
        kept = [_cut(encoder, tokens, predicted if place else length) for place, tokens in enumerate(tokenized)]
        lengths = choose_lengths(kept[0].lengths, length)
        if predicted > length:
            lengths += choose_lengths(np.minimum(training, predicted)[training > length], predicted)
        reader = cls(
            encoder,
            segments=segments,
            limit=predicted,
            pads_to_longest=pads_to_longest,
            lengths=lengths,
            **options,
        )
        return reader, [split.with_examples(tokens) for split, tokens in zip(splits, kept, strict=True)]

    def prepare(self, split: Split) -> Split:
        tokens = _tokenize(self.encoder, cast(Texts, split.examples), self.limit + 1)
        return split.with_examples(_cut(self.encoder, tokens, self.limit))

    def order(self, split: Split, *, batch_size: int, seed: int, epochs: range, skip: int = 0) -> Dataset:
        """Make a dataset of the rows of each training step, which have similar lengths."""
        return order_by_length(self.lengths(split), batch_size=batch_size, seed=seed, epochs=epochs, skip=skip)

    def evaluation_order(self, split: Split, *, batch_size: int, view: View = PLAIN) -> list[Rows]:
        """Return the rows from the shortest to the longest."""
        return divide_rows(np.argsort(self.lengths(split), kind="stable"), batch_size)

    def load(self, split: Split, view: View) -> Callable[[Tensor], Tensors]:
        def load(rows: Tensor) -> Tensors:
            kinds = [tf.int32] * len(self.names)
            columns = tf.numpy_function(
                lambda rows: self.gather(split, rows, self.names), [rows], kinds, stateful=False
            )
            return self.arrange(*(tf.ensure_shape(column, [None, None]) for column in columns))

        return load

    def describe(self, split: Split, views: Sequence[View]) -> dict[str, Any]:
        """Return the maximum number of tokens, and whether batches are padded to the longest text."""
        return {"sequence_length": _tokens(split).limit, "pads_to_longest": self._pads_to_longest}

    def lengths(self, split: Split) -> Rows:
        """Return the number of tokens of each example."""
        return _tokens(split).lengths

    def padded_length(self, lengths: Rows) -> int:
        """Return the smallest of the chosen lengths that is sufficient."""
        longest = int(lengths.max())
        return next((length for length in self._lengths if length >= longest), self.limit)

    def gather(self, split: Split, rows: Rows, names: Sequence[str]) -> list[Array]:
        tokens = _tokens(split)
        return list(tokens.pad(rows, names, self.padded_length(tokens.lengths[rows])))

    def save(self, folder: Path) -> None:
        self.encoder.save(folder / TOKENIZER)

    def report(self, splits: Sequence[Split]) -> dict[str, Any]:
        """Return the lengths of sequences, the share of each split that was truncated, and how batches are padded."""
        cut = {split.name: float(_tokens(split).is_cut.mean()) for split in splits if len(split)}
        return {
            "sequence_length": _tokens(splits[0]).limit,
            "predict_length": self.limit,
            "cut": cut,
            "pads_to_longest": self._pads_to_longest,
            "padded_lengths": list(self._lengths),
        }

    def write_samples(self, split: Split, rows: Rows, folder: Path) -> None:
        """Write a JSON object for each, with the inputs of ``serving_default``."""
        texts = _tokens(split).texts
        for number, row in enumerate(rows):
            values = {spec.name: text for spec, text in zip(self.raw_inputs, texts.segments[row], strict=True)}
            (folder / f"{number:02}.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")

    def read_samples(self, folder: Path) -> Texts:
        files = sorted(folder.glob("*.json"))
        segments = [tuple(json.loads(file.read_text(encoding="utf-8")).values()) for file in files]
        return Texts(tuple(file.name for file in files), tuple(segments))

    @property
    def preprocessing(self) -> JsonObject:
        """Number of tokens, padding, and the tokenizer's description."""
        return {
            "kind": "text",
            "texts": len(self.raw_inputs),
            "length": self.limit,
            "pads_to_longest": self._pads_to_longest,
            "padding": dict(self.encoder.padding),
            **self.encoder.describe(),
        }

    def write_client(self, folder: Path) -> str | None:
        """Write ``inputs.py`` and ``tokenizer.json``, if the tokenizer can be converted."""
        content = self.encoder.to_tokenizer_json()
        if content is None:
            super().write_client(folder)
            return f"it takes tokens, as tokenizer.json cannot express {self.encoder.describe()['preprocessor']}"
        (folder / "tokenizer.json").write_text(content, encoding="utf-8")
        shutil.copyfile(CLIENTS / "texts.py", folder / INPUTS)
        return None

    def decode(self, *raw: Tensor) -> Tensors:
        """Tokenize ``string[batch]``, pad to the longest, or to the limit if the network needs that."""
        inputs = self.encoder(raw, self.limit)
        if not self._pads_to_longest:
            return inputs
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(inputs[MASK], tf.int32), axis=1))
        return {name: column[:, : tf.maximum(longest, 1)] for name, column in inputs.items()}

    def decode_checked(self, *raw: Tensor) -> tuple[Tensors, Tensor]:
        """Tokenize texts that are UTF-8; the tokenizer itself would read other bytes as some text."""
        read = [tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace") for text in raw]
        ok = tf.reduce_all(tf.stack([text == same for text, same in zip(raw, read, strict=True)]), axis=0)
        return self.decode(*(tf.where(ok, text, "") for text in raw)), ok

    def arrange(self, *tensors: Tensor) -> Tensors:
        return dict(zip(self.names, tensors, strict=True))

    def arrange_checked(self, *tensors: Tensor) -> tuple[Tensors, Tensor]:
        """Return inputs by name, with one token of padding in place of rows that no tokenizer returns."""
        # A network takes at least one token.
        missing = tf.maximum(1 - tf.shape(tensors[0])[1], 0)
        padded = [tf.pad(column, [[0, 0], [0, missing]]) for column in tensors]
        inputs = dict(zip(self.names, padded, strict=True))
        # Numbers of tokens beyond the vocabulary; segments and masks are 0 or 1.
        limits = {name: self.encoder.vocabulary_size if name == IDS else 2 for name in inputs}
        inside = [tf.reduce_all((x >= 0) & (x < limits[name]), axis=1) for name, x in inputs.items()]
        ok = tf.reduce_all(tf.stack([*inside, tf.reduce_any(inputs[MASK] > 0, axis=1)]), axis=0)
        first = tf.cast(tf.range(tf.shape(inputs[MASK])[1]) == 0, tf.int32)[None]
        neutral = {name: first if name == MASK else self.encoder.padding[name] for name in inputs}
        return {name: tf.where(ok[:, None], column, neutral[name]) for name, column in inputs.items()}, ok


def _tokens(split: Split) -> Tokens:
    return cast(Tokens, split.examples)


def _find_most(wanted: Mapping[str, int | Literal["auto"]], maximum_length: int) -> int:
    for key, length in wanted.items():
        if length != "auto" and length > maximum_length:
            raise ConfigError(
                f"data.{key}: this backbone takes {maximum_length} tokens at most. Received: {length}. "
                f"Use {maximum_length} or fewer, or auto."
            )
    return max(maximum_length if length == "auto" else length for length in wanted.values())


def _check_predict_length(predicted: int, length: int, pads_to_longest: bool) -> None:
    if predicted < length:
        raise ConfigError(
            f"data.predict_length must be at least the {length} tokens that training texts are cut to. "
            f"Received: {predicted}. Leave it out, or set data.sequence_length."
        )
    if predicted > length and not pads_to_longest:
        raise ConfigError(
            "data.predict_length: the output of this network depends on padding, and training texts are "
            f"padded to {length} tokens. Received: {predicted}. Leave it out."
        )


def _tokenize(encoder: Encoder, texts: Texts, length: int) -> Tokens:
    parts = (texts.segments[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    return collect_tokens(texts, (encoder.encode(part, length) for part in parts), encoder.padding, limit=length)


def _cut(encoder: Encoder, tokens: Tokens, length: int) -> Tokens:
    """Truncate to at most ``length`` tokens: longer texts are tokenized again, as the family truncates."""
    rows = np.flatnonzero(tokens.lengths > length)
    return tokens.replace_rows(rows, _tokenize(encoder, tokens.texts.select(rows), length))
