"""Decoded recordings: samples at one rate, concatenated in one array; also with their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.storage.stored_arrays import StoredArray


@dataclass(frozen=True)
class Samples:
    """Decoded recordings.

    Attributes:
        sample_rate: Sample rate in Hz.
        data: ``float32[samples of all]``, a memory map.
        bounds: ``int64[n, 2]``, where each starts and ends.
        content_hashes: The hash of each recording when it was decoded: later changes of a file do not affect its
            samples.
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
        return self.recordings.names

    @property
    def fingerprints(self) -> list[str]:
        return [f"{name}\0{content}" for name, content in zip(self.names, self.content_hashes, strict=True)]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of samples of each."""
        return self.bounds[:, 1] - self.bounds[:, 0]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Samples":
        index = np.asarray(rows, np.int64)
        hashes = [self.content_hashes[row] for row in index]
        return Samples(self.recordings.select(index), self.sample_rate, self.data, self.bounds[index], hashes)

    def read(self, row: int, start: int = 0, count: int | None = None) -> NDArray[np.float32]:
        """Return a recording, or a part of it.

        Args:
            count: Maximum number of samples; by default all of them.

        Returns:
            ``float32[samples]``.

        Raises:
            OSError: The samples cannot be read.
        """
        first, end = self.bounds[row].tolist()
        first = min(first + start, end)
        return np.asarray(self.data.read(first, end if count is None else min(first + count, end)), np.float32)


Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Utterances(Samples):
    """Decoded recordings, each with tokens.

    Attributes:
        tokens: ``int32[tokens of all]``.
        token_bounds: ``int64[n, 2]``, where the tokens of each start and end.
        identities: The hash of each recording alone, which identifies rows; :attr:`content_hashes`, which are the cache
            keys of features, are those of recording and tokens.
    """

    tokens: NDArray[np.int32]
    token_bounds: Rows
    identities: list[str]

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each recording, as for a source that is read again."""
        return [f"{name}\0{content}" for name, content in zip(self.names, self.identities, strict=True)]

    @property
    def token_lengths(self) -> Rows:
        """The number of tokens of each."""
        return self.token_bounds[:, 1] - self.token_bounds[:, 0]

    def select(self, rows: Sequence[int] | Rows) -> "Utterances":
        index = np.asarray(rows, np.int64)
        hashes = [self.content_hashes[row] for row in index]
        return replace(
            self,
            recordings=self.recordings.select(index),
            bounds=self.bounds[index],
            content_hashes=hashes,
            identities=[self.identities[row] for row in index],
            token_bounds=self.token_bounds[index],
        )

    def pad_tokens(self, rows: Rows, length: int, padding: int) -> NDArray[np.int32]:
        """Return the tokens of a batch, ``int32[rows, length]``.

        Args:
            length: At least that of the longest row.
        """
        inside = np.arange(length) < self.token_lengths[rows, None]
        padded = np.full(inside.shape, padding, np.int32)
        padded[inside] = self.tokens[(self.token_bounds[rows, :1] + np.arange(length))[inside]]
        return padded
