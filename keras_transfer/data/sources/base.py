"""A source: labelled examples as one table of rows, and the names of the model's outputs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.examples.files import EncodedFiles
from keras_transfer.data.tables.split_names import describe_names, find_split, find_twins
from keras_transfer.data.tables.tables import (
    SPLIT_NAMES,
    check_columns,
    check_filled,
    check_written,
    further_columns,
    some,
)
from keras_transfer.data.tables.values import check_values
from keras_transfer.data.targets.base import Labels
from keras_transfer.data.targets.read import read_targets
from keras_transfer.errors import DataError

# Prefixes of source names that are not paths.
TFDS, PYTHON = "tfds:", "<python: "


@dataclass(frozen=True)
class Source:
    """Examples before they are divided into splits.

    Attributes:
        name: The source's name in the recipe.
        root: The folder that the rows' names are relative to, or the table that the rows come from.
        rows: One row per example, in an order that is the same on every machine, numbered from 0. The columns: ``path``
            of a file, relative to the root; or for texts ``name`` (a path or a table row), ``text`` and for pairs
            ``text_pair``; ``label``, a class name, a tuple of labels, a tuple of numbers or a transcript; ``split``,
            which is train, validation or test if the source defines splits, else empty; and any further columns.
        class_names: The classes, labels or columns of numbers, in the order of the model's outputs. Numeric names in
            alphabetical order are sorted numerically, unless ``data.classes`` sets another order.
        encoded: The examples of all rows as encoded files, if they are not files of a folder.
        notes: Lines for the user on how the source was read.
        written: The classes or labels that rows have, as the source writes them, before renaming.
    """

    name: str
    root: Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]
    encoded: EncodedFiles | None = None
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def reads_labels(config: DataConfig) -> bool:
    """Return whether labels are read from a source; pre-training only reads examples."""
    return bool(config.label_columns)


def take_columns(
    where: Path, table: pd.DataFrame, config: DataConfig, examples: Mapping[str, str], *, drop: Sequence[str] = ()
) -> tuple[pd.DataFrame, Labels]:
    """Check a table; return its rows with the columns that all sources have, and its labels.

    Args:
        drop: Further columns to drop, because the source adds columns with these names.

    Returns:
        The rows without the columns of examples: ``label``, ``split``, and any further columns. A column that has one
        of these names by coincidence is not used. And the labels, with the names of the model's outputs.

    Raises:
        DataError: A column is missing, or its values are not of the expected kind.
    """
    check_columns(where, table.columns, config, examples)
    if not len(table):
        raise DataError(f"{where} has no rows. Add one row per example.")
    weight = [] if config.weight is None else [config.weight]
    check_values(where, table, [*examples.values(), *config.label_columns, *further_columns(config), *weight])
    for column in further_columns(config):
        check_written(where, table, column)
    labels = read_targets(where, table, config)
    split, notes = ("", ()) if config.split is None else _read_split(where, table, config.split)
    if config.group is not None:
        check_filled(where, table, config.group)
    rows = table.drop(columns=[*examples.values(), *config.label_columns, "split", *drop], errors="ignore")
    rows = rows.assign(label=pd.Series(labels.values, rows.index, object), split=split)
    return rows, replace(labels, notes=(*labels.notes, *notes))


def _read_split(where: Path, table: pd.DataFrame, column: str) -> tuple[list[str], tuple[str, ...]]:
    """The split of each row, and a line if the column uses other names for splits."""
    check_filled(where, table, column)
    values = [str(value) for value in table[column]]
    splits = [find_split(value) for value in values]
    counts = Counter(value for value, split in zip(values, splits, strict=True) if split is None)
    if counts:
        found = some([f"{value!r} in {count} rows" for value, count in counts.most_common()])
        raise DataError(
            f"data.split: column {column!r} of {where} has unknown values: {found}. Expected: {', '.join(SPLIT_NAMES)}."
        )
    for split, twins in find_twins(dict.fromkeys(values)).items():
        raise DataError(
            f"data.split: column {column!r} of {where} has {len(twins)} names of the {split} split: "
            f"{' and '.join(map(repr, twins))}. Use one of them."
        )
    names = describe_names(dict.fromkeys(values))
    notes = () if names is None else (f"Splits by column {column!r}: {names}",)
    return [str(split) for split in splits], notes
