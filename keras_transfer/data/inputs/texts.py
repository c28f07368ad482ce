"""Texts that ``predict`` accepts. A ``str`` is always a text, never a path."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.checks.texts import describe_wrong_bytes, replace_wrong_bytes
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.texts import Segments, Texts
from keras_transfer.data.inputs.base import Broken, InputKind, InputRows
from keras_transfer.data.sources.texts import is_text_file
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, kind_of
from keras_transfer.data.tables.text_files import decode_text, describe_undecodable
from keras_transfer.errors import ConfigError

_NO_FILE = "No such file. Write a text as --text TEXT; in Python, as a str"


class TextInputs(InputKind):
    """Texts, or pairs of texts."""

    plural = "texts"
    files_are_text = True

    def __init__(self, config: TextDataConfig) -> None:
        self._encoding = config.encoding
        self._replaces = config.broken == "replace"
        self._columns = {"text": config.text} | ({} if config.text_pair is None else {"text_pair": config.text_pair})
        self._are_pairs = config.text_pair is not None
        self.accepted = (
            "a pair of texts (a tuple of two str)"
            if self._are_pairs
            else "a text (str), or a text file (pathlib.Path; a str is never a path)"
        )

    def is_input(self, value: Any) -> bool:
        """Return whether an object is a text or a path; for pairs, a tuple of two texts."""
        if self._are_pairs:
            return isinstance(value, tuple) and len(value) == 2 and all(isinstance(text, str) for text in value)
        return isinstance(value, (str, os.PathLike))

    def name(self, value: Any, number: int) -> str:
        """Return the text itself, or the path."""
        return " | ".join(value) if isinstance(value, tuple) else str(value)

    def takes(self, file: Path) -> bool:
        return is_text_file(file)

    def from_text(self, text: str) -> Any:
        if self._are_pairs:
            columns = " and ".join(map(repr, self._columns.values()))
            raise ConfigError(f"This run takes pairs of texts. Write them to a table with the columns {columns}.")
        return text

    def from_line(self, line: str) -> Any:
        return self.from_text(line)

    def read_table(self, table: pd.DataFrame, where: str, folder: Path) -> InputRows:
        for key, column in self._columns.items():
            if column not in table.columns:
                raise self.missing_column(table, where, key, column)
        columns = [_take_texts(table[column], column) for column in self._columns.values()]
        values = [_join(row) for row in zip(*columns, strict=True)]
        names = [
            f"row {number}" if isinstance(value, Broken) else self.name(value if self._are_pairs else value[0], number)
            for number, value in zip(table.index + 1, values, strict=True)
        ]
        return InputRows(values, names, table)

    def read(self, values: Sequence[Any], names: Sequence[str]) -> tuple[Examples, Mapping[int, str]]:
        """Read files, and check that texts are Unicode."""
        found: dict[int, Segments] = {}
        problems: dict[int, str] = {}
        for place, value in enumerate(values):
            try:
                found[place] = self._check(self._read_one(value))
            except (OSError, ValueError) as error:
                problems[place] = getattr(error, "strerror", None) or str(error)
        return Texts(tuple(names[place] for place in found), tuple(found.values())), problems

    def _read_one(self, value: Any) -> Segments:
        if isinstance(value, Broken):
            raise ValueError(value.problem)
        if isinstance(value, tuple):
            return value
        if isinstance(value, str):
            return (str(value),)
        if self._are_pairs:
            raise ValueError(f"a file; expected {self.accepted}")
        return (_read_file(Path(value), self._encoding),)

    def _check(self, segments: Segments) -> Segments:
        if self._replaces:
            return tuple(map(replace_wrong_bytes, segments))
        problem = describe_wrong_bytes(segments)
        if problem is not None:
            raise ValueError(problem)
        return segments


def _take_texts(column: "pd.Series[Any]", name: str) -> list[str | Broken]:
    absent = column.isna().tolist()
    return [
        Broken(f"column {name!r} is empty")
        if no
        else str(value)
        if isinstance(value, str)
        else Broken(f"column {name!r} has {kind_of(value)} {value!r:.40}; expected a text")
        for value, no in zip(column.tolist(), absent, strict=True)
    ]


def _join(row: Sequence[str | Broken]) -> tuple[str, ...] | Broken:
    broken = [value for value in row if isinstance(value, Broken)]
    return broken[0] if broken else tuple(str(value) for value in row)


def _read_file(path: Path, encoding: str) -> str:
    if os.path.isdir(path):
        raise ValueError("a folder; predict for it alone, since each of its files is an input")
    if path.suffix.lower() in TABLE_SUFFIXES:
        raise ValueError("a table; predict for it alone, since each of its rows is an input")
    if not os.path.isfile(path):
        raise ValueError("not a file" if os.path.exists(path) else _NO_FILE)
    try:
        return decode_text(path.read_bytes(), encoding).text
    except UnicodeDecodeError as error:
        raise ValueError(describe_undecodable(error)) from error
