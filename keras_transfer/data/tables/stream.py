"""Tables of any length, read in pieces and repeatedly if needed."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import parquet

from keras_transfer.data.tables.tables import (
    UNREADABLE,
    check_column_names,
    name_notes,
    parse_csv,
    parse_jsonl,
    preferred_delimiter,
    to_series,
    unreadable,
)
from keras_transfer.data.tables.text_files import (
    AUTO,
    Dialect,
    choose_dialect,
    decode_text,
    note_decoding,
    open_decoded,
)


@dataclass(frozen=True)
class PieceSize:
    """How much of a table is in memory at a time.

    Attributes:
        rows: Maximum number of rows of a piece.
        bytes: A piece ends with the row at which its texts and encoded images reach that many bytes.
    """

    rows: int
    bytes: int = 64_000_000


class TableStream:
    """A table that is read in pieces, in the same way as by :func:`read_table`, and from the same arguments.

    Raises:
        DataError: The file cannot be read, or can be read in two ways.
    """

    def __init__(
        self,
        file: Path,
        *,
        encoding: str = AUTO,
        delimiter: str = AUTO,
        key_of: Callable[[str], str] = "data.{}".format,
    ) -> None:
        self._file, self._encoding, self._delimiter, self._key_of = file, encoding, delimiter, key_of
        self.notes: tuple[str, ...] = ()
        try:
            if file.suffix.lower() != ".parquet":
                if not file.is_file():  # opening a pipe would wait
                    raise ValueError("it is not a file" if file.exists() else "it does not exist")
                self.notes = name_notes(file, note_decoding(file, encoding), self._dialect.note)
        except UNREADABLE as error:
            raise self._explain(error) from error

    @cached_property
    def _dialect(self) -> Dialect:
        if self._file.suffix.lower() == ".jsonl":
            return Dialect("")
        preferred = preferred_delimiter(self._file)
        return choose_dialect(lambda: open_decoded(self._file, self._encoding), self._delimiter, preferred=preferred)

    def frames(self, size: PieceSize) -> Iterator[pd.DataFrame]:
        """Read the table from its start.

        Yields:
            Frames with the columns of the whole table. The index is the position of each row in the table.

        Raises:
            DataError: As above.
        """
        readers = {".parquet": self._read_parquet, ".jsonl": self._read_jsonl}
        start = 0
        try:
            for frame in readers.get(self._file.suffix.lower(), self._read_csv)(size):
                frame.index = pd.RangeIndex(start, start + len(frame))
                start += len(frame)
                yield frame
        except UNREADABLE as error:
            raise self._explain(error) from error

    def _read_csv(self, size: PieceSize) -> Iterator[pd.DataFrame]:
        with open_decoded(self._file, self._encoding) as text:
            text.read(self._dialect.start)
            header, rows = parse_csv(text, self._dialect)
            for piece in _cut(rows, size, lambda row: sum(map(len, filter(None, row)))):
                yield pd.DataFrame(piece, columns=header, dtype=object)

    def _read_jsonl(self, size: PieceSize) -> Iterator[pd.DataFrame]:
        columns = self._jsonl_columns
        with open_decoded(self._file, self._encoding, newline=None) as text:
            for piece in _cut(parse_jsonl(text), size, _count_bytes):
                yield pd.DataFrame(piece, columns=columns, dtype=object)

    @cached_property
    def _jsonl_columns(self) -> list[str]:
        """All keys, in the order in which they appear."""
        columns: dict[str, None] = {}
        with open_decoded(self._file, self._encoding, newline=None) as text:
            for record in parse_jsonl(text):
                columns |= dict.fromkeys(record)
        return list(columns)

    def _read_parquet(self, size: PieceSize) -> Iterator[pd.DataFrame]:
        with parquet.ParquetFile(self._file, pre_buffer=False) as opened:
            names = opened.schema_arrow.names
            check_column_names(names)
            metadata = opened.metadata
            total = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
            rows = max(1, min(size.rows, size.bytes * metadata.num_rows // max(total, 1)))
            for batch in opened.iter_batches(batch_size=rows):
                yield pd.DataFrame({name: to_series(batch[name], keeps_integers=True) for name in names})

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, UnicodeDecodeError):  # of a piece; the message names the line of the file
            try:
                decode_text(self._file.read_bytes(), self._encoding)
            except UnicodeDecodeError as whole:
                error = whole
        return unreadable(self._file, error, self._key_of)


def _cut(rows: Iterable[Any], size: PieceSize, count_bytes: Callable[[Any], int]) -> Iterator[list[Any]]:
    rows = iter(rows)
    while True:
        piece, left = [], size.bytes
        for row in itertools.islice(rows, size.rows):
            piece.append(row)
            left -= count_bytes(row)
            if left <= 0:
                break
        if not piece:
            return
        yield piece


def _count_bytes(record: dict[str, Any]) -> int:
    return sum(len(value) for value in record.values() if isinstance(value, (str, list, dict)))
