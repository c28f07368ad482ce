"""Columns of labels: one class per row, indicators of 0 and 1, labels with a separator between them, numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.data.tables.label_lists import parse_list
from keras_transfer.data.tables.tables import check_filled, check_written, kind_of, some_values, take_texts
from keras_transfer.data.tables.values import is_whole, to_numbers
from keras_transfer.errors import DataError


def read_labels(file: Path, table: pd.DataFrame, column: str) -> list[str]:
    """Return the class of each row as text.

    Args:
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
            "Give each row one class, as text or as a number; for lists of labels, set data.target=multilabel."
        )
    if all(isinstance(value, str) and _is_list_of_texts(value) for value in values):
        raise DataError(
            f"{file}: column {column!r} has lists of labels, and data.target is class: {some_values(values, [0])}. "
            "Set data.target=multilabel, or give each row one class without brackets."
        )
    if len(set(kinds)) > 1:
        first = [kinds.index(kind) for kind in sorted(set(kinds))]
        raise DataError(
            f"{file}: column {column!r} mixes {' and '.join(sorted(set(kinds)))}: {some_values(values, first)}. "
            "Write all classes as text, or all as numbers."
        )
    # Whole numbers that were read as floats lose their .0 again.
    whole = kinds[0] == "number" and all(map(is_whole, values))
    return [str(int(value)) if whole else str(value) for value in values]


def _is_list_of_texts(value: str) -> bool:
    return any(isinstance(item, str) for item in parse_list(value) or ())


def read_marks(file: Path, table: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Return a column of 0 and 1, or of true and false, as ``bool[rows]``."""
    check_filled(file, table, column)
    values = table[column].tolist()
    numbers = to_numbers(values)
    wrong = np.flatnonzero(~np.isin(numbers, (0.0, 1.0))).tolist()
    if wrong:
        raise DataError(
            f"{file}: column {column!r} has values other than 0 and 1: {some_values(values, wrong)}. "
            "With data.target=multilabel, write 1 if a row has the label, else 0; or name one column of labels and "
            "set data.separator."
        )
    return numbers == 1.0


def split_labels(file: Path, table: pd.DataFrame, column: str, separator: str) -> list[tuple[str, ...]]:
    """Return the labels of each row of a column with a separator between them; an empty row has none."""
    check_written(file, table, column)
    values, wrong = take_texts(table, column)
    if wrong:
        raise DataError(
            f"{file}: column {column!r} has values that are not text: {some_values(values, wrong)}. "
            f"Write a row's labels as text with {separator!r} between them."
        )
    parts = [[part.strip() for part in value.split(separator)] for value in values]
    return [tuple(sorted({part for part in row if part})) for row in parts]


# A blank is often part of a label, so that it is considered only if there is no other separator.
_SEPARATORS = ("|", ";", ",", "\t", "/")


def find_separators(values: Sequence[Any]) -> dict[str, int]:
    """Return possible separators between labels, with the number of values that contain each, most frequent first.

    Args:
        values: A column; only text counts. A blank is likely if the words between blanks are no more than the values.
    """
    texts = [value for value in values if isinstance(value, str)]
    found = {mark: sum(mark in text.strip() for text in texts) for mark in _SEPARATORS}
    if not any(found.values()):
        distinct = set(texts)
        spaced = sum(" " in text.strip() for text in texts)
        found = {" ": spaced if len({word for text in distinct for word in text.split()}) <= len(distinct) else 0}
    return {mark: found[mark] for mark in sorted(found, key=lambda mark: -found[mark]) if found[mark]}


def describe_separators(found: Mapping[str, int]) -> str:
    """Return separators and the number of their rows, in words."""
    return ", ".join(f"{mark!r} in {count:,} row{'s' * (count != 1)}" for mark, count in found.items())


def refuse_text(file: Path, table: pd.DataFrame, column: str) -> DataError:
    """Return the error for a column that has neither lists nor a separator."""
    values = table[column].tolist()
    filled = np.flatnonzero(table[column].notna().to_numpy()).tolist()
    likely = find_separators(values)
    hint = f" Likely separators: {describe_separators(likely)}." if likely else ""
    return DataError(
        f"{file}: column {column!r} has values that are not lists of labels: {some_values(values, filled[:1])}. With "
        "data.target=multilabel, set data.separator to the text between labels, or name columns of 0 and 1: "
        f"data.label=[a, b].{hint}"
    )


def read_numbers(file: Path, table: pd.DataFrame, column: str) -> list[float]:
    """Return a column of finite numbers; in a CSV, of text that is a number."""
    check_filled(file, table, column)
    values = table[column].tolist()
    numbers = to_numbers(values)
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
