"""What kinds of examples that are files have in common: folders, tables of paths, and objects that hold them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from keras_transfer.config.data import FileDataConfig
from keras_transfer.data.sources.base import Source, take_columns
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.folders import read_classes
from keras_transfer.data.sources.metadata import find_metadata, read_metadata, without_own_paths
from keras_transfer.data.sources.paths import find_files
from keras_transfer.data.sources.python_contents import ContentForm, content_records, holds_contents
from keras_transfer.data.sources.python_objects import has_columns
from keras_transfer.data.sources.shards import to_source
from keras_transfer.data.tables.tables import check_columns, check_filled, check_written, some
from keras_transfer.errors import DataError

FileConfig = TypeVar("FileConfig", bound=FileDataConfig)

_SPLIT = "split of the folder"


class FileKind(ExampleKind[FileConfig]):
    """Examples that are files, whose paths are the rows of a table, or the encoded bytes of files."""

    @abstractmethod
    def form(self, config: FileConfig) -> ContentForm:
        """Return what one example is as a Python object."""

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
        metadata = read_metadata(root, tables, config)
        frame = metadata.frame.assign(**{_SPLIT: metadata.splits})
        where = tables[0] if len(tables) == 1 else root
        source = self.from_table(name, frame, without_own_paths(config), where=where, folder=root)
        splits = source.rows.pop(_SPLIT)
        rows = source.rows if config.split is not None else source.rows.assign(split=splits)
        return replace(source, rows=rows, notes=(*metadata.notes, *source.notes, *_note_unlisted(source, tables)))

    def from_table(
        self,
        name: str,
        table: pd.DataFrame,
        config: FileConfig,
        *,
        where: Path | None = None,
        folder: Path | None = None,
    ) -> Source:
        """Check a table of paths; each names a file that exists, and no two rows have the same example."""
        where, columns = where or Path(name), self.columns(config)
        further = self.further_columns(config)
        if further:
            check_columns(where, [str(column) for column in table.columns], config, {**columns, **further})
        taken, labels = take_columns(where, table, config, columns, drop=["path"])
        check_filled(where, table, config.path)
        check_written(where, table, config.path)
        found = find_files(where, table[config.path].tolist(), config, folder=folder or Path.cwd())
        rows = taken.assign(path=list(found.paths))
        if config.group == config.path:  # several examples may be in one file
            rows = rows.assign(**{config.group: list(found.paths)})
        rows = self.arrange(name, rows, config)
        return Source(name, found.root, rows, labels.names, notes=(*labels.notes, *found.notes))

    def from_object(self, name: str, data: Any, config: FileConfig) -> Source:
        """Read the examples that an object holds, or the paths."""
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
