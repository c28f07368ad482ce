"""Recordings after they are decoded: samples at one rate, one recording after the other in one array."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.storage.stored_arrays import StoredArray


@dataclass(frozen=True)
class Samples:
    """Decoded recordings.

    Attributes:
        recordings: What they were decoded from.
        sample_rate: Of the samples, in Hz.
        data: ``float32[samples of all]``, read when an example is.
        bounds: ``int64[n, 2]``, where each starts and ends.
        content_hashes: The hash of each recording when it was decoded: what becomes of a file later changes no sample.
    """

    recordings: Recordings
    sample_rate: int
    data: StoredArray
    bounds: NDArray[np.int64]
    content_hashes: list[str]

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the recordings."""
        return self.recordings.names

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each."""
        return [f"{name}\0{content}" for name, content in zip(self.names, self.content_hashes, strict=True)]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of samples of each."""
        return self.bounds[:, 1] - self.bounds[:, 0]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Samples":
        """Return some, in this order; the samples are shared."""
        index = np.asarray(rows, np.int64)
        hashes = [self.content_hashes[row] for row in index]
        return Samples(self.recordings.select(index), self.sample_rate, self.data, self.bounds[index], hashes)

    def read(self, row: int, start: int = 0, count: int | None = None) -> NDArray[np.float32]:
        """Return a recording, or a part of it.

        Args:
            count: How many samples, at most; all by default.

        Returns:
            ``float32[samples]``.

        Raises:
            OSError: It cannot be read.
        """
        first, end = self.bounds[row].tolist()
        first = min(first + start, end)
        return np.asarray(self.data.read(first, end if count is None else min(first + count, end)), np.float32)
