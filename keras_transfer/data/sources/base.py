"""What every source becomes: one table of rows, and the names of what is told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config import DataConfig
from keras_transfer.data.examples.images import EncodedImages
from keras_transfer.data.tables.tables import (
    SPLIT_NAMES,
    check_columns,
    check_filled,
    check_written,
    further_columns,
    some,
)
from keras_transfer.data.targets.read import read_targets
from keras_transfer.errors import DataError

# What names of sources begin with that stand for no path.
TFDS, PYTHON = "tfds:", "<python: "


@dataclass(frozen=True)
class Source:
    """Labelled examples before they are divided.

    Attributes:
        name: What the recipe calls it.
        root: The folder that the rows' names are relative to; a table whose rows are the examples.
        rows: A row an example, in an order that is the same on every machine, numbered from 0: ``path`` of an image
            file (relative to the root), or for texts ``name`` (the same, or the row of a table), ``text`` and for pairs
            ``text_pair``; ``label`` (what it is told as: a class, a tuple of labels, or a tuple of numbers), ``split``
            (train, validation or test where the source says so, else empty) and whatever further columns there are.
        class_names: The classes, labels or columns of numbers in the order of the model's outputs.
        encoded: The images of all rows, where they are no files.
        notes: What is worth knowing of how it was read: lines for people.
    """

    name: str
    root: Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]
    encoded: EncodedImages | None = None
    notes: tuple[str, ...] = ()


def take_columns(
    where: Path, table: pd.DataFrame, config: DataConfig, examples: Mapping[str, str], *, drop: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Check a table, and return its rows with the columns that every source has, and what there is to tell.

    Args:
        where: Where the table comes from, for messages.
        table: What was read.
        config: Names the columns of labels, splits and groups.
        examples: The keys of the recipe that name the columns of examples, and these columns.
        drop: Further columns that make room for ours.

    Returns:
        Its rows without the columns of examples: ``label``, ``split``, and what further columns there are. One that
        merely has one of our names is not taken for ours. And the names of the model's outputs.

    Raises:
        DataError: A column is not there, or holds something else than is due.
    """
    check_columns(where, [str(column) for column in table.columns], config, examples)
    if table.empty:
        raise DataError(f"{where} has no rows. Give it a row for each example.")
    for column in further_columns(config):
        check_written(where, table, column)
    labels, names = read_targets(where, table, config)
    split: Any = "" if config.split is None else _read_split(where, table, config.split)
    if config.group is not None:
        check_filled(where, table, config.group)
    rows = table.drop(columns=[*examples.values(), *config.label_columns, "split", *drop], errors="ignore")
    return rows.assign(label=pd.Series(labels, rows.index, object), split=split), names


def _read_split(where: Path, table: pd.DataFrame, column: str) -> list[str]:
    check_filled(where, table, column)
    values = [str(value) for value in table[column]]
    counts = Counter(value for value in values if value not in SPLIT_NAMES)
    if counts:
        found = some([f"{value!r} in {count} rows" for value, count in counts.most_common()])
        raise DataError(f"data.split: column {column!r} of {where} holds {found}. Known: {', '.join(SPLIT_NAMES)}.")
    return values
