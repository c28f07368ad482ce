"""One or several numbers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from keras_transfer.config.data import DataConfig
from keras_transfer.data.tables.label_columns import read_numbers
from keras_transfer.data.targets.base import Labels, Target, Targets
from keras_transfer.errors import DataError

_MOST_BINS = 10


class NumberTarget(Target):
    """One or more numbers.

    A row's label is a tuple of them.
    """

    names_key = "number_names"
    _plural = "numbers"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
        columns = [read_numbers(file, table, column) for column in config.label_columns]
        return Labels(list(zip(*columns, strict=True)), tuple(config.label_columns))

    def encode(self, values: Iterable[Any]) -> Targets:
        return np.array(list(values), np.float32).reshape(-1, len(self.names))

    def decode(self, row: Any) -> list[float]:
        """Return the numbers, rounded to the shortest decimals that identify them."""
        return [float(str(value)) for value in row]

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        """Return up to ten bins of equal counts; several numbers are binned by the mean of their ranks."""
        ranks = rankdata(rankdata(targets, axis=0).mean(axis=1), method="min") - 1
        bins = max(min(_MOST_BINS, most, len(targets) // least), 1)
        codes = (ranks * bins // len(targets)).astype(int)
        # If many rows have the same number, the next bin may have few.
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
        """Return mean, minimum and maximum of each number."""
        figures = {}
        for name, column in zip(self.names, targets.astype(np.float64).T, strict=True):
            if len(column):
                figures[name] = {"mean": column.mean(), "least": column.min(), "largest": column.max()}
        return {"numbers": figures}

    def headline(self) -> str:
        return f"{len(self.names)} number{'s' * (len(self.names) > 1)}"

    def count(self, targets: Targets) -> str:
        return f"{len(targets):,} examples of {self.headline()}"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Accept any numbers."""

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Refuse a number that is constant in the training rows."""
        train = splits["train"]
        for name, column in zip(self.names, train.T, strict=True):
            if column.min() == column.max():
                raise DataError(
                    f"The train split has {len(train)} rows, and column {name!r} is {column[0]:g} in all of them, so "
                    "that it cannot be learned. Add rows with other numbers, or remove the column."
                )
