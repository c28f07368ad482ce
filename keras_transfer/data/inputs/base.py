"""From the arguments of ``predict`` to examples: one for each input, in order, or the problem of an input.

The same rules apply to every task; an :class:`InputKind` defines what one input is.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from keras_transfer.console.text import show_value
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.sources.files import list_files, note_hidden
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, read_table, some
from keras_transfer.data.tables.text_files import AUTO
from keras_transfer.data.tables.values import check_values
from keras_transfer.errors import ConfigError, DataError, InputError, list_lines
from keras_transfer.registry import did_you_mean

INPUT = "input"
"""The column of inputs that are not rows of a table."""

# Paths are shown in full; texts may be of any length.
_MOST_SHOWN = 300
_MOST_LINES = 20


@dataclass(frozen=True)
class Broken:
    """Replaces an input that cannot be read, such as an empty field of a table."""

    problem: str


@dataclass(frozen=True)
class InputRows:
    """Inputs before they are read.

    Attributes:
        values: Objects that :meth:`InputKind.read` reads, or :class:`Broken`.
        names: The name of each, in predictions and messages.
        table: One row per input: the first columns of a table of predictions.
        notes: Lines for the user on how the inputs were found.
    """

    values: Sequence[Any]
    names: Sequence[str]
    table: pd.DataFrame
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Inputs:
    """The inputs of ``predict`` after they were read.

    Attributes:
        names: The name of every input, in order.
        table: One row per input, with its own columns.
        notes: Lines for the user on how the inputs were found.
    """

    names: Sequence[str]
    examples: Examples
    problems: Mapping[int, str]
    table: pd.DataFrame
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def refuse_broken(self) -> None:
        """Raise an error if some inputs cannot be read.

        Raises:
            DataError: With all of them.
        """
        if self.problems:
            raise refuse_all(self.names, self.problems)


class BrokenInputs:
    """Inputs that cannot be read: their number, and the problems of the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[str] = []
        self._is_encoded = False

    def add(self, name: str, problem: str) -> None:
        """Add an input."""
        self.count += 1
        self._is_encoded = self._is_encoded or "is not UTF-8" in problem
        if len(self._lines) < _MOST_LINES:
            self._lines.append(f"{show(name)}: {problem}")

    def refusal(self, total: int) -> DataError:
        """Return the error that names them."""
        more = self.count - len(self._lines)
        lines = list_lines(self._lines) + (f"\n  and {more} more" if more else "")
        encoding = "name their encoding with --encoding, " if self._is_encoded else ""
        return DataError(
            f"No prediction was made: {self.count} of {total} inputs cannot be read:\n{lines}\n"
            f"Fix or remove them, {encoding}or leave their predictions empty with --skip-broken (skip_broken=True)."
        )


def refuse_all(names: Sequence[str], problems: Mapping[int, str]) -> DataError:
    """Return the error that names all inputs that cannot be read."""
    broken = BrokenInputs()
    for position, problem in sorted(problems.items()):
        broken.add(names[position], problem)
    return broken.refusal(len(names))


class InputKind(ABC):
    """What ``predict`` accepts for one kind of examples; a task makes it for the recipe of a run.

    Folders, tables, DataFrames and sequences are handled in the same way for all kinds. A subclass defines what one
    input is, and reads inputs.
    """

    plural: ClassVar[str]
    """What messages call the inputs: ``images``."""

    files_are_text: ClassVar[bool] = False
    """Whether files are text, so that ``--encoding`` applies to them."""

    accepted: str
    """What one input is, for messages: ``the path of an image file (str or Path), ...``."""

    @abstractmethod
    def is_input(self, value: Any) -> bool:
        """Return whether an object is one input, whether or not it can be read."""

    @abstractmethod
    def name(self, value: Any, number: int) -> str:
        """Return the name of an input in predictions and messages.

        Args:
            value: The input.
            number: Its position, counted from 1.
        """

    @abstractmethod
    def read(self, values: Sequence[Any], names: Sequence[str]) -> tuple[Examples, Mapping[int, str]]:
        """Read inputs.

        Args:
            values: Inputs, or :class:`Broken`.
            names: The name of each.

        Returns:
            Examples of the readable inputs, in order and with their names; the problems of the others, by position.
        """

    @abstractmethod
    def read_table(self, table: pd.DataFrame, where: str, folder: Path) -> InputRows:
        """Take an input from each row of a table, by the columns that the recipe names.

        Args:
            table: Some or all rows of a table, with texts as names of columns. The index is the position of each row in
                the table.
            where: Where the table is from, for messages.
            folder: What paths in it are relative to.

        Raises:
            DataError: The table lacks a column.
        """

    def find_broken(self, values: Sequence[Any], names: Sequence[str]) -> Mapping[int, str]:
        """Return the problems of inputs that cannot be read, by position; by default those that :meth:`read` finds.

        Args:
            values: As for :meth:`read`.
            names: As for :meth:`read`.
        """
        return self.read(values, names)[1]

    def read_again(self, values: Sequence[Any], names: Sequence[str]) -> Examples:
        """Read inputs in which :meth:`find_broken` found no problem earlier; by default the same as :meth:`read`.

        Raises:
            DataError: Some can no longer be read; all of them are named.
            OSError: One cannot be read.
        """
        examples, problems = self.read(values, names)
        if problems:
            raise refuse_all(names, problems)
        return examples

    def for_table(
        self, frames: Callable[[], Iterable[pd.DataFrame]], where: str, folder: Path
    ) -> tuple["InputKind", Sequence[str]]:
        """Scan a whole table, if that determines how :meth:`read_table` reads each of its rows.

        Args:
            frames: Returns the table in parts, as :meth:`read_table` takes them; may be called several times.
            where: As for :meth:`read_table`.
            folder: As for :meth:`read_table`.

        Returns:
            The kind whose :meth:`read_table` reads the table, by default this one; and lines for the user.

        Raises:
            DataError: The table can be read in two ways.
        """
        return self, ()

    def as_path(self, value: Any) -> Path | None:
        """Return the path in an input, if it is a path."""
        return Path(value) if isinstance(value, os.PathLike) else None

    def takes(self, file: Path) -> bool:
        """Return whether a file in a folder is an input; by default every file is."""
        return True

    def from_text(self, text: str) -> Any:
        """Return the input that ``--text`` gives on the command line.

        Raises:
            ConfigError: These inputs are not texts.
        """
        raise ConfigError(f"--text is for texts, and this run takes {self.plural}. Name files, a folder or a table.")

    def from_line(self, line: str) -> Any:
        """Return the input in a line of standard input: by default a path."""
        return line

    def missing_column(self, table: pd.DataFrame, where: str, key: str, column: str) -> DataError:
        """Return the error that a table lacks a column of inputs.

        Args:
            table: The table.
            where: Where the table is from.
            key: The recipe key that names the column: ``text``.
            column: The column.
        """
        columns = list(table.columns)
        hint = did_you_mean(column, columns)
        near = f" {hint}" if hint.startswith("Did") else ""
        return DataError(
            f"{where} has no column {column!r}, from which the run reads its {self.plural} (data.{key}).{near} "
            f"Columns: {some(columns, 30) or 'none'}. Rename a column."
        )


def collect_inputs(given: Any, kind: InputKind, *, encoding: str = AUTO, delimiter: str = AUTO) -> InputRows:
    """Find the inputs in the arguments of ``predict``.

    Args:
        given: One input, a sequence of inputs, the path of a folder or a table, or a DataFrame.
        encoding: Of a table: ``auto`` or a name, as ``data.encoding``.
        delimiter: Between the fields of a CSV: ``auto``, ``tab`` or one character, as ``data.delimiter``.

    Raises:
        InputError: It is anything else, or an empty sequence.
        DataError: A folder or a table cannot be read, or has no inputs.
    """
    path = kind.as_path(given)
    if path is not None and os.path.isdir(path):
        return _collect_folder(path, kind)
    if path is not None and path.suffix.lower() in TABLE_SUFFIXES:
        table = read_table(path, encoding=encoding, delimiter=delimiter, key_of="--{}".format)
        rows = _collect_table(table.frame, kind, str(path), path.parent)
        return replace(rows, notes=(*table.notes, *rows.notes))
    if isinstance(given, pd.DataFrame):
        return _collect_table(given, kind, "The DataFrame", Path.cwd())
    if kind.is_input(given):
        return _collect_sequence([given], kind)
    members = _members(given)
    wrong = [] if members is None else [place for place, value in enumerate(members) if not kind.is_input(value)]
    if not members or wrong:
        tables = f"{', '.join(TABLE_SUFFIXES[:-1])} or {TABLE_SUFFIXES[-1]} table"
        received = _describe(given) if not wrong else _describe_members(members or [], wrong)
        raise InputError(
            f"predict accepts {kind.accepted}; a list of these; a pathlib.Path to a folder or a {tables}; a pandas "
            f"DataFrame. Received: {received}."
        )
    return _collect_sequence(members, kind)


def refuse_unused_options(given: Sequence[Any], kind: InputKind, options: Mapping[str, Any]) -> None:
    """Refuse options on how tables are read that would change nothing.

    Args:
        options: The options of :data:`keras_transfer.config.data.TABLE_KEYS` that are set.

    Raises:
        ConfigError: An option has no effect; the message says what it needs.
    """
    paths = [path for path in map(kind.as_path, given) if path is not None]
    tables = [path.suffix.lower() for path in paths if path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()]
    files_are_read = kind.files_are_text and len(tables) < len(paths)
    has_frame = any(isinstance(part, pd.DataFrame) for part in given)
    needs = {
        "root": (tables or has_frame, "a table"),
        "suffix": (tables or has_frame, "a table"),
        "encoding": (files_are_read or set(tables) - {".parquet"}, "a table that is text"),
        "delimiter": (set(tables) & {".csv", ".tsv"}, "a .csv or .tsv table"),
    }
    for key, value in options.items():
        is_used, what = needs[key]
        if not is_used:
            raise ConfigError(
                f"--{key} is for tables. Received: {value}, and {kind.plural} without {what}. Leave this out, or use "
                f"{what}."
            )


def read_inputs(parts: Sequence[InputRows], kind: InputKind) -> Inputs:
    """Read inputs, one part after the other."""
    names = [name for part in parts for name in part.names]
    examples, problems = kind.read([value for part in parts for value in part.values], names)
    tables = [part.table for part in parts]
    # As objects, numbers keep their types if another part lacks the column.
    table = tables[0] if len(tables) == 1 else pd.concat([t.astype(object) for t in tables], ignore_index=True)
    return Inputs(names, examples, problems, table, [note for part in parts for note in part.notes])


def show(name: str) -> str:
    """Return the name of an input for a message: a short line without control characters."""
    return name if len(name) <= _MOST_SHOWN and name.isprintable() and name else show_value(name, maxstring=_MOST_SHOWN)


def _collect_sequence(values: Sequence[Any], kind: InputKind) -> InputRows:
    names = [kind.name(value, number) for number, value in enumerate(values, start=1)]
    return InputRows(values, names, pd.DataFrame({INPUT: pd.Series(names, dtype=object)}))


def _collect_folder(folder: Path, kind: InputKind) -> InputRows:
    found = list_files(folder)
    # Pipes and devices are reported when they are read.
    files = sorted([*(file for file in found.files if kind.takes(file)), *found.special])
    others = [file for file in found.files if not kind.takes(file)]
    notes = note_hidden(folder, found.hidden)
    for what, left_out in (("links to folders, which are not followed", found.links), (f"not {kind.plural}", others)):
        if left_out:
            notes.append(f"Left out in {folder}, {what}: {some(str(file.relative_to(folder)) for file in left_out)}")
    if not files:
        raise DataError(f"No prediction was made: {folder} has no {kind.plural}. Name another folder.")
    rows = _collect_sequence(files, kind)
    return InputRows(rows.values, rows.names, rows.table, notes)


def _collect_table(table: pd.DataFrame, kind: InputKind, where: str, folder: Path) -> InputRows:
    table = check_frame(table.reset_index(drop=True), where)
    if not len(table):
        raise no_rows(where)
    kind, notes = kind.for_table(lambda: [table], where, folder)
    rows = kind.read_table(table, where, folder)
    return replace(rows, notes=(*notes, *rows.notes))


def check_frame(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return some or all rows of a table with strings as names of columns, or refuse them.

    Raises:
        DataError: Two columns have one name, or values cannot be written.
    """
    table.columns = pd.Index([str(column) for column in table.columns], dtype=object)
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()].unique().tolist()
        raise DataError(f"{where} has several columns of the same name: {some(twice)}. Rename all but one.")
    check_values(where, table, table.columns, first=int(table.index[0]) if len(table) else 0)
    return table


def no_rows(where: str) -> DataError:
    """Return the error that a table is empty."""
    return DataError(f"No prediction was made: {where} has no rows. Add one row per input.")


def _members(given: Any) -> list[Any] | None:
    """The inputs of a sequence; None for other objects."""
    if isinstance(given, np.ndarray):
        # Several texts or paths, or a batch of images.
        holds_several = (given.ndim == 1 and given.dtype.kind in "OU") or given.ndim == 4
        return list(given) if holds_several else None
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        return None
    return list(given) if isinstance(given, (Sequence, pd.Series, pd.Index)) else None


def _describe_members(members: Sequence[Any], wrong: Sequence[int]) -> str:
    return some([f"{_describe(members[place])} as input {place + 1}" for place in wrong], 5)


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"{'an empty' if not value else 'a'} {type(value).__name__}"
    return (
        f"{type(value).__name__} {show_value(value)}" if isinstance(value, (int, float, str)) else type(value).__name__
    )
