"""The target of a model: the interface that classes, labels, numbers and transcripts share."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.config.data import DataConfig
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError

Targets = NDArray[Any]
"""``int64[n]``, an index into the names, for classes; ``float32[n, outputs]`` for labels (0 or 1) and for numbers;
``object[n]`` of ``str`` for transcripts."""


@dataclass(frozen=True)
class Labels:
    """The labels of a table.

    Attributes:
        values: The label of each row: a class, a tuple of labels, a tuple of numbers or a transcript.
        notes: Lines for the user on how the columns were read.
    """

    values: list[Any]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target(ABC):
    """What a model predicts for the examples of a source.

    Attributes:
        names: The names of the model's outputs, in their order.
    """

    names: tuple[str, ...]

    names_key: ClassVar[str]
    """The key of the names in data.json."""

    _plural: ClassVar[str]

    @classmethod
    @abstractmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
        """Return the labels of a table's rows, and the names of the model's outputs.

        Raises:
            DataError: The label columns have other values.
        """

    @abstractmethod
    def encode(self, values: Iterable[Any]) -> Targets:
        """Encode labels that :meth:`read` returned as an array; the names may be in another order."""

    @abstractmethod
    def decode(self, row: Any) -> Any:
        """Convert a row of the array for data.json and fingerprints."""

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return the stratum of each row; by default, there is one for all.

        Args:
            least: The minimum number of rows of a stratum; a class is always a stratum.
            most: The maximum number of strata; classes are always strata.
        """
        return [self.names[0]] * len(targets)

    @abstractmethod
    def describe(self, targets: Targets) -> dict[str, Any]:
        """Return the entry in data.json on the rows of a split."""

    @abstractmethod
    def headline(self) -> str:
        """Return what is predicted, in two words: ``3 classes``."""

    @abstractmethod
    def count(self, targets: Targets) -> str:
        """Return the number of training examples, in words."""

    @abstractmethod
    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Refuse a source whose labels cannot be learned.

        Args:
            values: The labels of its rows, as :meth:`read` returns them.

        Raises:
            DataError: With the source's name.
        """

    @abstractmethod
    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse splits from which the target cannot be learned.

        Args:
            splits: The targets by split; ``train`` is among them.

        Raises:
            DataError: With the counts.
        """

    def describe_gaps(self, splits: Mapping[str, Targets]) -> list[str]:
        """Return lines on classes or labels that do not occur in an evaluated split."""
        return []

    def check_names(self, source: str, names: Sequence[str], values: Sequence[Any]) -> None:
        """Refuse a source with classes or labels that the model does not predict.

        Args:
            values: The labels of its rows, as :meth:`read` returns them.

        Raises:
            DataError: With the unknown names.
        """
        unknown = sorted(self._occurring(names, values) - set(self.names))
        if unknown:
            raise DataError(
                f"{source} has {self._plural} that are not in the training data: {', '.join(unknown)}. "
                f"{self._plural.capitalize()}: {', '.join(self.names)}. Fix the names, or remove these rows."
            )

    def _occurring(self, names: Sequence[str], values: Sequence[Any]) -> set[str]:
        return set(names)

    def fingerprint(self, row: Any) -> str:
        """Return a row of the array as text."""
        value = self.decode(row)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class CountedTarget(Target):
    """Classes or labels, whose rows can be counted."""

    @abstractmethod
    def _count(self, targets: Targets) -> NDArray[np.int64]:
        """The number of rows of each class or label."""

    def describe(self, targets: Targets) -> dict[str, Any]:
        return {self._plural: dict(zip(self.names, self._count(targets).tolist(), strict=True))}

    def headline(self) -> str:
        return f"{len(self.names)} {self._plural}"

    def describe_gaps(self, splits: Mapping[str, Targets]) -> list[str]:
        lines = []
        for split, targets in splits.items():
            absent = [self.names[index] for index in np.flatnonzero(self._count(targets) == 0)]
            if split != "train" and len(targets) and absent:
                shown = some(map(repr, absent), 5)
                lines.append(
                    f"Warning: the {split} split has no rows of {self._plural}: {shown}. Its metrics leave them out."
                )
        return lines


def describe_range(counts: NDArray[Any]) -> str:
    """Return the minimum and maximum of counts, such as ``3 to 12``."""
    few, many = int(counts.min()), int(counts.max())
    return f"{few:,}{f' to {many:,}' if many > few else ''}"
