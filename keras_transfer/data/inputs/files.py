"""Inputs that are files of any kind: paths, or the rows of a table of paths or of bytes."""

import copy
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd

from keras_transfer.config.data import FileDataConfig
from keras_transfer.data.inputs.base import Broken, InputKind, InputRows
from keras_transfer.data.sources.paths import PathRule, find_elsewhere, find_path_rule
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, kind_of


class FileInputs(InputKind):
    """Examples that are files."""

    def __init__(self, config: FileDataConfig) -> None:
        self._files = config
        self._rule = PathRule(Path())

    @abstractmethod
    def from_bytes(self, value: Any) -> Any:
        """Return the input in a field of the column of bytes, or :class:`Broken`."""

    def as_path(self, value: Any) -> Path | None:
        """Return the path; "" is not one: it would be the working folder."""
        return Path(value) if isinstance(value, (str, os.PathLike)) and str(value) else None

    def for_table(
        self, frames: Callable[[], Iterable[pd.DataFrame]], where: str, folder: Path
    ) -> tuple[Self, Sequence[str]]:
        """Find out how paths are read: one rule applies to all rows."""
        encoded, column = self._files.bytes, self._files.path

        def paths() -> Iterator[list[str]]:
            for frame in frames():
                if (encoded is not None and encoded in frame.columns) or column not in frame.columns:
                    return  # there are no paths
                yield [path for path in _take_paths(frame[column], column) if isinstance(path, str)]

        kind = copy.copy(self)
        kind._rule = find_path_rule(Path(where), paths, self._files, folder=folder)
        return kind, kind._rule.notes

    def read_table(self, table: pd.DataFrame, where: str, folder: Path) -> InputRows:
        encoded, column = self._files.bytes, self._files.path
        names = [f"row {position + 1}" for position in table.index]
        if encoded is not None and encoded in table.columns:
            # A table of predictions contains no files.
            values = [self.from_bytes(value) for value in table[encoded].tolist()]
            return InputRows(values, names, table.drop(columns=encoded))
        if column not in table.columns:
            key, wanted = ("path", column) if encoded is None else ("bytes", encoded)
            raise self.missing_column(table, where, key, wanted)
        found: list[Any] = [*_take_paths(table[column], column)]
        for row, path in enumerate(found):
            if isinstance(path, str):
                names[row] = self._rule.resolve(path)
                found[row] = self._find_file(names[row], self._rule.root)
        return InputRows(found, names, table)

    def _find_file(self, path: str, root: Path) -> Path | Broken:
        if os.path.exists(root / path):
            return root / path
        other = find_elsewhere(path, self._files)
        hint = "" if other is None else f", but in {other}; if that is meant, set {self._files.key_of('root')} to it"
        return Broken(f"no such file in {root}{hint}")


def explain(value: Any, problem: str) -> str:
    """Return a better reason for a path that is not that of an example, if there is one."""
    if not isinstance(value, (str, os.PathLike)):
        return problem
    if os.path.isdir(value) and str(value):
        return "a folder; predict for it alone, as a pathlib.Path, since each of its files is an input"
    if Path(value).suffix.lower() in TABLE_SUFFIXES and os.path.isfile(value):
        return "a table; predict for it alone, since each of its rows is an input"
    return problem


def take_bytes(value: Any, what: str) -> Any:
    """Return the bytes of a field of a table, or :class:`Broken`.

    Args:
        value: The field. Hugging Face's datasets contain mappings, and text tables contain surrogates.
        what: The name of the file in messages: ``an image file``.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else Broken(f"expected the bytes of {what}: {kind_of(value)}")


def _take_paths(column: "pd.Series[Any]", name: str) -> list[str | Broken]:
    absent = column.isna().tolist()
    return [
        Broken(f"column {name!r} is empty")
        if no or not str(value).strip()
        else str(value)
        if isinstance(value, (str, os.PathLike, int))
        else Broken(f"column {name!r} has {kind_of(value)}; expected a path")
        for value, no in zip(column.tolist(), absent, strict=True)
    ]
