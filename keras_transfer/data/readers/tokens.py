"""Tokens without padding, and batches of texts of similar length.

KerasHub pads every text to the same length, 512 by default. Here a batch is as long as its longest text, rounded up to
one of a few lengths that are chosen for the given texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.readers.base import Rows, join_epochs, steps_per_epoch
from keras_transfer.networks.types import Dataset, Tensor

IDS, MASK, POSITIONS = "token_ids", "padding_mask", "mask_positions"
# Some backends compile each shape separately, so there should be few; with twelve, padding is a few per cent.
_MOST_LENGTHS = 12
# Texts are sorted within this number of batches: more would be less random, fewer would need more padding.
_POOL = 50


@dataclass(frozen=True)
class Tokens:
    """Tokenized texts.

    Attributes:
        columns: ``int32[all tokens]`` for each input of the network except the mask; the texts are concatenated.
        padding: The padding of each column.
        starts: ``int64[n]``, the offset of each text.
        lengths: ``int64[n]``, the number of tokens of each.
        is_cut: ``bool[n]``, whether the text was truncated.
        limit: Maximum number of tokens of a text.
    """

    texts: Texts
    columns: Mapping[str, NDArray[np.int32]]
    padding: Mapping[str, int]
    starts: Rows
    lengths: Rows
    is_cut: NDArray[np.bool_]
    limit: int

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def names(self) -> tuple[str, ...]:
        return self.texts.names

    @property
    def fingerprints(self) -> list[str]:
        return self.texts.fingerprints

    @property
    def content_hashes(self) -> list[str]:
        return self.texts.content_hashes

    @property
    def identities(self) -> list[str]:
        """The identities of the texts."""
        return self.texts.identities

    def select(self, rows: Sequence[int] | Rows) -> "Tokens":
        index = np.asarray(rows, np.int64)
        return replace(
            self,
            texts=self.texts.select(index),
            starts=self.starts[index],
            lengths=self.lengths[index],
            is_cut=self.is_cut[index],
        )

    def pad(self, rows: Rows, names: Sequence[str], length: int) -> list[NDArray[np.int32]]:
        """Pad some rows to a batch.

        Args:
            length: At least that of the longest row.

        Returns:
            ``int32[rows, length]`` for each name.
        """
        inside = np.arange(length) < self.lengths[rows, None]
        places = (self.starts[rows, None] + np.arange(length))[inside]
        batch = []
        for name in names:
            if name == MASK:
                batch.append(inside.astype(np.int32))
                continue
            padded = np.full(inside.shape, self.padding[name], np.int32)
            padded[inside] = self.columns[name][places]
            batch.append(padded)
        return batch

    def replace_rows(self, rows: Rows, others: "Tokens") -> "Tokens":
        """Return the same texts with other tokens for some of them, marked as truncated, and with the others' limit."""
        columns = {name: np.concatenate([column, others.columns[name]]) for name, column in self.columns.items()}
        starts, lengths, is_cut = self.starts.copy(), self.lengths.copy(), self.is_cut.copy()
        starts[rows] = others.starts + len(next(iter(self.columns.values())))
        lengths[rows], is_cut[rows] = others.lengths, True
        return replace(self, columns=columns, starts=starts, lengths=lengths, is_cut=is_cut, limit=others.limit)


def collect_tokens(
    texts: Texts, batches: Iterable[Mapping[str, NDArray[np.int32]]], padding: Mapping[str, int], *, limit: int
) -> Tokens:
    """Remove the padding from a tokenizer's batches, and concatenate them.

    Args:
        batches: ``int[batch, any length]`` by name; without a mask, everything that is not padding counts.
        padding: The padding of each column except the mask.
    """
    lengths = [np.zeros(0, np.int64)]
    columns = {name: [np.zeros(0, np.int32)] for name in padding if name != MASK}
    for batch in batches:
        mask = np.array(batch.get(MASK, batch[IDS] != padding[IDS]), bool)
        # A text without tokens gets one token of padding: the mean of nothing is NaN.
        mask[~mask.any(axis=1), 0] = True
        lengths.append(mask.sum(axis=1))
        for name, parts in columns.items():
            parts.append(np.asarray(batch[name], np.int32)[mask])
    length = np.concatenate(lengths).astype(np.int64)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    is_cut = np.zeros(len(length), bool)
    return Tokens(texts, joined, dict(padding), np.cumsum(length) - length, length, is_cut, limit)


def choose_lengths(lengths: Rows, longest: int) -> tuple[int, ...]:
    """Choose a few lengths for padding batches so that the padding is minimal.

    Args:
        lengths: ``int64[n]``, lengths of the texts.

    Returns:
        At most twelve, in ascending order; by dynamic programming over the lengths that occur.
    """
    # Rounding up reduces thousands of different lengths to a few hundred.
    grain = max(1, longest // 256)
    rounded = np.minimum(-(-lengths // grain) * grain, longest)
    values, counts = np.unique(np.append(rounded, longest), return_counts=True)
    counts[-1] -= 1
    rows, tokens = np.append(0, np.cumsum(counts)), np.append(0, np.cumsum(counts * values))
    # cost[i, j]: padding where values[i:j] are all padded to values[j - 1].
    i, j = np.ogrid[: len(values) + 1, : len(values) + 1]
    cost = (rows[j] - rows[i]) * values[np.maximum(j - 1, 0)] - (tokens[j] - tokens[i])
    cost = np.where(i < j, cost, np.inf)
    best, choices = cost[0], []
    for _ in range(min(_MOST_LENGTHS, len(values)) - 1):
        total = best[:, None] + cost
        choices.append(np.argmin(total, axis=0))
        best = np.minimum(total.min(axis=0), best)
    return _walk_back(cost, choices, values)


def _walk_back(cost: NDArray[np.float64], choices: Sequence[Rows], values: Rows) -> tuple[int, ...]:
    """The ends of the groups, from the last one to the first."""
    end, chosen = len(values), []
    for choice in [*reversed(choices), None]:
        chosen.append(int(values[end - 1]))
        end = 0 if choice is None else int(choice[end])
        if end == 0:
            break
    return tuple(reversed(chosen))


def draw_batches(lengths: Rows, *, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Divide rows into batches of similar length.

    Rows are shuffled, sorted by length within pools of fifty batches, cut evenly, and the batches shuffled again.

    Args:
        lengths: ``int64[n]``, lengths of the rows.
        batch_size: Maximum number of rows per batch.

    Returns:
        Row numbers of each batch; they depend only on the arguments.
    """
    random = np.random.default_rng([seed, epoch])
    steps = steps_per_epoch(len(lengths), batch_size)
    bounds = [step * len(lengths) // steps for step in range(steps + 1)]
    order = random.permutation(len(lengths))
    for first in range(0, steps, _POOL):
        begin, end = bounds[first], bounds[min(first + _POOL, steps)]
        pool = order[begin:end]
        order[begin:end] = pool[np.argsort(lengths[pool], kind="stable")]
    return [order[bounds[step] : bounds[step + 1]] for step in random.permutation(steps)]


def order_by_length(lengths: Rows, *, batch_size: int, seed: int, epochs: range, skip: int) -> Dataset:
    """Make the dataset of ``Reader.order`` for examples of many lengths: :func:`draw_batches` of each epoch.

    Args:
        lengths: ``int64[n]``, lengths of the rows.
        batch_size: Maximum number of rows per step.

    Returns:
        Pairs of an epoch, ``int64[]``, and row numbers, ``int64[batch]``.
    """
    steps = steps_per_epoch(len(lengths), batch_size)

    def draw(epoch: Tensor) -> tuple[Rows, Rows]:
        batches = draw_batches(lengths, batch_size=batch_size, seed=seed, epoch=int(epoch))
        return np.concatenate(batches), np.array([len(batch) for batch in batches])

    def batches_of(epoch: Tensor) -> Dataset:
        rows, sizes = tf.numpy_function(draw, [epoch], [tf.int64, tf.int64], stateful=False)
        rows, sizes = tf.ensure_shape(rows, [len(lengths)]), tf.ensure_shape(sizes, [steps])
        batches = tf.data.Dataset.from_tensor_slices(tf.RaggedTensor.from_row_lengths(rows, sizes))
        return batches.map(lambda rows: (epoch, rows))

    return join_epochs(batches_of, epochs=epochs, steps=steps, skip=skip)
