"""Values of a table: numbers, weights, and what it does not support: not comparable, or not convertible to text."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.console.text import show_value
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError
from keras_transfer.registry import did_you_mean

_ALWAYS_USABLE = (str, bytes, bytearray, bool, float, type(None))
# By default, Python refuses to write integers with more digits as text.
_MOST_DIGITS = 4300


def is_usable(value: Any) -> bool:
    """Return whether a value can be compared with itself and written as text.

    A signalling NaN cannot be compared, a number of more than 4,300 digits cannot be written. For lists, tuples, sets,
    mappings and arrays, this has to hold for all elements.
    """
    if isinstance(value, (*_ALWAYS_USABLE, np.generic)):
        return True
    if isinstance(value, np.ndarray):
        return value.dtype != object or all(map(is_usable, value.flat))
    try:
        if isinstance(value, Mapping):
            return all(map(is_usable, (*value.keys(), *value.values())))
        if isinstance(value, (list, tuple, set, frozenset)):
            return all(map(is_usable, value))
        if isinstance(value, Decimal) and value.is_finite() and value.adjusted() >= _MOST_DIGITS:
            return False  # as an integer, it has that many digits
        str(value)
        value != value  # noqa: B015 - it is asked whether that raises
    except Exception:  # what an object of any class raises, or a list that contains itself
        return False
    return True


def check_values(where: str | Path, table: pd.DataFrame, columns: Iterable[str], *, first: int = 0) -> None:
    """Refuse columns with values that cannot be compared or written as text, before anything else looks at them.

    Args:
        columns: The columns that are used; they may be missing.
        first: The position of the first row, if the table is a part of another one.

    Raises:
        DataError: With the values and the row numbers, counted from 1.
    """
    for column in dict.fromkeys(columns):
        if column not in table.columns or table[column].dtype != object:
            continue
        values = table[column].tolist()
        if set(map(type, values)) <= set(_ALWAYS_USABLE):
            continue
        wrong = [row for row, value in enumerate(values) if not is_usable(value)]
        if wrong:
            shown = some([f"{show_value(values[row])} in row {first + row + 1}" for row in wrong], 5)
            raise DataError(
                f"{where}: column {column!r} has values that cannot be compared or written as text: {shown}. "
                "Write long numbers as text, and leave missing values empty."
            )


def check_weights(name: str, rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Return a column as weights.

    Raises:
        DataError: There is no such column, or its values are not weights.
    """
    if column not in rows.columns:
        raise DataError(f"data.weight: {name} has no column {column!r}. {did_you_mean(column, map(str, rows.columns))}")
    weights = pd.Series(to_numbers(rows[column].tolist()), rows.index)
    if weights.isna().any() or (weights < 0).any() or not (weights > 0).any():
        raise DataError(
            f"data.weight: column {column!r} of {name} must have numbers of at least 0, and not only zeros. "
            "Fix them, or name another column."
        )
    return weights


def is_whole(value: Any) -> bool:
    """Return whether a number has no decimals; NaN and infinity are not whole."""
    if isinstance(value, Decimal):  # the remainder of a large one is an error
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, int) or bool(math.isfinite(value) and value % 1 == 0)


def to_numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Return numbers, and text that is a number, as ``float64[n]``.

    Args:
        values: Any values that :func:`check_values` accepts. Values that are not numbers become NaN, and numbers that
            are too large for float64 become infinite.
    """
    try:
        numbers = np.asarray(pd.to_numeric(pd.Series(values, dtype=object), errors="coerce"))
    except OverflowError:
        return to_numbers([math.inf if _is_too_large(value) else value for value in values])
    if np.iscomplexobj(numbers):
        return to_numbers([math.nan if isinstance(value, complex) else value for value in values])
    return np.asarray(numbers, np.float64)


def _is_too_large(value: Any) -> bool:
    largest = sys.float_info.max
    return isinstance(value, int | Fraction) and not -largest <= value <= largest
