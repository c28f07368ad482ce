"""What each example is to be told as: one class, several labels, or numbers.

A target knows what the label columns of a table mean, how their values become arrays, by which strata rows are divided,
and what stands against learning from them. What a network makes of it is the business of ``heads``.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from keras_transfer.config import DataConfig
from keras_transfer.data.label_columns import read_labels, read_marks, read_numbers, split_labels
from keras_transfer.data.tables import some
from keras_transfer.errors import DataError

Targets = NDArray[Any]
"""``int64[n]``, an index into the names, for classes; ``float32[n, outputs]`` for labels (0 or 1) and for numbers."""

_MOST_BINS = 10


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


class ClassTarget(Target):
    """One class out of several."""

    names_key = "class_names"
    _plural = "classes"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> tuple[list[Any], tuple[str, ...]]:
        """Return the class of each row."""
        labels = read_labels(file, table, config.label_columns[0])
        return labels, tuple(sorted(set(labels)))

    def encode(self, values: Iterable[Any]) -> Targets:
        """Return ``int64[n]``."""
        indices = {name: index for index, name in enumerate(self.names)}
        return np.array([indices[value] for value in values], np.int64)

    def decode(self, row: Any) -> str:
        """Return the class."""
        return self.names[row]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return the classes."""
        return [self.names[index] for index in targets]

    def describe(self, targets: Targets) -> dict[str, Any]:
        """Return how many rows each class has."""
        return {"classes": dict(zip(self.names, self._count(targets).tolist(), strict=True))}

    def _occurring(self, names: Sequence[str], values: Sequence[Any]) -> set[str]:
        return set(values)  # a source may name classes that have no row

    def _count(self, targets: Targets) -> NDArray[np.int64]:
        return np.bincount(targets, minlength=len(self.names))

    def headline(self) -> str:
        """Return how many classes there are."""
        return f"{len(self.names)} classes"

    def count(self, targets: Targets) -> str:
        """Return how many examples each class has."""
        return f"{_span(self._count(targets))} examples in each of {len(self.names)} classes"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Refuse a single class, and classes of which most have a single row: they are something else."""
        if len(self.names) < 2:
            raise DataError(f"Data source {name} has one class: {self.names[0]!r}. A classifier needs at least two.")
        counts = Counter(values)
        single = [label for label, count in counts.items() if count == 1]
        if len(single) >= max(len(values) / 2, 10):
            raise DataError(
                f"Data source {name} has {len(counts):,} classes in {len(values):,} rows, and {len(single):,} of them "
                f"have one row: {some(single, 5)}. Does data.label name the column of classes?"
            )

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse splits in which a class has no row to be learned from, watched or judged by."""
        for name, targets in splits.items():
            counts = self._count(targets)
            absent = [index for index, count in enumerate(counts) if count == 0]
            if not absent or (not len(targets) and name != "train"):
                continue
            total = self._count(np.concatenate(list(splits.values())))
            numbers = ", ".join(f"{self.names[index]!r} ({total[index]} in all)" for index in absent[:5])
            more = f" and {len(absent) - 5} more classes" if len(absent) > 5 else ""
            raise DataError(
                f"The {name} split has {len(targets)} rows and none of {numbers}{more}. "
                "Add examples of them, or change data.validation and data.test."
            )


class MultilabelTarget(Target):
    """Any number of labels, none included.

    What a row says is a tuple of the names of its labels; the array has 1 for each of them and 0 for the others.
    """

    names_key = "label_names"
    _plural = "labels"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> tuple[list[Any], tuple[str, ...]]:
        """Return the labels of each row: of several columns of 0 and 1, or of one column with a separator."""
        if config.separator is not None:
            rows = split_labels(file, table, config.label_columns[0], config.separator)
            return rows, tuple(sorted({label for labels in rows for label in labels}))
        names = config.label_columns
        marks = np.array([read_marks(file, table, column) for column in names], bool).T
        return [tuple(name for name, mark in zip(names, row, strict=True) if mark) for row in marks], tuple(names)

    def encode(self, values: Iterable[Any]) -> Targets:
        """Return ``float32[n, labels]`` of 0 and 1."""
        indices = {name: index for index, name in enumerate(self.names)}
        rows = list(values)
        targets = np.zeros((len(rows), len(self.names)), np.float32)
        for row, labels in zip(targets, rows, strict=True):
            row[[indices[label] for label in labels]] = 1.0
        return targets

    def decode(self, row: Any) -> list[str]:
        """Return the labels."""
        return [name for name, mark in zip(self.names, row, strict=True) if mark]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return combinations of labels; those of fewest rows are thrown together."""
        rows = [" + ".join(self.decode(row)) or "no label" for row in targets]
        # Of combinations with as many rows, the one that comes first in the alphabet is kept.
        ranked = sorted(Counter(rows).items(), key=lambda item: (-item[1], item[0]))
        kept = {stratum for stratum, count in ranked[: max(most - 1, 1)] if count >= least}
        if sum(row not in kept for row in rows) < least:
            rest = ranked[0][0]  # too few to be a stratum of their own
        else:
            rest = "other combinations"
        return [row if row in kept else rest for row in rows]

    def describe(self, targets: Targets) -> dict[str, Any]:
        """Return how many rows have each label."""
        return {"labels": dict(zip(self.names, targets.sum(axis=0).astype(int).tolist(), strict=True))}

    def headline(self) -> str:
        """Return how many labels there are."""
        return f"{len(self.names)} labels"

    def count(self, targets: Targets) -> str:
        """Return how many examples each label has."""
        return f"{_span(targets.sum(axis=0).astype(int))} of {len(targets):,} examples with each of {self.headline()}"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Refuse a column in which no row has a label."""
        if not self.names:
            raise DataError(f"Data source {name} has no labels: data.label is empty in every row. Label some rows.")

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse training rows in which a label never, or always, occurs, and other rows without any label."""
        for name, targets in splits.items():
            if len(targets) and not targets.any():
                raise DataError(
                    f"The {name} split has {len(targets)} rows, and no row has a label. "
                    "Add rows, or change data.validation and data.test."
                )
        train = splits["train"]
        counts = train.sum(axis=0).astype(int)
        for number, word in ((0, "without"), (len(train), "all with")):
            found = [name for name, count in zip(self.names, counts, strict=True) if count == number]
            if found:
                raise DataError(
                    f"The train split has {len(train)} rows, {word} {some(map(repr, found), 5)}: nothing can be "
                    f"learned of that. Add rows {'with' if number == 0 else 'without'} it, or leave the label out."
                )


class NumberTarget(Target):
    """One or more numbers.

    What a row says is a tuple of them.
    """

    names_key = "number_names"
    _plural = "numbers"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> tuple[list[Any], tuple[str, ...]]:
        """Return the numbers of each row."""
        columns = [read_numbers(file, table, column) for column in config.label_columns]
        return list(zip(*columns, strict=True)), tuple(config.label_columns)

    def encode(self, values: Iterable[Any]) -> Targets:
        """Return ``float32[n, numbers]``."""
        return np.array(list(values), np.float32).reshape(-1, len(self.names))

    def decode(self, row: Any) -> list[float]:
        """Return the numbers as the shortest decimals that stand for them."""
        return [float(str(value)) for value in row]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return bins of as many rows each, at most ten; several numbers are binned by the mean of their ranks."""
        ranks = rankdata(rankdata(targets, axis=0).mean(axis=1), method="min") - 1
        bins = max(min(_MOST_BINS, most, len(targets) // least), 1)
        codes = (ranks * bins // len(targets)).astype(int)
        # Where many rows have one number, the bin after theirs may be left with few.
        joined = np.zeros(bins, int)
        filled, bin_ = 0, 0
        counts = np.bincount(codes, minlength=bins)
        for code, count in enumerate(counts):
            if filled >= least and counts[code:].sum() >= least:
                bin_, filled = bin_ + 1, 0
            joined[code] = bin_
            filled += count
        return [f"bin {joined[code] + 1}" for code in codes]

    def describe(self, targets: Targets) -> dict[str, Any]:
        """Return mean, least and largest of each number."""
        figures = {}
        for name, column in zip(self.names, targets.astype(np.float64).T, strict=True):
            if len(column):
                figures[name] = {"mean": column.mean(), "least": column.min(), "largest": column.max()}
        return {"numbers": figures}

    def headline(self) -> str:
        """Return how many numbers there are."""
        return f"{len(self.names)} number{'s' * (len(self.names) > 1)}"

    def count(self, targets: Targets) -> str:
        """Return how many examples there are."""
        return f"{len(targets):,} examples of {self.headline()}"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Any number will do."""

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse a number that is the same in all training rows."""
        train = splits["train"]
        for name, column in zip(self.names, train.T, strict=True):
            if column.min() == column.max():
                raise DataError(
                    f"The train split has {len(train)} rows, and column {name!r} is {column[0]:g} in all of them: "
                    "nothing can be learned of that. Add rows with other numbers, or leave the column out."
                )


class NoTarget(Target):
    """Nothing: texts that are learned from without labels. Each row says ``text``."""

    names_key = "class_names"
    _plural = "classes"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> tuple[list[Any], tuple[str, ...]]:
        """Return the same for each row."""
        return ["text"] * len(table), NO_TARGET.names

    def encode(self, values: Iterable[Any]) -> Targets:
        """Return ``int64[n]`` of 0, whatever the rows say."""
        return np.zeros(len(list(values)), np.int64)

    def decode(self, row: Any) -> str:
        """Return what each row says."""
        return self.names[0]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return one for all rows."""
        return [self.names[0]] * len(targets)

    def describe(self, targets: Targets) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def headline(self) -> str:
        """Return that there is nothing."""
        return "no labels"

    def count(self, targets: Targets) -> str:
        """Return how many examples there are."""
        return f"{len(targets):,} examples"

    def check_names(self, source: str, names: Sequence[str], values: Sequence[Any]) -> None:
        """Whatever it tells of is not looked at."""

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Any text will do."""

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Any text will do."""


NO_TARGET = NoTarget(("text",))

TARGETS: dict[str, type[Target]] = {
    "class": ClassTarget,
    "multilabel": MultilabelTarget,
    "number": NumberTarget,
    "none": NoTarget,
}
"""By the recipe's ``data.target``; ``none`` where labels are not looked at."""


def read_targets(file: Path, table: pd.DataFrame, config: DataConfig) -> tuple[list[Any], tuple[str, ...]]:
    """Return what the label columns of a table say of each row, and the names of the model's outputs.

    Args:
        file: Where the table comes from, for messages.
        table: What was read.
        config: Says which columns, and what they mean.

    Raises:
        DataError: A column is missing, or holds something else.
    """
    return TARGETS[config.target].read(file, table, config)


def _span(counts: NDArray[Any]) -> str:
    few, many = int(counts.min()), int(counts.max())
    return f"{few:,}{f' to {many:,}' if many > few else ''}"
