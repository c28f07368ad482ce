"""Inputs that are read in pieces, repeatedly if needed: tables of any length are never in memory as a whole."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from keras_transfer.data.inputs.base import Broken, InputKind, InputRows, check_frame, collect_inputs, no_rows
from keras_transfer.data.tables.stream import PieceSize, TableStream
from keras_transfer.data.tables.tables import TABLE_SUFFIXES
from keras_transfer.data.tables.text_files import AUTO
from keras_transfer.storage.content_hashes import hash_content


class InputStream:
    """The inputs of ``predict``, read in pieces.

    Args:
        given: Each as :func:`collect_inputs` takes it.
        encoding: As for :func:`collect_inputs`.
        delimiter: As for :func:`collect_inputs`.

    Raises:
        InputError: As :func:`collect_inputs` does.
        DataError: As :func:`collect_inputs` does.
    """

    def __init__(self, given: Sequence[Any], kind: InputKind, *, encoding: str = AUTO, delimiter: str = AUTO) -> None:
        self.kind = kind
        self._parts = [_open(part, kind, encoding, delimiter) for part in given]
        self.notes = [note for part in self._parts for note in part.notes]
        tables = [next(part.pieces(PieceSize(1))).table for part in self._parts]
        self.columns = list(dict.fromkeys(str(name) for table in tables for name in table.columns))

    def pieces(self, size: PieceSize) -> Iterator[InputRows]:
        """Read the inputs from the start.

        Raises:
            DataError: A table cannot be read.
        """
        if len(self._parts) == 1:
            yield from self._parts[0].pieces(size)
            return
        waiting: list[InputRows] = []
        for part in self._parts:  # there may be one for each file
            for piece in part.pieces(size):
                if waiting and sum(len(one.values) for one in waiting) + len(piece.values) > size.rows:
                    yield _join(waiting)
                    waiting = []
                waiting.append(piece)
        yield _join(waiting)


def _join(pieces: Sequence[InputRows]) -> InputRows:
    """Join several pieces. As objects, numbers keep their types if another piece lacks the column."""
    table = pd.concat([piece.table.astype(object) for piece in pieces], ignore_index=True)
    values = [value for piece in pieces for value in piece.values]
    return InputRows(values, [name for piece in pieces for name in piece.names], table)


class _Part(Protocol):
    """A folder, a table, a file or a sequence of inputs."""

    @property
    def notes(self) -> Sequence[str]: ...

    def pieces(self, size: PieceSize) -> Iterator[InputRows]: ...


def _open(given: Any, kind: InputKind, encoding: str, delimiter: str) -> "_Part":
    path = kind.as_path(given)
    if path is not None and path.suffix.lower() in TABLE_SUFFIXES and not os.path.isdir(path):
        return _TablePart(path, kind, encoding, delimiter)
    return _Collected(collect_inputs(given, kind, encoding=encoding, delimiter=delimiter))


@dataclass(frozen=True)
class _Collected:
    """Inputs whose names are always in memory."""

    rows: InputRows

    @property
    def notes(self) -> Sequence[str]:
        return self.rows.notes

    def pieces(self, size: PieceSize) -> Iterator[InputRows]:
        rows = self.rows
        for start in range(0, len(rows.values), size.rows):
            place = slice(start, start + size.rows)
            yield InputRows(rows.values[place], rows.names[place], rows.table.iloc[place])


class _TablePart:
    def __init__(self, file: Path, kind: InputKind, encoding: str, delimiter: str) -> None:
        self._file = file
        self._stream = TableStream(file, encoding=encoding, delimiter=delimiter, key_of="--{}".format)
        self._kind, notes = kind.for_table(lambda: self._frames(_LOOK), str(file), file.parent)
        self.notes: Sequence[str] = (*self._stream.notes, *notes)

    def _frames(self, size: PieceSize) -> Iterator[pd.DataFrame]:
        frame = None
        for frame in self._stream.frames(size):
            yield check_frame(frame, str(self._file))
        if frame is None:
            raise no_rows(str(self._file))

    def pieces(self, size: PieceSize) -> Iterator[InputRows]:
        for frame in self._frames(size):
            yield self._kind.read_table(frame, str(self._file), self._file.parent)


_LOOK = PieceSize(10_000)


def fingerprint(piece: InputRows) -> str:
    """Return a hash of inputs and their other columns; for a file, of its path, size and modification time."""
    columns = [repr(tuple(map(str, piece.table.columns)))]
    columns += [repr(piece.table[name].tolist()) for name in piece.table.columns]
    return hash_content(
        *map(_identify, piece.values), *(column.encode("utf-8", "backslashreplace") for column in columns)
    )


def _identify(value: Any) -> bytes:
    if isinstance(value, os.PathLike):
        return b"file" + repr(_stamp(os.fspath(value))).encode("utf-8", "backslashreplace")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, np.ndarray):
        return repr(value.shape).encode() + value.tobytes()
    if isinstance(value, Broken):
        return b"broken"
    if isinstance(value, Mapping):
        return _identify(tuple(value.items()))
    if isinstance(value, tuple):  # samples and their rate, a clip of a file, a pair of texts
        return hash_content(*map(_identify, value)).encode()
    return repr(value).encode("utf-8", "backslashreplace")


def _stamp(file: str) -> tuple[Any, ...]:
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return (file,)
    return (file, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (file, "")
