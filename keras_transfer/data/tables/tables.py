"""Tables of examples: reading them unchanged, and the checks that all kinds of examples share."""

import io
import json
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from keras_transfer.config.data import DataConfig
from keras_transfer.console.text import show_value
from keras_transfer.data.tables.text_files import (
    AUTO,
    DELIMITERS,
    Dialect,
    choose_dialect,
    decode_text,
    describe_undecodable,
    read_records,
)
from keras_transfer.errors import DataError
from keras_transfer.registry import did_you_mean

SPLIT_NAMES = ("train", "validation", "test")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_BYTES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        frame: One row per example, in the file's order, with the default index. All values of a CSV are text, because a
            class may be named 007 or NA; empty ones are None. A byte that is not UTF-8 is a surrogate.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_table(
    file: Path, *, encoding: str = AUTO, delimiter: str = AUTO, key_of: Callable[[str], str] = "data.{}".format
) -> Table:
    """Read a table.

    Text is Python's own type: pandas' strings do not support surrogates, which represent bytes that are not UTF-8.

    Args:
        file: A ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file.
        encoding: Encoding of text: ``auto`` or a name, as ``data.encoding``.
        delimiter: Between the fields of a CSV: ``auto``, ``tab`` or one character, as ``data.delimiter``.
        key_of: The names of these two options in messages: from ``encoding`` to ``data.encoding`` or ``--encoding``.

    Raises:
        DataError: The file cannot be read, or can be read in two ways.
    """
    try:
        if file.suffix.lower() == ".parquet":
            return Table(_load_parquet(file))
        if not file.is_file():  # opening a pipe would wait
            raise ValueError("it is not a file" if file.exists() else "it does not exist")
        decoded = decode_text(file.read_bytes(), encoding)
        if file.suffix.lower() == ".jsonl":
            records = list(parse_jsonl(io.StringIO(decoded.text, newline=None)))
            return Table(pd.DataFrame(records, dtype=object), name_notes(file, decoded.note))
        dialect = choose_dialect(
            lambda: io.StringIO(decoded.text, newline=""), delimiter, preferred=preferred_delimiter(file)
        )
        header, rows = parse_csv(io.StringIO(decoded.text[dialect.start :], newline=""), dialect)
        frame = pd.DataFrame(list(rows), columns=header, dtype=object)
        return Table(frame, name_notes(file, decoded.note, dialect.note))
    except UNREADABLE as error:
        raise unreadable(file, error, key_of) from error


UNREADABLE = (ValueError, OSError, RecursionError, pa.ArrowException)
"""What reading a table raises."""


def unreadable(file: Path, error: Exception, key_of: Callable[[str], str]) -> DataError:
    """Return the error for a table that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return DataError(
            f"Cannot read table {file}: {describe_undecodable(error)}. Set {key_of('encoding')} to the encoding of the "
            "file."
        )
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    for key in ("encoding", "delimiter"):
        reason = reason.replace(f"data.{key}", key_of(key))
    return DataError(f"Cannot read table {file}: {reason}. Fix the file.")


def preferred_delimiter(file: Path) -> str:
    """Return the delimiter that needs no note."""
    return "\t" if file.suffix.lower() == ".tsv" else ","


def name_notes(file: Path, *notes: str | None) -> tuple[str, ...]:
    """Return notes on how a file was read, with its name; there may be none."""
    return tuple(f"{file.name}: {note}" for note in notes if note is not None)


def parse_csv(text: TextIO, dialect: Dialect) -> tuple[list[str], Iterator[list[str | None]]]:
    """Return the column names of a CSV, and its rows, which have a field per column.

    Uses Python's reader: pandas' reader would treat the first fields of rows that are too long as an index.

    Raises:
        ValueError: The header has no names, or a row too many fields.
    """
    records = read_records(text, dialect.delimiter)
    header = _check_header(next(records, (1, []))[1])
    return header, _fit_rows(records, len(header), dialect)


def _fit_rows(records: Iterator[tuple[int, list[str]]], width: int, dialect: Dialect) -> Iterator[list[str | None]]:
    for line, fields in records:
        if len(fields) > width:
            raise ValueError(
                f"line {line} starts a row of {len(fields)} fields, but the header has {width}. Put quotes "
                f"around fields with {DELIMITERS.get(dialect.delimiter, dialect.delimiter)}, or set data.delimiter"
            )
        yield [field or None for field in fields] + [None] * (width - len(fields))


def _check_header(names: list[str]) -> list[str]:
    if not names:
        raise ValueError("the first line has no column names")
    if not all(map(is_utf8, names)):
        raise ValueError(
            "the first line is not UTF-8. Save the file as UTF-8, or set data.encoding, which is cp1252 for many "
            "files written on Windows"
        )
    if any("\0" in name for name in names):
        raise ValueError("the first line has NUL characters. If the file is UTF-16, set data.encoding to utf-16-le")
    names = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the first line has column {name!r} twice")
    return names


def parse_jsonl(text: TextIO) -> Iterator[dict[str, Any]]:
    """Iterate over the objects of JSON Lines; blank lines and empty objects are left out.

    Raises:
        ValueError: A line is not a JSON object.
    """
    for number, line in enumerate(text, start=1):
        try:
            record = json.loads(line, object_pairs_hook=_take_once) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not valid JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"line {number} is not a JSON object")
        if record:
            yield record


def _take_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; by default, Python would use the last of two equal keys."""
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"it has key {twice[0]!r} twice")
    return dict(pairs)


def _load_parquet(file: Path) -> pd.DataFrame:
    with parquet.ParquetFile(file) as opened:
        table = opened.read()
    check_column_names(table.column_names)
    return pd.DataFrame({name: to_series(table[name]) for name in table.column_names})


def check_column_names(names: Sequence[str]) -> None:
    """Refuse a table with duplicate column names.

    Raises:
        ValueError: With the name.
    """
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"it has column {twice[0]!r} twice")


def to_series(column: Any, *, keeps_integers: bool = False) -> "pd.Series[Any]":
    """Convert an Arrow column to pandas.

    Parquet does not validate text, and pandas would fail on bytes that are not UTF-8 without naming the row.

    Args:
        keeps_integers: Whether integers stay integers if values are missing; pandas would convert them to floats.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if str(kind) not in _BYTES:
        return column.to_pandas(integer_object_nulls=keeps_integers)
    raw = column.cast(kind).cast(pa.large_binary()).to_pylist()
    texts = [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    return pd.Series(texts, dtype=object)


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded; text with surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_columns(where: Path, columns: Iterable[Any], config: DataConfig, examples: Mapping[str, str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataError: A column is missing; the message lists those of the table.
    """
    columns = list(map(str, columns))
    labels = ["label"] if config.label_columns else []
    keys = [*examples, *labels, *(key for key in ("split", "group") if getattr(config, key) is not None)]
    named = f"{', '.join(f'data.{key}' for key in keys)} and " if keys else ""
    for column in (*examples.values(), *config.label_columns, *further_columns(config)):
        if column not in columns:
            hint = did_you_mean(column, columns)
            known = f"{hint} Columns" if hint.startswith("Did") else "Columns"
            raise DataError(
                f"{where} has no column {column!r}. {known}: {some(columns, 30) or 'none'}. "
                f"Set the column names with {named}data.stratify."
            )


def further_columns(config: DataConfig) -> list[str]:
    """Return the columns of splits, groups and strata that a recipe names."""
    stratify = [column for column in config.stratify if column != "label"]
    return [column for column in (config.split, config.group, *stratify) if column is not None]


def take_texts(table: pd.DataFrame, column: str) -> tuple[list[Any], list[int]]:
    """Return the values of a column of texts, "" for missing ones, and the rows whose values are not text."""
    absent = table[column].isna().tolist()
    values = ["" if no else value for value, no in zip(table[column].tolist(), absent, strict=True)]
    return values, [row for row, value in enumerate(values) if not isinstance(value, str)]


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
        has_encoding = file.suffix.lower() in (".csv", ".tsv", ".jsonl")
        way = ", or set data.encoding to its encoding: many files written on Windows are cp1252" if has_encoding else ""
        raise DataError(
            f"{file}: column {column!r} is not UTF-8 in {len(wrong)} rows: row {some(map(str, wrong))}. "
            f"Save the file as UTF-8{way}."
        )


def kind_of(value: Any) -> str:
    """Return the type of a table's value, in words."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (numbers.Real, Decimal)):
        return "number"
    return type(value).__name__


def some(names: Iterable[str], most: int = 10) -> str:
    """Return the first names, and the number of the others; bytes that are not UTF-8 are shown in hexadecimal."""
    names = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def some_values(values: Sequence[Any], rows: Sequence[int]) -> str:
    """Return the values of some rows, shortened, with row numbers counted from 1."""
    return some([f"{show_value(values[row])} in row {row + 1}" for row in rows], 5)
