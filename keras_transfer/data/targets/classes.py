"""One of several classes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.config.data import DataConfig
from keras_transfer.data.tables.label_columns import read_labels
from keras_transfer.data.tables.tables import some
from keras_transfer.data.targets.base import CountedTarget, Labels, Targets, describe_range
from keras_transfer.errors import DataError


class ClassTarget(CountedTarget):
    """One of several classes."""

    names_key = "class_names"
    _plural = "classes"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
        labels = read_labels(file, table, config.label_columns[0])
        return Labels(labels, tuple(sorted(set(labels))))

    def encode(self, values: Iterable[Any]) -> Targets:
        indices = {name: index for index, name in enumerate(self.names)}
        return np.array([indices[value] for value in values], np.int64)

    def decode(self, row: Any) -> str:
        return self.names[row]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        return [self.names[index] for index in targets]

    def _occurring(self, names: Sequence[str], values: Sequence[Any]) -> set[str]:
        return set(values)  # a source may have names of classes without rows

    def _count(self, targets: Targets) -> NDArray[np.int64]:
        return np.bincount(targets, minlength=len(self.names))

    def count(self, targets: Targets) -> str:
        return f"{describe_range(self._count(targets))} examples in each of {self.headline()}"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Refuse a single class, and classes that mostly have one row, since these are probably not classes."""
        if len(self.names) < 2:
            raise DataError(
                f"Data source {name} has only one class: {self.names[0]!r}. A classifier needs at least two. Add "
                "examples of another class, or set data.label to the column of classes."
            )
        counts = Counter(values)
        single = [label for label, count in counts.items() if count == 1]
        if len(single) >= max(len(values) / 2, 10):
            raise DataError(
                f"Data source {name} has {len(counts):,} classes in {len(values):,} rows, and {len(single):,} of them "
                f"have only one row: {some(single, 5)}. Set data.label to the column of classes."
            )

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse training rows that lack a class."""
        train = splits["train"]
        absent = np.flatnonzero(self._count(train) == 0).tolist()
        if not absent:
            return
        total = self._count(np.concatenate(list(splits.values())))
        numbers = ", ".join(f"{self.names[index]!r} ({total[index]} in all)" for index in absent[:5])
        more = f" and {len(absent) - 5} more classes" if len(absent) > 5 else ""
        raise DataError(
            f"The train split has {len(train)} rows, and none of {numbers}{more}. "
            "Add examples of these, change data.validation and data.test, or list the other classes in data.classes."
        )
