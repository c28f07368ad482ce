"""No target: examples for pre-training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.targets.base import Labels, Target, Targets


class NoTarget(Target):
    """No target: examples without labels. The label of each row is ``text``."""

    names_key = "class_names"
    _plural = "classes"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
        return Labels(["text"] * len(table), NO_TARGET.names)

    def encode(self, values: Iterable[Any]) -> Targets:
        return np.zeros(len(list(values)), np.int64)

    def decode(self, row: Any) -> str:
        return self.names[0]

    def describe(self, targets: Targets) -> dict[str, Any]:
        return {}

    def headline(self) -> str:
        return "no labels"

    def count(self, targets: Targets) -> str:
        return f"{len(targets):,} examples"

    def check_names(self, source: str, names: Sequence[str], values: Sequence[Any]) -> None:
        """Accept any labels; they are not used."""

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        """Accept any examples."""

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        """Accept any examples."""


NO_TARGET = NoTarget(("text",))
