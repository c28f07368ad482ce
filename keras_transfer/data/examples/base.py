"""Examples of any task, before a reader turns them into inputs."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Examples(Protocol):
    """Examples of one kind: images, texts, or what a plugin's task defines."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each example in messages: a path, a row of a table."""

    @property
    def fingerprints(self) -> list[str]:
        """Name and content hash of each example; the same on every machine."""

    @property
    def content_hashes(self) -> list[str]:
        """A hash of the content of each example, regardless of its name and location; empty if it cannot be read."""

    def __len__(self) -> int: ...

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return some of the examples, in this order."""
