"""The output of the frozen stages for the rows of a split, as a dataset to train or evaluate on."""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.readers.base import Reader, Rows, map_ahead, rows_dataset
from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.data.splits.splits import Split
from keras_transfer.networks.types import Batches, IntArray, Tensor, Tensors
from keras_transfer.storage.cache_store import Stored
from keras_transfer.storage.stored_arrays import StoredArray


@dataclass(frozen=True)
class Features:
    """The tensors at the boundary after the frozen stages, for every row of a split.

    Attributes:
        arrays: ``[views, rows, ...]``, one for each tensor; ``[views, tokens of all rows, ...]`` for those with a
            value per token. They are read batch by batch.
        indices: ``int64[rows]``, the index of each row in the arrays.
        starts: ``int64[rows of the arrays + 1]``, where each row starts in arrays with a value per token.
        has_tokens: Whether each of the arrays has a value per token.
        extra_inputs: Names of the network's inputs that the later stages read.
    """

    arrays: Stored
    split: Split
    indices: Rows
    starts: Rows
    has_tokens: tuple[bool, ...]
    extra_inputs: tuple[str, ...]
    reader: Reader

    @property
    def views(self) -> int:
        """The number of views."""
        return self.arrays[0].shape[0]

    def select(self, split: Split, rows: Rows) -> "Features":
        """Return the features of some rows, which are a separate split."""
        return replace(self, split=split, indices=self.indices[rows])

    def batches(
        self,
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int,
        epochs: range,
        skip: int = 0,
        share: Share = WHOLE,
    ) -> Batches:
        """Make a dataset of training batches, in the same order as examples.

        Args:
            targets: ``float32[rows, outputs]``, as the head encodes them.
            weights: ``float32[rows]``.
            batch_size: Rows per step, at most.

        Returns:
            Batches of (features, targets, weights).
        """
        order = self.reader.order(self.split, batch_size=batch_size, seed=seed, epochs=epochs, skip=skip)

        def batch(epoch: Tensor, rows: Tensor) -> tuple[Tensors, Tensor, Tensor]:
            view = (epoch - epochs.start) % self.views
            return self._read(view, rows), tf.gather(targets, rows), tf.gather(weights, rows)

        return map_ahead(share.divide(order), batch)

    def evaluation_batches(
        self, targets: NDArray[np.float32], *, batch_size: int, view: int = 0, share: Share = WHOLE
    ) -> Batches:
        """Make a dataset of (features, targets) of one view, in the reader's order of evaluation."""
        order = self.reader.evaluation_order(self.split, batch_size=batch_size)
        rows = rows_dataset(share.divide_evaluation(order))
        return map_ahead(rows, lambda rows: (self._read(view, rows), tf.gather(targets, rows)))

    def _read(self, view: Tensor | int, rows: Tensor) -> Tensors:
        kinds = [tf.float32] * len(self.arrays) + [tf.int32] * len(self.extra_inputs)
        tensors = tf.numpy_function(self._gather, [view, rows], kinds, stateful=False)
        for tensor, array, has_tokens in zip(tensors, self.arrays, self.has_tokens, strict=False):
            tensor.set_shape([None, None, *array.shape[2:]] if has_tokens else [None, *array.shape[2:]])
        for tensor in tensors[len(self.arrays) :]:
            tensor.set_shape([None, None])
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def _gather(self, view: IntArray, rows: Rows) -> list[NDArray[Any]]:
        indices = self.indices[rows]
        batch: list[NDArray[Any]] = [
            self._pad(array, int(view), indices) if has_tokens else array.take(int(view), indices).astype(np.float32)
            for array, has_tokens in zip(self.arrays, self.has_tokens, strict=True)
        ]
        return batch + (self.reader.gather(self.split, rows, self.extra_inputs) if self.extra_inputs else [])

    def _pad(self, tokens: StoredArray, view: int, indices: Rows) -> NDArray[np.float32]:
        starts, stops = self.starts[indices], self.starts[indices + 1]
        padded = np.zeros((len(indices), self.reader.padded_length(stops - starts), *tokens.shape[2:]), np.float32)
        for own, start, stop in zip(padded, starts, stops, strict=True):
            own[: stop - start] = tokens.take(view, np.arange(start, stop))
        return padded


def has_tokens(tensor: keras.KerasTensor) -> bool:
    """Whether a tensor has a value for each token, ``[batch, any length, width]``."""
    return len(tensor.shape) == 3 and tensor.shape[1] is None


def feature_width(tensor: keras.KerasTensor) -> tuple[int, ...]:
    """Return the shape of a tensor for one example or, if it has a value for each token, for one token."""
    shape: tuple[int, ...] = tensor.shape[2:] if has_tokens(tensor) else tensor.shape[1:]
    return shape
