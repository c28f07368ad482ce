"""The part of each batch that a process reads if several devices or processes share it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Share:
    """Consecutive slices of every global batch: the batches of all shares together are those of a single process.

    Attributes:
        first: Number of the first slice.
        count: Number of consecutive slices.
        of: Number of slices per batch; their sizes differ by at most one row.
    """

    first: int = 0
    count: int = 1
    of: int = 1

    def divide(self, order: Any) -> Any:
        """Cut training batches into slices before anything is read for them.

        Args:
            order: Dataset of pairs of an epoch, ``int64[]``, and row numbers, ``int64[batch]``.

        Returns:
            The same with the rows of slices, :attr:`count` for each batch.
        """
        if self.of == 1:
            return order

        def cut(epoch: Any, rows: Any) -> Any:
            n = tf.shape(rows, out_type=tf.int64)[0]
            own = tf.data.Dataset.range(self.first, self.first + self.count)
            return own.map(lambda number: (epoch, rows[number * n // self.of : (number + 1) * n // self.of]))

        slices = order.flat_map(cut)
        batches = int(order.cardinality())
        if batches < 0:  # after skipped steps, their number is unknown
            return slices
        return slices.apply(tf.data.experimental.assert_cardinality(batches * self.count))

    def divide_evaluation(self, batches: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Cut evaluation batches, some of which may be small, into slices that have at least one row each.

        Returns:
            Row numbers of each slice, :attr:`count` for each batch.
        """
        if self.of == 1:
            return list(batches)
        whole = _join_small(batches, self.of)
        own = range(self.first, self.first + self.count)
        return [rows[n * len(rows) // self.of : (n + 1) * len(rows) // self.of] for rows in whole for n in own]

    def check(self, name: str, rows: int) -> None:
        """Refuse a split that leaves a device without a row.

        Raises:
            DataError: It has fewer rows than there are devices.
        """
        if 0 < rows < self.of:
            raise DataError(
                f"The {name} split has fewer rows than devices ({self.of}). Received: {rows}. "
                "Use fewer devices (distribution.devices), or more rows."
            )


def _join_small(batches: Sequence[NDArray[np.int64]], least: int) -> list[NDArray[np.int64]]:
    """Join batches of fewer rows with the next one, and the last one with the one before it."""
    joined: list[NDArray[np.int64]] = []
    for rows in batches:
        if joined and len(joined[-1]) < least:
            joined[-1] = np.concatenate([joined[-1], rows])
        else:
            joined.append(rows)
    if len(joined) > 1 and len(joined[-1]) < least:
        joined[-2:] = [np.concatenate(joined[-2:])]
    return joined


WHOLE = Share()
