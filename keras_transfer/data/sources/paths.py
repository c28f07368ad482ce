"""From the paths in a table to files: the folder, the suffix, and the notation."""

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer.config.data import FileDataConfig
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError

_MOST_SHOWN = 5


@dataclass(frozen=True)
class PathRule:
    """How the paths of a table are resolved; it depends on all of them.

    Attributes:
        root: The folder that they are relative to.
        suffix: Added to them, or None.
        adds_always: Whether the suffix is added even if there is a file without it.
        notes: Lines for the user on paths that are not used literally.
    """

    root: Path
    suffix: str | None = None
    adds_always: bool = False
    notes: tuple[str, ...] = ()

    def resolve(self, value: Any) -> str:
        """Return the path for a value of the table, relative to the root."""
        path = _read_backslashes(self.root, _normalize(value))
        if self.suffix is None:
            return path
        has_suffix = path.endswith(self.suffix) if self.adds_always else os.path.isfile(self.root / path)
        return path if has_suffix else path + self.suffix


def find_files(
    where: Path, values: Sequence[Any], config: FileDataConfig, *, folder: Path
) -> tuple[PathRule, list[str]]:
    """Find all files that a table names.

    Args:
        folder: The folder that paths are relative to if the table has no root.

    Returns:
        How the paths are resolved, and the path of each row, with slashes.

    Raises:
        DataError: A file does not exist, or a path is ambiguous.
    """
    rule = find_path_rule(where, lambda: [values], config, folder=folder)
    paths = list(map(rule.resolve, values))
    missing = [path for path in paths if not os.path.isfile(rule.root / path)]
    if missing:
        raise _explain_missing(missing, len(paths), rule.root, where, config, folder)
    return rule, paths


def find_path_rule(
    where: Path, parts: Callable[[], Iterable[Sequence[Any]]], config: FileDataConfig, *, folder: Path
) -> PathRule:
    """Find out how the paths of a table are resolved.

    Args:
        parts: Returns the paths of the rows, in parts; may be called twice.

    Raises:
        DataError: A path is ambiguous.
    """
    root = folder if config.root is None else Path(config.root).expanduser().resolve()
    if config.root is not None and not root.is_dir():
        raise DataError(
            f"{config.key_of('root')} is not a folder. Received: {config.root}. Name the folder of the "
            f"{find_example_kind(config).plural}."
        )
    converted, bare = _Counted(), _BarePaths(root, find_example_kind(config).suffixes)
    for values in parts():
        for value in values:
            given = _normalize(value)
            path = _read_backslashes(root, given)
            if path != given:
                converted.add(given)
            if config.suffix == "auto":
                bare.add(path)
    notes = [converted.describe("Paths with backslashes, read with slashes")] if converted.count else []
    suffix: str | None = config.suffix
    if suffix == "auto":
        suffix = bare.find_suffix(where, config)
        notes += [bare.rows.describe(f"Paths without a suffix, read with {suffix}")] if suffix is not None else []
    rule = PathRule(root, suffix, config.suffix != "auto", tuple(notes))
    _refuse_two_roots(rule, parts, where, config)
    return rule


@dataclass
class _Counted:
    """The number of paths with something in common, and the first of them."""

    count: int = 0
    first: str = ""

    def add(self, path: str) -> None:
        self.count += 1
        self.first = self.first or path

    def describe(self, what: str) -> str:
        return f"{what}: {self.count:,} rows, such as {self.first}"


class _BarePaths:
    """Paths that do not exist without a suffix: the only suffix with which all exist is appended."""

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        self._root, self._suffixes = root, suffixes
        self._has_suffixes, self._all_exist = False, True
        self._with: Counter[str] = Counter()
        self._twice: list[str] = []
        self._count_twice = 0
        self.rows = _Counted()

    def add(self, path: str) -> None:
        if self._has_suffixes or os.path.isfile(self._root / path):
            return
        self.rows.add(path)
        if Path(path).suffix.lower() in self._suffixes:  # a file is missing
            self._has_suffixes = True
            return
        ends = [end for end in self._suffixes if os.path.isfile(self._root / (path + end))]
        if len(ends) > 1:
            self._count_twice += 1
            self._twice += [f"{path} ({' and '.join(ends)})"] if len(self._twice) < _MOST_SHOWN else []
        self._with.update(ends[:1])
        self._all_exist = self._all_exist and bool(ends)

    def find_suffix(self, where: Path, config: FileDataConfig) -> str | None:
        if not self.rows.count or self._has_suffixes:
            return None
        if self._twice:
            more = self._count_twice - len(self._twice)
            shown = ", ".join(self._twice) + (f" and {more} more" if more else "")
            raise DataError(
                f"{where} names files without a suffix, and {self._count_twice} of them exist with several: {shown}. "
                f"Set {config.key_of('suffix')} to the one that is meant, or write whole names."
            )
        if len(self._with) > 1:
            found_ends = ", ".join(f"{count:,} as {end}" for end, count in self._with.most_common())
            raise DataError(
                f"{where} names files without a suffix, which exist with different ones: {found_ends}. Write whole "
                "names."
            )
        return next(iter(self._with)) if self._all_exist else None


def find_elsewhere(path: str, config: FileDataConfig) -> Path | None:
    """Return the root of ``data.source`` if a path that does not exist in another source exists there."""
    root = _find_other_root(config)
    return root if root is not None and os.path.isfile(root / path) else None


def _find_other_root(config: FileDataConfig) -> Path | None:
    """The root of ``data.source``, if this section is for another source without a root of its own."""
    if config.root is not None or config.main_root is None:
        return None
    return Path(config.main_root).expanduser().resolve()


def _normalize(value: Any) -> str:
    """Normalize a path: ./a.png and a.png are the same file."""
    return posixpath.normpath(str(value))


def _read_backslashes(root: Path, path: str) -> str:
    """Read backslashes as slashes if that leads to a file, and the literal path does not."""
    if "\\" not in path or os.path.isfile(root / path):
        return path
    converted = posixpath.normpath(path.replace("\\", "/"))
    return converted if os.path.isfile(root / converted) else path


def _refuse_two_roots(
    rule: PathRule, parts: Callable[[], Iterable[Sequence[Any]]], where: Path, config: FileDataConfig
) -> None:
    """Refuse a table without its own root if its paths exist under its folder and under the root of another source."""
    root, other = rule.root, _find_other_root(config)
    if other is None:
        return
    rows, twice = 0, _Counted()
    for values in parts():
        for path in map(rule.resolve, values):
            rows += 1
            both = root / path, other / path
            if all(map(os.path.isfile, both)) and not os.path.samefile(*both):
                twice.add(path)
    if twice.count:
        raise DataError(
            f"{where}: {twice.count} of {rows} paths lead to two files, such as {root / twice.first} "
            f"beside the table, and {other / twice.first} in data.root. Set {config.key_of('root')} to {root} or "
            f"{other}."
        )


def _explain_missing(
    missing: Sequence[str], count: int, root: Path, where: Path, config: FileDataConfig, folder: Path
) -> DataError:
    if all(os.path.exists(root / path) for path in missing):
        return DataError(
            f"{where} names {len(missing)} of {count} paths that are not files, but folders, pipes or devices: "
            f"{some(missing)}. Name files."
        )
    what = f"{where} names {len(missing)} of {count} files that do not exist: {some(missing)}."
    other = _find_other_root(config) if config.root is None else folder
    elsewhere = 0 if other is None else sum(os.path.isfile(other / path) for path in missing)
    if elsewhere:
        return DataError(
            f"{what} Paths are relative to {root}; {elsewhere:,} of them exist in {other}. If these are meant, "
            f"set {config.key_of('root')} to {other}."
        )
    if config.suffix == "auto" and not any(Path(path).suffix for path in missing):
        hint = (
            f"set {config.key_of('suffix')} if file names have one, or use {config.key_of('root')} for another folder"
        )
    else:
        hint = f"use {config.key_of('root')} for another folder"
    if any("\\" in path for path in missing):
        hint += "; paths with backslashes are tried with slashes, too, without a drive (C:)"
    return DataError(f"{what} Paths are relative to {root}; {hint}.")
