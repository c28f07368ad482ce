"""Recordings of speech with their transcripts: samples, and the tokens that a decoder reads while it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.samples import Samples

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Utterances(Samples):
    """Decoded recordings, each with tokens.

    Attributes:
        tokens: ``int32[tokens of all]``.
        token_bounds: ``int64[n, 2]``, where those of each start and end.
        identities: The hash of each recording alone, by which rows are known; :attr:`content_hashes`, by which features
            are cached, are those of recording and tokens.
    """

    tokens: NDArray[np.int32]
    token_bounds: Rows
    identities: list[str]

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each recording, as a source has them that is read again."""
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
            length: At least that of the longest.
        """
        inside = np.arange(length) < self.token_lengths[rows, None]
        padded = np.full(inside.shape, padding, np.int32)
        padded[inside] = self.tokens[(self.token_bounds[rows, :1] + np.arange(length))[inside]]
        return padded
