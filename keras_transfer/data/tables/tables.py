"""Tables of examples: reading them unchanged, and the checks that images and texts share."""

import csv
import json
import numbers
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from keras_transfer.config import DataConfig
from keras_transfer.errors import DataError
from keras_transfer.registry import did_you_mean

SPLIT_NAMES = ("train", "validation", "test")
TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")
_BYTES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")


def load_table(file: Path) -> pd.DataFrame:
    """Read a table.

    Text is Python's own type: pandas' strings cannot hold surrogates, which represent bytes that are not UTF-8.

    Args:
        file: A ``.csv``, ``.jsonl`` or ``.parquet`` file.

    Returns:
        One row per example, in the file's order, with the default index. All values of a CSV are text, because a class
        may be named 007 or NA; empty ones are None. A byte that is not UTF-8 is a surrogate.

    Raises:
        DataError: The file cannot be read.
    """
    load = {".csv": _load_csv, ".jsonl": _load_jsonl, ".parquet": _load_parquet}[file.suffix.lower()]
    try:
        return load(file)
    except (ValueError, OSError, RecursionError, csv.Error, pa.ArrowException) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"Cannot read table {file}: {reason}. Fix the file.") from error


def _load_csv(file: Path) -> pd.DataFrame:
    """Python's reader: pandas' uses the first fields of rows that are too long as an index."""
    limit = csv.field_size_limit(2**31 - 1)
    starts = 1
    records: list[list[str | None]] = []
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            header = _check_header(next(filter(None, reader), []))
            starts = reader.line_num + 1
            for fields in reader:
                if len(fields) > len(header):
                    raise ValueError(
                        f"line {reader.line_num} ends a row of {len(fields)} fields, but the header has {len(header)}. "
                        "Put quotes around fields with commas"
                    )
                if fields:
                    records.append([field or None for field in fields] + [None] * (len(header) - len(fields)))
                starts = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"invalid quoting in the row that starts in line {starts}: {error}") from error
    finally:
        csv.field_size_limit(limit)
    return pd.DataFrame(records, columns=header, dtype=object)


def _check_header(names: list[str]) -> list[str]:
    if not names:
        raise ValueError("the first line has no column names")
    if not all(map(is_utf8, names)):
        raise ValueError("the first line is not UTF-8. Save the file as UTF-8")
    if len(names) == 1 and (mark := re.search("[;\t]", names[0])):
        raise ValueError(f"the fields of the first line are separated by {mark[0]!r}. Separate fields with commas")
    for name in names:
        if name and names.count(name) > 1:
            raise ValueError(f"the first line has column {name!r} twice")
    return [name or f"column {number}" for number, name in enumerate(names, start=1)]


def _load_jsonl(file: Path) -> pd.DataFrame:
    records = []
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line) if line.strip() else {}
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number} is not valid JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is not a JSON object")
            records += [record] if record else []
    return pd.DataFrame(records, dtype=object)


def _load_parquet(file: Path) -> pd.DataFrame:
    with parquet.ParquetFile(file) as opened:
        table = opened.read()
    return pd.DataFrame({name: _to_series(table[name]) for name in table.column_names})


def _to_series(column: Any) -> "pd.Series[Any]":
    """Parquet does not validate text, and pandas would fail on bytes that are not UTF-8 without naming the row."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if str(kind) not in _BYTES:
        return column.to_pandas()
    raw = column.cast(kind).cast(pa.large_binary()).to_pylist()
    texts = [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    return pd.Series(texts, dtype=object)


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded; one with surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_columns(where: Path, columns: Sequence[str], config: DataConfig, examples: Mapping[str, str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        where: Where the table comes from, for messages.
        columns: The columns of the table.
        config: Names the columns of labels, splits, groups and strata.
        examples: The recipe keys that name the columns of examples, with these columns.

    Raises:
        DataError: A column is missing; the message lists those of the table.
    """
    labels = ["label"] if config.label_columns else []
    keys = [*examples, *labels, *(key for key in ("split", "group") if getattr(config, key) is not None), "stratify"]
    require_columns(where, columns, [*examples.values(), *config.label_columns, *further_columns(config)], keys)


def require_columns(where: Path, columns: Sequence[str], wanted: Sequence[str], keys: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        where: Where the table comes from, for messages.
        columns: The columns of the table.
        wanted: The columns that it must have.
        keys: The recipe keys that name them.

    Raises:
        DataError: A column is missing; the message lists those of the table.
    """
    *first, last = (f"data.{key}" for key in keys)
    named = f"{', '.join(first)} and {last}" if first else last
    for column in wanted:
        if column not in columns:
            hint = did_you_mean(column, columns)
            known = f"{hint} Columns" if hint.startswith("Did") else "Columns"
            raise DataError(
                f"{where} has no column {column!r}. {known}: {some(columns, 30) or 'none'}. "
                f"Set the column names with {named}."
            )


def further_columns(config: DataConfig) -> list[str]:
    """Return the columns of splits, groups and strata that a recipe names."""
    stratify = [column for column in config.stratify if column != "label"]
    return [column for column in (config.split, config.group, *stratify) if column is not None]


def check_filled(file: Path, table: pd.DataFrame, column: str) -> None:
    """Refuse a column with missing or blank values.

    Raises:
        DataError: With the row numbers, counted from 1.
    """
    absent = table[column].isna().tolist()
    values = table[column].tolist()
    empty = [n for n, (value, no) in enumerate(zip(values, absent, strict=True), 1) if no or not str(value).strip()]
    if empty:
        raise DataError(
            f"{file}: column {column!r} is empty in {len(empty)} rows: row {some(map(str, empty))}. "
            "Fill in the values, or remove the rows."
        )


def check_written(file: Path, table: pd.DataFrame, column: str) -> None:
    """Refuse a column of names, classes or strata with values that are not UTF-8.

    Raises:
        DataError: With the row numbers, counted from 1.
    """
    wrong = [n for n, value in enumerate(table[column].tolist(), 1) if isinstance(value, str) and not is_utf8(value)]
    if wrong:
        raise DataError(
            f"{file}: column {column!r} is not UTF-8 in {len(wrong)} rows: row {some(map(str, wrong))}. "
            "Save the file as UTF-8."
        )


def kind_of(value: Any) -> str:
    """Return the kind of a table's value, in words."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (numbers.Real, Decimal)):
        return "number"
    return type(value).__name__


def check_weights(name: str, rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Return a column as weights.

    Args:
        name: The source's name, for messages.
        rows: Its rows.
        column: The column of weights.

    Raises:
        DataError: There is no such column, or its values are not weights.
    """
    if column not in rows.columns:
        raise DataError(f"data.weight: {name} has no column {column!r}. {did_you_mean(column, map(str, rows.columns))}")
    weights = pd.to_numeric(rows[column], errors="coerce")
    if weights.isna().any() or (weights < 0).any() or not (weights > 0).any():
        raise DataError(
            f"data.weight: column {column!r} of {name} must have numbers of at least 0, and not only zeros."
        )
    return weights.astype(float)


def some(names: Iterable[str], most: int = 10) -> str:
    """Return the first names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def some_values(values: Sequence[Any], rows: Sequence[int]) -> str:
    """Return the values of some rows, shortened, with row numbers counted from 1."""
    return some([f"{reprlib.repr(values[row])} in row {row + 1}" for row in rows], 5)
