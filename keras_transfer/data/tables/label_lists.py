"""Columns of lists of labels: real lists, or their text as written by Python, pandas, NumPy or JSON."""

import ast
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.data.tables.tables import check_written, is_utf8, kind_of, some_values
from keras_transfer.data.tables.values import is_whole
from keras_transfer.errors import DataError

_MOST_CHARACTERS = 100_000
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_STRING = r"""u?'(?:[^'\\\n]|\\.)*'|u?"(?:[^"\\\n]|\\.)*\""""
_NUMBER = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
# Lists of NumPy's scalars are written as [np.str_('a'), np.int64(1)].
_ITEM = re.compile(rf"(?P<numpy>np\.\w+\()?(?:(?P<text>{_STRING})|(?P<number>{_NUMBER})(?![\w.]))(?(numpy)\))")
_GAP = re.compile(r"\s*(,?)\s*")

Items = list[Any]


def parse_list(text: str) -> Items | None:
    """Return the items of a list, a tuple or a set that Python, NumPy or JSON wrote.

    Args:
        text: Any text. It is not evaluated: only quoted texts and numbers are read.

    Returns:
        Texts and numbers; None if it is not such a list.

    Example:
        >>> parse_list("['sound', 'phone']"), parse_list('["sound"]'), parse_list("['a' 'b']"), parse_list("sound")
        (['sound', 'phone'], ['sound'], ['a', 'b'], None)
    """
    text = text.strip()
    if call := re.fullmatch(r"(?:frozenset|set)\((.*)\)", text, re.DOTALL):
        text = call[1].strip() or "[]"
    if not 2 <= len(text) <= _MOST_CHARACTERS or _CLOSING.get(text[0]) != text[-1]:
        return None
    inner, items, gaps, place = text[1:-1].strip(), [], [], 0
    while place < len(inner):
        match = _ITEM.match(inner, place)
        item = None if match is None else _read_item(match)
        if match is None or item is None:
            return None
        gap = _GAP.match(inner, match.end())
        items.append(item)
        gaps.append(gap[1] if gap and gap[0] else "")
        if not gap or (not gap[0] and gap.end() < len(inner)):  # 'a''b' is one text for Python
            return None
        place = gap.end()
    return items if _is_regular(text[0], gaps) else None


def _read_item(match: "re.Match[str]") -> str | int | float | None:
    if match["number"]:
        try:
            return int(match["number"]) if re.fullmatch("[+-]?[0-9]+", match["number"]) else float(match["number"])
        except ValueError:  # more digits than Python reads as a number
            return None
    token = match["text"].removeprefix("u")
    if token.startswith('"'):
        try:
            return str(json.loads(token))
        except ValueError:
            pass  # Python has escapes that JSON does not have
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes
            return str(ast.literal_eval(token))
    except (ValueError, SyntaxError):
        return None


def _is_regular(bracket: str, gaps: Sequence[str]) -> bool:
    """Whether items are separated by commas, the last one being optional, or by blanks, as in NumPy arrays."""
    if all(gap == "," for gap in gaps[:-1]) and (bracket != "(" or "," in gaps or not gaps):
        return True
    return bracket == "[" and not any(gaps)


def _to_items(cell: Any) -> Items | None:
    """The items of a list, or None."""
    if isinstance(cell, str):
        return parse_list(cell)
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple | set | frozenset):
        return None
    items = [item.item() if isinstance(item, np.generic) else item for item in cell]
    return [item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else item for item in items]


def read_lists(file: Path, table: pd.DataFrame, column: str, separator: str | None) -> list[tuple[str, ...]] | None:
    """Return the labels of each row of a column of lists.

    Args:
        column: Lists in all rows, or text that is a list; an empty row has no labels, like an empty list.
        separator: The recipe's ``data.separator``.

    Returns:
        The labels of each row, without blanks at their ends; None if it is not a column of lists.

    Raises:
        DataError: Some rows have lists and others do not, or the items are not labels.
    """
    check_written(file, table, column)
    absent = table[column].map(_is_absent).tolist()
    cells = [None if no else cell for cell, no in zip(table[column].tolist(), absent, strict=True)]
    lists = [[] if cell is None else _to_items(cell) for cell in cells]
    wrong = [row for row, items in enumerate(lists) if items is None]
    likely = [row for row, cell in enumerate(cells) if _is_surely_a_list(cell, lists[row])]
    if wrong and not likely and not _all_in_brackets(cells):
        return None
    if wrong and (likely or separator is None or _all_in_brackets(cells)):
        which = f", but not in all rows: {some_values(cells, wrong)}" if likely else f": {some_values(cells, wrong)}"
        raise DataError(
            f"{file}: column {column!r} has labels in brackets{which}. Write every row as a list with quotes, such as "
            "['a', 'b'], or every row as text and set data.separator."
        )
    if all(cell is None for cell in cells):
        return None
    return _to_names(file, column, cells, [items or [] for items in lists])


def _is_absent(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell is pd.NA or (isinstance(cell, float | np.floating) and bool(np.isnan(cell)))


def _is_surely_a_list(cell: Any, items: Items | None) -> bool:
    """Whether a cell is certainly a list, and not text with a separator: [1] may be either."""
    if isinstance(cell, str):
        quoted = re.match(r"\s*[\[({]\s*u?['\"]", cell) is not None and _CLOSING[cell.strip()[0]] == cell.strip()[-1]
        return quoted or (items is not None and any(isinstance(item, str) for item in items))
    return items is not None and cell is not None


def _all_in_brackets(cells: Sequence[Any]) -> bool:
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    return bool(texts) and all(re.fullmatch(r"\[[^\[\]]*\]", text) for text in texts)


def _to_names(file: Path, column: str, cells: Sequence[Any], lists: Sequence[Items]) -> list[tuple[str, ...]]:
    kinds = [{kind_of(item) for item in items} for items in lists]
    other = [row for row, found in enumerate(kinds) if found - {"text", "number"}]
    other += [row for row, items in enumerate(lists) if any(isinstance(i, float) and not np.isfinite(i) for i in items)]
    if other:
        raise DataError(
            f"{file}: column {column!r} has lists of values that are not labels: {some_values(cells, sorted(other))}. "
            "Write labels as text or as numbers."
        )
    if len(set().union(*kinds)) > 1:
        first = [next(row for row, found in enumerate(kinds) if kind in found) for kind in ("text", "number")]
        raise DataError(
            f"{file}: column {column!r} has lists of text and of numbers: "
            f"{some_values(cells, first)}. Write all labels as text, or all as numbers."
        )
    numbers = [item for items in lists for item in items if not isinstance(item, str)]
    if numbers and set(numbers) <= {0, 1} and any(len(items) > len(set(items)) for items in lists):
        raise DataError(
            f"{file}: column {column!r} has a 0 or 1 for each label and no names: {some_values(cells, [0])}. "
            "Write the names of a row's labels, or a column for each label and data.label=[a, b]."
        )
    whole = all(map(is_whole, numbers))
    names = [
        [item if isinstance(item, str) else str(int(item) if whole else item) for item in items] for items in lists
    ]
    unwritten = [row for row, items in enumerate(names) if not all(map(is_utf8, items))]
    if unwritten:
        raise DataError(
            f"{file}: column {column!r} has labels that are not UTF-8: {some_values(cells, unwritten)}. Fix them."
        )
    return [tuple(sorted({name.strip() for name in items if name.strip()})) for items in names]


def describe_lists(column: str) -> str:
    """Return the line for users about a column of lists."""
    return f"Column {column!r} has lists of labels."
