"""Examples before a reader makes inputs of them, whatever the task."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Examples(Protocol):
    """Examples of one kind: images, texts, or what a plugin's task defines."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each in messages: a path, a row of a table."""

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each; the same on every machine."""

    @property
    def content_hashes(self) -> list[str]:
        """A hash of the content of each, whatever its name and place; empty if it cannot be read."""

    def __len__(self) -> int: ...

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return some, in this order."""
