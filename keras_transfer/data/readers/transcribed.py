"""Recordings of speech and their transcripts as tf.data, for networks that are trained to predict the next token."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.augmentation import AudioAugmentationConfig, SpeechAugmentationConfig
from keras_transfer.data.examples.samples import Samples, Utterances
from keras_transfer.data.readers.base import PLAIN, Rows, View, divide_rows
from keras_transfer.data.readers.recordings import AudioReader, check_seconds, decode_split
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.readers.tokens import IDS, order_by_length
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError, list_lines
from keras_transfer.networks.types import Array, Dataset, Tensor, Tensors
from keras_transfer.storage.content_hashes import hash_content

SAMPLES = "samples"
# Some backends compile each shape separately.
_GRAIN = 8
# Automatic lengths are whole tenths of a second.
_STEPS_PER_SECOND = 10
_TEST = "test"


class TranscriptTokenizer(Protocol):
    """Converts transcripts to tokens of a network, and back."""

    @property
    def pieces(self) -> Sequence[bytes]:
        """The UTF-8 bytes of each token; empty for special ones."""

    @property
    def timestamp_begin(self) -> int | None:
        """The token of 0 s; each further token is 0.02 s later. None for networks without timestamps."""

    @property
    def end(self) -> int:
        """The token that ends a transcript."""

    def encode(self, text: str) -> Sequence[int]:
        """Return the tokens of a text, without special ones."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; special ones are left out."""

    def save(self, folder: Path) -> None:
        """Write the tokenizer to a folder."""


class SpeechReader(AudioReader):
    """Reads recordings and their transcripts.

    A network takes ``samples``, ``float32[batch, samples]``, and ``token_ids``, ``int32[batch, tokens]``: the prompt,
    then the transcript. It is trained to predict the next token at each position. A predictor takes samples alone,
    ``float32[batch, time]``.
    """

    names = (IDS,)
    writes = True

    def __init__(
        self,
        *,
        tokenizer: TranscriptTokenizer,
        prompt: Sequence[int],
        longest_text: int,
        augmentation: SpeechAugmentationConfig,
        **options: Any,
    ) -> None:
        # A transcript belongs to a whole recording.
        changes = AudioAugmentationConfig(**augmentation.model_dump(), crop=False)
        super().__init__(augmentation=changes, padding="silence", **options)
        self.tokenizer, self.prompt, self._longest_text = tokenizer, tuple(prompt), longest_text

    @classmethod
    def fit_transcribed(
        cls,
        splits: Sequence[Split],
        *,
        sample_rate: int,
        seconds: float | Literal["auto"],
        shortest: int,
        longest: int | None,
        augmentation: SpeechAugmentationConfig,
        **options: Any,
    ) -> tuple[Self, list[Split]]:
        """Decode splits, each recording once, tokenize transcripts, and choose the network's length.

        Args:
            splits: The training rows come first; their examples are recordings and their targets transcripts.
            seconds: Length of the network's input; auto: all training and validation recordings are whole.
            longest: Maximum number of samples; None if there is no bound.

        Returns:
            The reader, and the splits with samples and tokens for examples.

        Raises:
            ConfigError: The backbone does not support this length.
            DataError: Some cannot be decoded, are longer, or have a transcript that is too long for the decoder.
        """
        check_seconds(seconds, sample_rate, shortest, longest)
        decoded = [decode_split(split, sample_rate, cached=True) for split in splits]
        lengths = [cast(Samples, split.examples).lengths for split in decoded]
        if seconds == "auto":
            with_loss = (own for split, own in zip(splits, lengths, strict=True) if split.name != _TEST and len(own))
            # A recording that is slowed down takes longer.
            samples = _round_up(max(float(own.max()) for own in with_loss) * (1.0 + augmentation.speed), sample_rate)
            samples = max(samples if longest is None else min(samples, longest), shortest)
        else:
            samples = round(seconds * sample_rate)
        for split, own in zip(decoded, lengths, strict=True):
            _refuse_long(split, own, samples, sample_rate)
        reader = cls(sample_rate=sample_rate, samples=samples, augmentation=augmentation, **options)
        return reader, [reader._tokenize(split) for split in decoded]

    def prepare(self, split: Split) -> Split:
        """Return a split with samples, and with tokens if its targets are transcripts."""
        return self._tokenize(super().prepare(split))

    def _tokenize(self, split: Split) -> Split:
        if isinstance(split.examples, Utterances):
            return split
        samples, texts = cast(Samples, split.examples), split.targets
        # Inputs of predictions have no transcripts.
        ids = [[*self.prompt, *self.tokenizer.encode(text)] if isinstance(text, str) else [] for text in texts]
        lengths = np.array([len(own) for own in ids], np.int64)
        long = np.flatnonzero(lengths > self._longest_text).tolist()
        if long:
            names = samples.names
            lines = [f"{names[row]}: {lengths[row]:,} tokens" for row in long]
            raise DataError(
                f"{len(long)} {split.name} transcripts are longer than the {self._longest_text} tokens that the "
                f"decoder takes:\n{list_lines(lines)}\nDivide these recordings, or leave them out."
            )
        ends = np.cumsum(lengths)
        tokens = np.array([token for own in ids for token in own], np.int32)
        contents = [
            content if own == [] else hash_content(content.encode(), np.array(own, np.int32).tobytes())
            for content, own in zip(samples.content_hashes, ids, strict=True)
        ]
        return split.with_examples(
            Utterances(
                recordings=samples.recordings,
                sample_rate=samples.sample_rate,
                data=samples.data,
                bounds=samples.bounds,
                content_hashes=contents,
                identities=list(samples.content_hashes),
                tokens=tokens,
                token_bounds=np.stack([ends - lengths, ends], axis=1),
            )
        )

    def order(self, split: Split, *, batch_size: int, seed: int, epochs: range, skip: int = 0) -> Dataset:
        """Make a dataset of the rows of each training step, whose transcripts have similar lengths."""
        return order_by_length(self.lengths(split), batch_size=batch_size, seed=seed, epochs=epochs, skip=skip)

    def evaluation_order(self, split: Split, *, batch_size: int, view: View = PLAIN) -> list[Rows]:
        """Return the rows from the shortest transcript to the longest; for whole recordings, by their own length."""
        if view.whole:
            return super().evaluation_order(split, batch_size=batch_size, view=view)
        return divide_rows(np.argsort(self.lengths(split), kind="stable"), batch_size)

    def load(self, split: Split, view: View) -> Callable[[Tensor], Tensors]:
        """Return a function from row numbers to samples and tokens, or only to samples if recordings are whole."""
        load = super().load(split, view)
        return load if view.whole else lambda rows: {SAMPLES: load(rows), IDS: self._load_tokens(split, rows)}

    def make_batch(self, split: Split) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensors]:
        make = super().make_batch(split)

        def make_both(epoch: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensors:
            samples, targets, weights = make(epoch, rows, targets, weights)
            return {SAMPLES: samples, IDS: self._load_tokens(split, rows)}, targets, weights

        return make_both

    def _load_tokens(self, split: Split, rows: Tensor) -> Tensor:
        (tokens,) = tf.numpy_function(lambda rows: self.gather(split, rows, (IDS,)), [rows], [tf.int32], stateful=False)
        return tf.ensure_shape(tokens, [None, None])

    def lengths(self, split: Split) -> Rows:
        """Return the number of tokens of each transcript, including the prompt."""
        return _utterances(split).token_lengths

    def padded_length(self, lengths: Rows) -> int:
        """Return the next multiple of eight, up to the maximum of the decoder."""
        return min(-(-int(lengths.max()) // _GRAIN) * _GRAIN, self._longest_text)

    def gather(self, split: Split, rows: Rows, names: Sequence[str]) -> list[Array]:
        utterances = _utterances(split)
        length = self.padded_length(utterances.token_lengths[rows])
        return [utterances.pad_tokens(rows, length, self.tokenizer.end) for _ in names]

    def describe(self, split: Split, views: Sequence[View]) -> dict[str, Any]:
        """Return what recordings depend on, and the prompt."""
        return {**super().describe(split, views), "prompt": list(self.prompt), "longest_text": self._longest_text}

    def report(self, splits: Sequence[Split]) -> dict[str, Any]:
        """Return the length of the network's input, and the maximum number of tokens of a transcript in each split."""
        most = {split.name: int(self.lengths(split).max()) for split in splits if len(split)}
        return {**super().report(splits), "tokens": most, "longest_text": self._longest_text}

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder / TOKENIZER)


def _round_up(samples: float, sample_rate: int) -> int:
    step = sample_rate // _STEPS_PER_SECOND
    return -(-int(samples) // step) * step


def _refuse_long(split: Split, lengths: NDArray[np.int64], samples: int, sample_rate: int) -> None:
    long = np.flatnonzero(lengths > samples).tolist()
    if not long or split.name == _TEST:  # they are transcribed in windows
        return
    names = split.examples.names
    lines = [f"{names[row]}: {lengths[row] / sample_rate:.1f} s" for row in long]
    raise DataError(
        f"{len(long)} {split.name} recordings are longer than the {samples / sample_rate:g} s that the network hears "
        f"at once, so that it cannot learn their transcripts:\n{list_lines(lines)}\nDivide them, set data.seconds to "
        "more if the network takes it, or leave them out."
    )


def _utterances(split: Split) -> Utterances:
    return cast(Utterances, split.examples)
