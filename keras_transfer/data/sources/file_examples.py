"""What kinds of examples that are files share: folders, tables of labels in them, and objects."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from keras_transfer.config.data import DataConfig, FileDataConfig
from keras_transfer.data.sources.base import Source, take_columns
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import is_hidden, list_files
from keras_transfer.data.sources.folders import read_classes
from keras_transfer.data.sources.paths import find_files
from keras_transfer.data.sources.python_contents import ContentForm, content_records, holds_contents
from keras_transfer.data.sources.python_objects import has_columns
from keras_transfer.data.sources.shards import to_source
from keras_transfer.data.tables.split_names import find_split, find_twins
from keras_transfer.data.tables.tables import check_columns, check_filled, check_written, read_table, some
from keras_transfer.errors import DataError

FileConfig = TypeVar("FileConfig", bound=FileDataConfig)

FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
"""The column of paths, relative to the file."""

_SPLIT = "split of the folder"


def find_metadata(root: Path, config: DataConfig) -> list[Path]:
    """Return the tables of labels of a folder, or of the folders of its splits; none if it has no such tables.

    A table without the label columns, next to class folders, does not count: captions are not labels.

    Args:
        config: The data section: with ``data.folders``, classes come from folders in any case.

    Raises:
        DataError: There are two tables in one folder, or a table cannot be read.
    """
    if config.folders != "auto":
        return []
    try:
        folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    except OSError:
        return []
    named = [folder for folder in folders if find_split(folder.name) is not None]
    has_train = any(find_split(folder.name) == "train" for folder in named)
    found = [file for folder in (root, *(named if has_train else ())) for file in _find_in(folder)]
    if len(found) > 1 and found[0].parent == root:
        raise DataError(f"{root} has tables of labels at two levels: {found[0]} and {found[1]}. Keep one of them.")
    usable = [file for file in found if _is_usable(file, config)]
    has_classes = any(folder not in named for folder in folders) and not has_train
    if found and not usable and not has_classes:
        return found  # reading it names the columns that it lacks
    return usable


def _find_in(folder: Path) -> list[Path]:
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise DataError(f"{folder} has {names}, which both could be the table of its labels. Keep one of them.")
    return found


def _is_usable(file: Path, config: DataConfig) -> bool:
    columns = read_table(file).frame.columns
    return FILE_NAME in columns and set(config.label_columns) <= set(columns)


def _read_metadata(root: Path, files: Sequence[Path], config: DataConfig) -> tuple[pd.DataFrame, list[str]]:
    """Read the tables of labels of a folder.

    Args:
        files: From :func:`find_metadata`.

    Returns:
        One row per file, with file names relative to the folder and, as :data:`_SPLIT`, the split of its folder or "".
        And lines on how they were read.

    Raises:
        DataError: A table cannot be read, or a split has two folders.
    """
    for split, twins in find_twins(file.parent.name for file in files if file.parent != root).items():
        raise DataError(f"{root} has {len(twins)} folders for the {split} split: {' and '.join(twins)}. Keep one.")
    frames: list[pd.DataFrame] = []
    notes: list[str] = []
    for file in files:
        table = read_table(file)
        if FILE_NAME not in table.frame.columns:
            known = some(map(str, table.frame.columns), 30)
            raise DataError(f"{file} has no column {FILE_NAME!r}. Columns: {known}. Name the column of files so.")
        prefix = file.parent.relative_to(root).as_posix()
        names = table.frame[FILE_NAME].map(lambda name, prefix=prefix: name if name is None else f"{prefix}/{name}")
        split = "" if file.parent == root else find_split(file.parent.name) or ""
        frames.append(table.frame.assign(**{FILE_NAME: names}).assign(**{_SPLIT: split}))
        notes += table.notes
    columns = f"columns {FILE_NAME} and {', '.join(config.label_columns)}" if config.label_columns else FILE_NAME
    names_of_files = " and ".join(file.relative_to(root).as_posix() for file in files)
    note = f"Labels from {names_of_files} ({columns}), as Hugging Face's datasets read them"
    return pd.concat(frames, ignore_index=True), [note, *notes]


class FileKind(ExampleKind[FileConfig]):
    """Examples that are files, whose paths are the rows of a table, or the encoded bytes of files."""

    @abstractmethod
    def form(self, config: FileConfig) -> ContentForm:
        """Return the form of one example as a Python object."""

    def columns(self, config: FileConfig) -> Mapping[str, str]:
        return {"path": config.path}

    def arrange(self, name: str, rows: pd.DataFrame, config: FileConfig) -> pd.DataFrame:
        """Return the rows of a table in an order that does not depend on that of the table.

        Raises:
            DataError: Two rows have the same example.
        """
        repeated = rows["path"][rows["path"].duplicated()].tolist()
        if repeated:
            raise DataError(
                f"Data source {name} names {len(repeated)} {self.plural} twice: {some(repeated)}. Keep one row for "
                "each."
            )
        return rows.sort_values("path", kind="stable", ignore_index=True)

    def from_folder(self, name: str, root: Path, config: FileConfig) -> Source:
        """List the files of a folder with one sub-folder per class, or with a table of labels in it."""
        tables = find_metadata(root, config)
        if tables:
            return self._from_metadata(name, root, tables, config)
        rows, notes = read_classes(root, self.plural, lambda file: True, folders=config.folders)
        return Source(name, root, rows, tuple(sorted(set(rows["label"]))), notes=notes)

    def has_table(self, root: Path, config: FileConfig) -> bool:
        """Return whether there is a ``metadata.csv`` or the like."""
        return bool(find_metadata(root, config))

    def _from_metadata(self, name: str, root: Path, tables: Sequence[Path], config: FileConfig) -> Source:
        frame, notes = _read_metadata(root, tables, config)
        where = tables[0] if len(tables) == 1 else root
        # The column of file names is the standard one, whatever the recipe calls that of its tables.
        section = config.model_copy(update={"path": FILE_NAME, "root": None, "suffix": "auto"})
        source = self.from_table(name, frame, section, where=where, folder=root)
        splits = source.rows.pop(_SPLIT)
        rows = source.rows if config.split is not None else source.rows.assign(split=splits)
        return replace(source, rows=rows, notes=(*notes, *source.notes, *_note_unlisted(source, tables)))

    def from_table(
        self,
        name: str,
        table: pd.DataFrame,
        config: FileConfig,
        *,
        where: Path | None = None,
        folder: Path | None = None,
    ) -> Source:
        """Check a table of paths: each has to exist, and no two rows may have the same example."""
        where, columns = where or Path(name), self.columns(config)
        further = self.further_columns(config)
        if further:
            check_columns(where, table.columns, config, {**columns, **further})
        taken, labels = take_columns(where, table, config, columns, drop=["path"])
        check_filled(where, table, config.path)
        check_written(where, table, config.path)
        rule, paths = find_files(where, table[config.path].tolist(), config, folder=folder or Path.cwd())
        rows = taken.assign(path=paths)
        if config.group == config.path:  # several examples may be in one file
            rows = rows.assign(**{config.group: paths})
        rows = self.arrange(name, rows, config)
        return Source(name, rule.root, rows, labels.names, notes=(*labels.notes, *rule.notes))

    def from_object(self, name: str, data: Any, config: FileConfig) -> Source:
        """Read the examples in an object, or the paths."""
        if not has_columns(data):  # as in a folder, examples are whole files
            config = config.model_copy(update=dict.fromkeys(self.further_columns(config)))
        form = self.form(config)
        if holds_contents(data, config, form):
            return to_source(name, content_records(data, config, form), config, facts=None)
        return super().from_object(name, data, config)


def _note_unlisted(source: Source, tables: Sequence[Path]) -> list[str]:
    """A line on the files of a folder that its tables of labels do not list."""
    listed = {source.root / path for path in source.rows["path"]} | set(tables)
    others = [file for file in list_files(source.root).files if file not in listed]
    names = some([file.relative_to(source.root).as_posix() for file in others], 3)
    return [f"Left out, not listed in {tables[0].name}: {len(others):,} of the files: {names}"] if others else []
