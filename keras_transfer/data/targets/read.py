"""Targets: one class, several labels, numbers, or a transcript for each example.

A target defines the meaning of a table's label columns, the encoding of their values as arrays, the strata by which
rows are divided, and which rows cannot be learned from. ``heads`` defines the network's part.
"""

from pathlib import Path

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.targets.base import Labels, Target
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.none import NoTarget
from keras_transfer.data.targets.numbers import NumberTarget
from keras_transfer.data.targets.transcripts import TranscriptTarget

TARGETS: dict[str, type[Target]] = {
    "class": ClassTarget,
    "multilabel": MultilabelTarget,
    "number": NumberTarget,
    "transcript": TranscriptTarget,
    "none": NoTarget,
}
"""By the recipe's ``data.target``; ``none`` if labels are not read."""


def read_targets(file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
    """Return the labels of a table's rows, and the names of the model's outputs.

    Args:
        config: Names the label columns; without any, labels are not read.

    Raises:
        DataError: A column is missing, or has other values.
    """
    return TARGETS[config.target].read(file, table, config)
