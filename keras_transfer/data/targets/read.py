"""What each example is to be told as: one class, several labels, or numbers.

A target knows what the label columns of a table mean, how their values become arrays, by which strata rows are divided,
and what stands against learning from them. What a network makes of it is the business of ``heads``.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config import DataConfig
from keras_transfer.data.targets.base import Target
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.none import NoTarget
from keras_transfer.data.targets.numbers import NumberTarget

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
