"""Columns of labels: one class per row, indicators of 0 and 1, lists of labels, numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.data.tables.tables import check_filled, check_written, kind_of, some_values
from keras_transfer.errors import DataError


def read_labels(file: Path, table: pd.DataFrame, column: str) -> list[str]:
    """Return the class of each row as text.

    Args:
        file: Where the table comes from, for messages.
        table: What was read.
        column: Text, numbers or booleans, but not a mixture: 5 and "5" may be one class or two.

    Raises:
        DataError: It has other values, is empty in a row, or is not UTF-8.
    """
    check_filled(file, table, column)
    check_written(file, table, column)
    values = table[column].tolist()
    kinds = [kind_of(value) for value in values]
    other = [n for n, kind in enumerate(kinds) if kind not in ("text", "number", "true or false")]
    if other:
        raise DataError(
            f"{file}: column {column!r} has values that are not classes: {some_values(values, other)}. "
            "Give each row one class, as text or as a number."
        )
    if len(set(kinds)) > 1:
        first = [kinds.index(kind) for kind in sorted(set(kinds))]
        raise DataError(
            f"{file}: column {column!r} mixes {' and '.join(sorted(set(kinds)))}: {some_values(values, first)}. "
            "Write all classes as text, or all as numbers."
        )
    # Whole numbers that were read as floats lose their .0 again.
    whole = kinds[0] == "number" and all(value % 1 == 0 for value in values)
    return [str(int(value)) if whole else str(value) for value in values]


def read_marks(file: Path, table: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Return a column of 0 and 1, or of true and false, as ``bool[rows]``."""
    check_filled(file, table, column)
    values = table[column].tolist()
    numbers = _to_numbers(values)
    wrong = np.flatnonzero(~np.isin(numbers, (0.0, 1.0))).tolist()
    if wrong:
        raise DataError(
            f"{file}: column {column!r} has values other than 0 and 1: {some_values(values, wrong)}. "
            "With data.target=multilabel, write 1 if a row has the label, else 0; or name one column of labels and "
            "set data.separator."
        )
    return numbers == 1.0


def split_labels(file: Path, table: pd.DataFrame, column: str, separator: str) -> list[tuple[str, ...]]:
    """Return the labels of each row of a column with a separator between them; a row that is empty has none."""
    check_written(file, table, column)
    absent = table[column].isna().tolist()
    values = ["" if no else value for value, no in zip(table[column].tolist(), absent, strict=True)]
    wrong = [row for row, value in enumerate(values) if not isinstance(value, str)]
    if wrong:
        raise DataError(
            f"{file}: column {column!r} has values that are not text: {some_values(values, wrong)}. "
            f"Write a row's labels as text with {separator!r} between them."
        )
    parts = [[part.strip() for part in value.split(separator)] for value in values]
    return [tuple(sorted({part for part in row if part})) for row in parts]


def read_numbers(file: Path, table: pd.DataFrame, column: str) -> list[float]:
    """Return a column of finite numbers; in a CSV, of text that is a number."""
    check_filled(file, table, column)
    values = table[column].tolist()
    numbers = _to_numbers(values)
    # A number that is too large for float32 becomes infinite.
    with np.errstate(over="ignore"):
        finite = np.isfinite(numbers.astype(np.float32)) & np.array([not isinstance(value, bool) for value in values])
    wrong = np.flatnonzero(~finite).tolist()
    if wrong:
        raise DataError(
            f"{file}: column {column!r} has values that are not finite numbers: {some_values(values, wrong)}. "
            "With data.target=number, give each row a number; for classes, remove data.target."
        )
    return numbers.tolist()


def _to_numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers, and NaN for values that are not numbers."""
    return np.asarray(pd.to_numeric(pd.Series(values, dtype=object), errors="coerce"), np.float64)
