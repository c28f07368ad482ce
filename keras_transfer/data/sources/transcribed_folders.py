"""Folders of recordings with transcripts beside them, as published sets of speech have them."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.config.section import is_set
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.errors import DataError

PATH, SPEAKER = "path", "speaker"
_SPLIT = "split of the folder"


@dataclass(frozen=True)
class Transcribed:
    """What such a folder has.

    Attributes:
        table: One row per recording, with the columns ``path``, ``speaker``, that of the transcripts, and any others.
        splits: The split of each row; "" for rows that are still to be divided.
        folder: What the paths are relative to.
        notes: Lines for the user.
    """

    table: pd.DataFrame
    splits: list[str]
    folder: Path
    notes: tuple[str, ...] = ()


class TranscribedFolder(SourceKind):
    """A folder of transcribed recordings in a known layout, for tasks that read transcripts."""

    refines = "folder"

    text: str
    """The column of the transcripts."""

    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether the task reads transcripts, and it is such a folder."""
        if config.example_kind != "speech" or not name:
            return False
        root = Path(name).expanduser()
        return root.is_dir() and self.fits(root)

    @abstractmethod
    def fits(self, root: Path) -> bool:
        """Return whether a folder has this layout; quickly."""

    @abstractmethod
    def load(self, root: Path, config: DataConfig) -> Transcribed:
        """Read the transcripts of a folder.

        Raises:
            DataError: They cannot be read.
        """

    @abstractmethod
    def advise_part(self, name: str, split: str) -> str:
        """Return how to name one split of a folder, as the end of a sentence."""

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        root = Path(self.absolute(name))
        loaded = self.load(root, config)
        own: dict[str, Any] = {"path": PATH, "root": None, "suffix": "auto"}
        if reads_labels(config) and not is_set(config, "label"):
            own["label"] = self.text
        table = loaded.table.assign(**{_SPLIT: loaded.splits})
        section = config.model_copy(update=own)
        source = examples.from_table(name, table, section, where=root, folder=loaded.folder)
        splits = source.rows.pop(_SPLIT)
        rows = source.rows if config.split is not None else source.rows.assign(split=splits)
        return replace(source, rows=rows, notes=(*loaded.notes, *_note_speakers(rows, config), *source.notes))

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        """Return the keys of paths, tables and folders of classes."""
        keys = ("path", "bytes", "root", "suffix", "delimiter", "folders")
        return dict.fromkeys(keys, f"{name} is {self.form}, which has its own tables of paths")

    def check_whole(self, source: Source) -> None:
        splits = sorted(set(source.rows["split"]))
        if len(splits) > 1:
            raise DataError(
                f"{source.name} has the splits {', '.join(splits)}. Name the one to use: "
                f"{self.advise_part(source.name, splits[0])}."
            )

    def absolute(self, name: str) -> str:
        return str(Path(name).expanduser().resolve())


def split_lines(text: str) -> list[str]:
    """Return lines as files have them: ``splitlines`` would also divide a sentence with a line separator in it."""
    return text.replace("\r\n", "\n").split("\n")


def _note_speakers(rows: pd.DataFrame, config: DataConfig) -> list[str]:
    """A line on speakers, by whom a recipe may divide the rows."""
    if config.group is not None or (rows["split"] != "").any():
        return []
    count = rows[SPEAKER].nunique()
    return [f"{count:,} speakers: data.group={SPEAKER} keeps the recordings of each in one split"] if count > 1 else []
