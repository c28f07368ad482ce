"""Write tables atomically, in the format of the suffix."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from keras_transfer.storage.atomic import whole

_ROWS = 1000
_COPIED_BYTES = 1 << 20
_GROUP_ROWS, _GROUP_BYTES = 2**16, 2**26


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a table.

    Missing values are empty in CSV and null elsewhere. Lists and mappings are JSON in CSV. A byte that was not UTF-8
    when the table was read is written unchanged.

    Args:
        file: Of one of :data:`WRITABLE`; its folder exists.

    Raises:
        CheckpointError: It cannot be written.
    """
    form = _FORMATS[file.suffix.lower()]
    with whole(file) as unfinished:
        with unfinished.open("wb") as opened:
            opened.write(form.header(list(table.columns)))
        form.append(unfinished, table)


def write_part(file: Path, table: pd.DataFrame) -> None:
    """Write some rows of a table, to be joined by :func:`join_parts`.

    Args:
        table: As for :func:`write_table`; all parts have the same columns in the same order.

    Raises:
        CheckpointError: It cannot be written.
    """
    with whole(file) as unfinished:
        _FORMATS[file.suffix.lower()].append(unfinished, table)


def join_parts(file: Path, parts: Sequence[Path], columns: Sequence[str]) -> None:
    """Write a table from its parts, of which only one is in memory at a time.

    Args:
        file: As for :func:`write_table`. It is not on the disk when this returns: see :func:`whole`.
        parts: As :func:`write_part` wrote them, in order.

    Raises:
        OSError: It cannot be written.
    """
    form = _FORMATS[file.suffix.lower()]
    with file.open("wb") as opened:
        opened.write(form.header(columns))
    form.join(file, parts)


@dataclass(frozen=True)
class _Format:
    """How tables with a suffix are written.

    Attributes:
        header: From column names to the first bytes of a file.
    """

    header: Callable[[Sequence[str]], bytes]
    append: Callable[[Path, pd.DataFrame], None]
    join: Callable[[Path, Sequence[Path]], None]


def _delimited(delimiter: str) -> _Format:
    def append(file: Path, table: pd.DataFrame) -> None:
        _write_lines(file, (_to_line([_to_cell(value) for value in row], delimiter) for row in _rows(table)))

    return _Format(lambda columns: _encode(_to_line(list(columns), delimiter)), append, _copy_parts)


def _copy_parts(file: Path, parts: Sequence[Path]) -> None:
    with file.open("ab") as whole_file:
        for part in parts:
            with part.open("rb") as opened:
                shutil.copyfileobj(opened, whole_file, _COPIED_BYTES)


def _to_line(cells: Sequence[str], delimiter: str) -> str:
    with io.StringIO(newline="") as line:
        csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(cells)
        return line.getvalue()


def _append_jsonl(file: Path, table: pd.DataFrame) -> None:
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
    columns = [
        column if _is_writable(column.type) else _to_texts(table[name])
        for name, column in zip(table.columns, columns, strict=True)
    ]
    parquet.write_table(pa.table(columns, names), file)


def _is_writable(kind: Any) -> bool:
    """Whether a type can be written to Parquet, which does not support mappings without keys."""
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return bool(inner or not pa.types.is_struct(kind)) and all(map(_is_writable, inner))


def _join_parquet(file: Path, parts: Sequence[Path]) -> None:
    schemas = [parquet.read_schema(part) for part in parts]
    names = schemas[0].names
    schema = pa.schema(
        [(name, _unify([each.field(place).type for each in schemas])) for place, name in enumerate(names)]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        group: list[Any] = []
        for part in parts:
            group.append(_conform(parquet.read_table(part), schema))
            # Readers are slow on many small groups of rows.
            if sum(map(len, group)) >= _GROUP_ROWS or sum(table.nbytes for table in group) >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(group))
                group = []
        if group:
            writer.write_table(pa.concat_tables(group))


def _write_array(file: Path, table: pd.DataFrame) -> None:
    """Write a table whose only column has arrays of the same length."""
    (column,) = table.columns
    with file.open("wb") as opened:
        np.save(opened, np.stack(table[column].tolist()))


def _join_arrays(file: Path, parts: Sequence[Path]) -> None:
    """Join parts, of which only one is in memory at a time."""
    shapes = [np.load(part, mmap_mode="r").shape for part in parts]
    first = np.load(parts[0], mmap_mode="r")
    shape = (sum(rows for rows, _ in shapes), *first.shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
    with file.open("ab") as opened:
        np.lib.format.write_array_header_1_0(opened, header)
        for part in parts:
            opened.write(np.load(part).tobytes())


def _unify(types: Sequence[Any]) -> Any:
    """The type that a column would have if it were written as a whole; mixed types become text."""
    known = [pa.schema([("x", one)]) for one in dict.fromkeys(types)]
    try:
        return pa.unify_schemas(known, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _conform(table: Any, schema: Any) -> Any:
    columns = []
    for column, field in zip(table.columns, schema, strict=True):
        if column.type != field.type and pa.types.is_string(field.type) and not pa.types.is_null(column.type):
            column = _to_texts(pd.Series(column.to_pylist(), dtype=object))
        elif column.type != field.type:
            empty = pa.table([pa.array([], field.type)], ["x"])
            column = pa.concat_tables([empty, pa.table([column], ["x"])], promote_options="permissive")["x"]
        columns.append(column)
    return pa.table(columns, schema=schema)


_FORMATS: Mapping[str, _Format] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _Format(lambda columns: b"", _append_jsonl, _copy_parts),
    ".parquet": _Format(lambda columns: b"", _write_parquet, _join_parquet),
    ".npy": _Format(lambda columns: b"", _write_array, _join_arrays),
}
WRITABLE = tuple(suffix for suffix in _FORMATS if suffix != ".npy")
"""The suffixes of tables that can be written; parts of one column of arrays can be joined to a .npy file, too."""


def _rows(table: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Convert a part of the table at a time: converting all columns at once would create many Python objects."""
    for start in range(0, len(table), _ROWS):
        part = table.iloc[start : start + _ROWS]
        yield from zip(*(part[name].tolist() for name in part.columns), strict=True)


def _write_lines(file: Path, lines: Iterator[str]) -> None:
    with file.open("ab") as opened:
        for line in lines:
            opened.write(_encode(line))


def _encode(text: str) -> bytes:
    """Encode a text; a surrogate in it is a byte that was not UTF-8 or an escape from JSON."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _to_plain(value: Any) -> Any:
    """Convert a value to JSON types."""
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
    """Convert a column to Arrow; mixed types become text."""
    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return _to_texts(column)


def _to_texts(column: "pd.Series[Any]") -> Any:
    plain = [_to_plain(value) for value in column.tolist()]
    cells = [None if value is None else _encode(_to_cell(value)) for value in plain]
    # Arrow would refuse bytes that are not UTF-8, but Parquet can hold them.
    return pa.array(cells, pa.binary()).view(pa.string())
