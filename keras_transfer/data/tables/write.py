"""Write tables: whole or not at all, in the format that the suffix names."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from keras_transfer.storage.atomic import whole

_ROWS = 1000


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a table.

    Missing values are empty in CSV and null elsewhere. Lists and mappings are JSON in CSV. A byte that was not UTF-8
    when the table was read is written as it was.

    Args:
        file: Of one of :data:`WRITABLE`; its folder exists.
        table: Its columns have unique names.

    Raises:
        CheckpointError: It cannot be written.
    """
    with whole(file) as unfinished:
        _WRITERS[file.suffix.lower()](unfinished, table)


def _write_delimited(delimiter: str) -> Callable[[Path, pd.DataFrame], None]:
    def write(file: Path, table: pd.DataFrame) -> None:
        def lines() -> Iterator[str]:
            yield _to_line(list(table.columns), delimiter)
            for row in _rows(table):
                yield _to_line([_to_cell(value) for value in row], delimiter)

        _write_lines(file, lines())

    return write


def _to_line(cells: Sequence[str], delimiter: str) -> str:
    with io.StringIO(newline="") as line:
        csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(cells)
        return line.getvalue()


def _write_jsonl(file: Path, table: pd.DataFrame) -> None:
    columns = list(table.columns)
    _write_lines(
        file,
        (
            json.dumps(dict(zip(columns, map(_to_plain, row), strict=True)), ensure_ascii=False) + "\n"
            for row in _rows(table)
        ),
    )


def _write_parquet(file: Path, table: pd.DataFrame) -> None:
    # JSON may have names that are not Unicode.
    names = [str(name).encode("utf-8", "backslashreplace").decode() for name in table.columns]
    columns = [_to_column(table[name]) for name in table.columns]
    try:
        parquet.write_table(pa.table(columns, names), file)
    except pa.ArrowException:  # a value that Parquet does not have, such as an empty mapping
        columns = [
            _to_texts(table[name]) if pa.types.is_nested(column.type) else column
            for name, column in zip(table.columns, columns, strict=True)
        ]
        parquet.write_table(pa.table(columns, names), file)


_WRITERS: Mapping[str, Callable[[Path, pd.DataFrame], None]] = {
    ".csv": _write_delimited(","),
    ".tsv": _write_delimited("\t"),
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
WRITABLE = tuple(_WRITERS)
"""The suffixes of tables that can be written."""


def _rows(table: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """A part of the table at a time: values of all columns at once would be many Python objects."""
    for start in range(0, len(table), _ROWS):
        part = table.iloc[start : start + _ROWS]
        yield from zip(*(part[name].tolist() for name in part.columns), strict=True)


def _write_lines(file: Path, lines: Iterator[str]) -> None:
    with file.open("wb") as opened:
        for line in lines:
            opened.write(_encode(line))


def _encode(text: str) -> bytes:
    """In a text, a surrogate is a byte that was not UTF-8 or, from JSON, an escape."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _to_plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [_to_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "surrogateescape")
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    return value if isinstance(value, (str, bool, int, float)) else str(value)


def _to_cell(value: Any) -> str:
    plain = _to_plain(value)
    if plain is None:
        return ""
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, (list, dict)) else str(plain)


def _to_column(column: "pd.Series[Any]") -> Any:
    """As Arrow has it; values of several types become texts."""
    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return _to_texts(column)


def _to_texts(column: "pd.Series[Any]") -> Any:
    plain = [_to_plain(value) for value in column.tolist()]
    cells = [None if value is None else _encode(_to_cell(value)) for value in plain]
    # Arrow would refuse bytes that are not UTF-8, but Parquet can hold them.
    return pa.array(cells, pa.binary()).view(pa.string())
