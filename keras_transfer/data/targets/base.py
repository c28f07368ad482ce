"""What is predicted for an example: the interface that classes, labels and numbers share."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from numpy.typing import NDArray

from keras_transfer.config import DataConfig
from keras_transfer.errors import DataError

Targets = NDArray[Any]
"""``int64[n]``, an index into the names, for classes; ``float32[n, outputs]`` for labels (0 or 1) and for numbers."""


@dataclass(frozen=True)
class Target(ABC):
    """What the examples of a source are told as.

    Attributes:
        names: Of the model's outputs, in their order.
    """

    names: tuple[str, ...]

    names_key: ClassVar[str]
    """What data.json records the names under."""

    @classmethod
    @abstractmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> tuple[list[Any], tuple[str, ...]]:
        """Return what the label columns of a table say of each row, and the names of the model's outputs.

        Raises:
            DataError: They hold something else.
        """

    @abstractmethod
    def encode(self, values: Iterable[Any]) -> Targets:
        """Return what :meth:`read` gave as an array; the names may stand in another order."""

    @abstractmethod
    def decode(self, row: Any) -> Any:
        """Return a row of the array as data.json and fingerprints say it."""

    @abstractmethod
    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return the stratum of each row.

        Args:
            targets: Of the rows.
            least: How many rows a stratum must have; classes are strata whatever they have.
            most: How many strata there may be; classes are strata however many they are.
        """

    @abstractmethod
    def describe(self, targets: Targets) -> dict[str, Any]:
        """Return what data.json says of the rows of a split."""

    @abstractmethod
    def headline(self) -> str:
        """Return what is told, in two words."""

    @abstractmethod
    def count(self, targets: Targets) -> str:
        """Return how many examples there are to learn from, in words."""

    @abstractmethod
    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Refuse a source that has nothing to tell.

        Args:
            name: Of the source.
            values: What :meth:`read` gave of its rows.

        Raises:
            DataError: With the source's name.
        """

    @abstractmethod
    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse splits from which this cannot be learned.

        Args:
            splits: By name; ``train`` is among them.

        Raises:
            DataError: With the numbers.
        """

    def check_names(self, source: str, names: Sequence[str], values: Sequence[Any]) -> None:
        """Refuse a source that tells of something that the model does not know.

        Args:
            source: Its name.
            names: What it tells of.
            values: What :meth:`read` gave of its rows.

        Raises:
            DataError: With its names.
        """
        unknown = sorted(self._occurring(names, values) - set(self.names))
        if unknown:
            raise DataError(
                f"{source} has {self._plural} that the training data lacks: {', '.join(unknown)}. "
                f"{self._plural.capitalize()}: {', '.join(self.names)}."
            )

    def _occurring(self, names: Sequence[str], values: Sequence[Any]) -> set[str]:
        return set(names)

    _plural: ClassVar[str]

    def fingerprint(self, row: Any) -> str:
        """Return a row of the array as text."""
        said = self.decode(row)
        return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def describe_range(counts: NDArray[Any]) -> str:
    """Return the smallest and the largest of some counts, as in ``3 to 12``."""
    few, many = int(counts.min()), int(counts.max())
    return f"{few:,}{f' to {many:,}' if many > few else ''}"
