"""Any of several labels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.config.data import DataConfig
from keras_transfer.data.tables.label_columns import read_marks, refuse_text, split_labels
from keras_transfer.data.tables.label_lists import describe_lists, read_lists
from keras_transfer.data.tables.tables import some
from keras_transfer.data.targets.base import CountedTarget, Labels, Targets, describe_range
from keras_transfer.errors import DataError


class MultilabelTarget(CountedTarget):
    """Any number of labels, none included.

    A row's label is a tuple of names; the array has 1 for each of these and 0 for the others.
    """

    names_key = "label_names"
    _plural = "labels"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
        """Return the labels of each row, from columns of 0 and 1, or from one of lists or with a separator."""
        if config.separator is not None or isinstance(config.label, str):
            return _read_column(file, table, config.label_columns[0], config.separator)
        names = config.label_columns
        marks = np.array([read_marks(file, table, column) for column in names], bool).T
        values = [tuple(name for name, mark in zip(names, row, strict=True) if mark) for row in marks]
        return Labels(values, tuple(names))

    def encode(self, values: Iterable[Any]) -> Targets:
        indices = {name: index for index, name in enumerate(self.names)}
        rows = list(values)
        targets = np.zeros((len(rows), len(self.names)), np.float32)
        for row, labels in zip(targets, rows, strict=True):
            row[[indices[label] for label in labels]] = 1.0
        return targets

    def decode(self, row: Any) -> list[str]:
        return [name for name, mark in zip(self.names, row, strict=True) if mark]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return combinations of labels; the rarest ones are merged."""
        rows = [" + ".join(self.decode(row)) or "no label" for row in targets]
        # Of combinations with equal counts, the alphabetically first is kept.
        ranked = sorted(Counter(rows).items(), key=lambda item: (-item[1], item[0]))
        kept = {stratum for stratum, count in ranked[: max(most - 1, 1)] if count >= least}
        if sum(row not in kept for row in rows) < least:
            rest = ranked[0][0]  # too few rows for a stratum
        else:
            rest = "other combinations"
        return [row if row in kept else rest for row in rows]

    def _count(self, targets: Targets) -> NDArray[np.int64]:
        return targets.sum(axis=0).astype(np.int64)

    def count(self, targets: Targets) -> str:
        present = describe_range(self._count(targets))
        return f"{present} of {len(targets):,} examples with each of {self.headline()}"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Refuse a source in which no row has a label."""
        if not self.names:
            raise DataError(
                f"Data source {name} has no labels: the column of data.label is empty in every row. Label some rows."
            )

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse training rows in which a label occurs never or always, and splits without any label."""
        for name, targets in splits.items():
            if len(targets) and not targets.any():
                raise DataError(
                    f"The {name} split has {len(targets)} rows, and none has a label. "
                    "Add rows, or change data.validation and data.test."
                )
        train = splits["train"]
        counts = self._count(train)
        for number, word, wanted in ((0, "none with", "with"), (len(train), "all with", "without")):
            found = [name for name, count in zip(self.names, counts, strict=True) if count == number]
            if found:
                raise DataError(
                    f"The train split has {len(train)} rows, {word} {some(map(repr, found), 5)}, so that it cannot be "
                    f"learned. Add rows {wanted} it, or list the other labels in data.classes."
                )


def _read_column(file: Path, table: pd.DataFrame, column: str, separator: str | None) -> Labels:
    rows = read_lists(file, table, column, separator)
    notes = () if rows is None else (describe_lists(column),)
    if rows is None and separator is None:
        raise refuse_text(file, table, column)
    if rows is None:
        rows = split_labels(file, table, column, str(separator))
    return Labels(rows, tuple(sorted({label for labels in rows for label in labels})), notes)
