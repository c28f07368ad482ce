"""Texts with masked tokens, for a network to predict (Devlin et al. 2019, arXiv 1810.04805)."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.readers.base import PLAIN, Rows, View, map_ahead, rows_dataset
from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.data.readers.texts import Encoder, TextReader
from keras_transfer.data.readers.tokens import IDS, POSITIONS, Tokens
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError
from keras_transfer.networks.types import Batches, Tensor, Tensors

# Shares of the selected tokens that become the mask token, and a random token; the rest is unchanged.
_MASKED, _RANDOM = 0.8, 0.1
# An evaluation masks the same tokens every time; epochs count from 1 here.
_EVALUATION = 0


class MaskingEncoder(Encoder, Protocol):
    """A tokenizer that has a mask token."""

    @property
    def mask_id(self) -> int | None:
        """The id of the mask token."""

    @property
    def special_ids(self) -> Sequence[int]:
        """Tokens that are not part of a text."""

    @property
    def vocabulary_size(self) -> int:
        """The largest token id plus one."""


class MaskedTextReader(TextReader):
    """Reads texts, masks some of their tokens, and returns the positions and the original tokens.

    There is an additional input, ``mask_positions``, ``int32[batch, masked]``; targets are ``int32[batch, masked]``, -1
    if a shorter text has fewer masked tokens than its batch has positions.

    Args:
        rate: Share of a text's tokens to predict, excluding special tokens.
        seed: Determines the masked tokens, together with epoch and row.
    """

    # Masks change from epoch to epoch, so that texts have no constant features.
    mixes = True

    def __init__(self, encoder: MaskingEncoder, *, rate: float, seed: int, **options: Any) -> None:
        super().__init__(encoder, **options)
        self._rate, self._seed = rate, seed
        self._mask_id = np.int32(-1 if encoder.mask_id is None else encoder.mask_id)
        self._special = np.array(encoder.special_ids, np.int32)
        self._ordinary = np.setdiff1d(np.arange(encoder.vocabulary_size, dtype=np.int32), self._special)

    def check(self, splits: Sequence[Split]) -> None:
        """Refuse splits in which no text has two tokens, one to predict and one to predict it from.

        Raises:
            DataError: With the split.
        """
        for split in splits:
            tokens = cast(Tokens, split.examples)
            before = np.append(0, np.cumsum(~np.isin(tokens.columns[IDS], self._special)))
            most = (before[tokens.starts + tokens.lengths] - before[tokens.starts]).max(initial=0)
            if len(split) and most < 2:
                raise DataError(
                    f"No {split.name} text has two tokens or more: a masked token could not be predicted from others. "
                    f"Received: {len(split)} texts of at most {most}, such as {tokens.texts.segments[0]!r}. "
                    "Name longer texts."
                )

    def mask(self, split: Split, rows: Rows, epoch: int | None) -> tuple[list[NDArray[np.int32]], NDArray[np.int32]]:
        """Make a batch of masked texts.

        Args:
            rows: ``int64[batch]``.
            epoch: The epoch of the masks; None for those of evaluations.

        Returns:
            Inputs in the order of :attr:`names` and then the positions, and the original tokens.
        """
        tokens = cast(Tokens, split.examples)
        length = self.padded_length(tokens.lengths[rows])
        columns = dict(zip(self.names, tokens.pad(rows, self.names, length), strict=True))
        positions = np.zeros((len(rows), self._count(length)), np.int32)
        answers = np.full_like(positions, -1)
        for place, row in enumerate(rows):
            random = np.random.default_rng([self._seed, _EVALUATION if epoch is None else epoch + 1, row])
            ids = columns[IDS][place, : tokens.lengths[row]]
            maskable = np.flatnonzero(~np.isin(ids, self._special))
            if len(maskable) < 2:
                continue
            chosen = np.sort(random.choice(maskable, self._count(len(maskable)), replace=False))
            positions[place, : len(chosen)], answers[place, : len(chosen)] = chosen, ids[chosen]
            draw, other = random.random(len(chosen)), random.choice(self._ordinary, len(chosen))
            ids[chosen] = np.where(draw < _MASKED + _RANDOM, other, ids[chosen])
            ids[chosen[draw < _MASKED]] = self._mask_id
        return [*columns.values(), positions], answers

    def _count(self, tokens: int) -> int:
        return max(1, int(self._rate * tokens + 0.5))

    def make_batch(self, split: Split) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensors]:
        """Return a function from epoch, row numbers, targets (which are empty) and weights to a batch."""

        def make(epoch: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensors:
            return (*self._load(split, rows, epoch), weights)

        return make

    def evaluation_batches(
        self,
        split: Split,
        targets: NDArray[np.float32] | None = None,
        *,
        batch_size: int,
        view: View = PLAIN,
        share: Share = WHOLE,
    ) -> Batches:
        """Make a dataset of (inputs, targets) in the order of :meth:`evaluation_order`; the masks are always the same.

        Args:
            targets: Not used: the targets are the masked tokens.
        """
        rows = rows_dataset(share.divide_evaluation(self.evaluation_order(split, batch_size=batch_size)))
        return map_ahead(rows, lambda rows: self._load(split, rows, None))

    def _load(self, split: Split, rows: Tensor, epoch: Tensor | None) -> tuple[Tensors, Tensor]:
        """Load a batch in a graph."""
        names = [*self.names, POSITIONS]

        def load(rows: Rows, *epoch: Tensor) -> tuple[NDArray[np.int32], ...]:
            inputs, answers = self.mask(split, rows, int(epoch[0]) if epoch else None)
            return (*inputs, answers)

        kinds = [tf.int32] * (len(names) + 1)
        loaded = tf.numpy_function(load, [rows] if epoch is None else [rows, epoch], kinds, stateful=False)
        *inputs, answers = (tf.ensure_shape(tensor, [None, None]) for tensor in loaded)
        return dict(zip(names, inputs, strict=True)), answers
