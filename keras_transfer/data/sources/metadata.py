"""Folders with a table of labels, as Hugging Face's ImageFolder and AudioFolder have them: metadata.csv, .jsonl."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from keras_transfer.config.data import DataConfig, FileDataConfig
from keras_transfer.data.sources.files import is_hidden
from keras_transfer.data.tables.split_names import find_split, find_twins
from keras_transfer.data.tables.tables import read_table, some
from keras_transfer.errors import DataError

FileConfig = TypeVar("FileConfig", bound=FileDataConfig)

FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
"""The column of paths, relative to the file."""


@dataclass(frozen=True)
class Metadata:
    """The tables of a folder.

    Attributes:
        frame: One row per file; file names are relative to the folder.
        splits: The split of each row, "" if the folder has none.
        notes: Lines for the user.
    """

    frame: pd.DataFrame
    splits: Sequence[str]
    notes: tuple[str, ...]


def find_metadata(root: Path, config: DataConfig) -> list[Path]:
    """Return the tables of labels of a folder, or of the folders of its splits; none if it has no such tables.

    A table without the label columns, beside class folders, is not one: captions are no labels.

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


def read_metadata(root: Path, files: Sequence[Path], config: DataConfig) -> Metadata:
    """Read the tables of labels of a folder.

    Args:
        files: From :func:`find_metadata`.

    Raises:
        DataError: A table cannot be read, or a split has none.
    """
    for split, twins in find_twins(file.parent.name for file in files if file.parent != root).items():
        raise DataError(f"{root} has {len(twins)} folders for the {split} split: {' and '.join(twins)}. Keep one.")
    frames: list[pd.DataFrame] = []
    splits: list[str] = []
    notes: list[str] = []
    for file in files:
        table = read_table(file)
        if FILE_NAME not in table.frame.columns:
            known = some(map(str, table.frame.columns), 30)
            raise DataError(f"{file} has no column {FILE_NAME!r}. Columns: {known}. Name the column of files so.")
        prefix = file.parent.relative_to(root).as_posix()
        names = table.frame[FILE_NAME].map(lambda name, prefix=prefix: name if name is None else f"{prefix}/{name}")
        frames.append(table.frame.assign(**{FILE_NAME: names}))
        splits += [find_split(file.parent.name) or "" if file.parent != root else ""] * len(names)
        notes += table.notes
    columns = f"columns {FILE_NAME} and {', '.join(config.label_columns)}" if config.label_columns else FILE_NAME
    names_of_files = " and ".join(file.relative_to(root).as_posix() for file in files)
    note = f"Labels from {names_of_files} ({columns}), as Hugging Face's datasets read them"
    frame = pd.concat(frames, ignore_index=True)
    return Metadata(frame, splits, (note, *notes))


def without_own_paths(config: FileConfig) -> FileConfig:
    """Return the section with the column of file names, whatever the recipe's tables call theirs."""
    return config.model_copy(update={"path": FILE_NAME, "root": None, "suffix": "auto"})
