"""No target: texts for pre-training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.config import DataConfig
from keras_transfer.data.targets.base import Target, Targets


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
