"""What a network learns from, whatever its task."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Examples(Protocol):
    """What a task's network learns from: images, or texts."""

    @property
    def names(self) -> tuple[str, ...]:
        """What people call each: a path, a row of a table."""

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each, as far as they can be had quickly: they travel with the data."""

    @property
    def stamps(self) -> list[str]:
        """What tells on this machine that an example has changed."""

    def __len__(self) -> int: ...

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return some, in this order."""
