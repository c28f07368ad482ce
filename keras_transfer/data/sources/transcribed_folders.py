"""Folders of recordings with transcripts, in the layouts of published speech corpora."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.config.section import is_set
from keras_transfer.data.formats.recordings import AUDIO_SUFFIXES
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.data.tables.split_names import find_split
from keras_transfer.data.tables.tables import some
from keras_transfer.data.tables.text_files import decode_text
from keras_transfer.errors import DataError

PATH, SPEAKER = "path", "speaker"
_SPLIT = "split of the folder"


@dataclass(frozen=True)
class Transcribed:
    """The content of such a folder.

    Attributes:
        table: One row per recording, with the columns ``path``, ``speaker``, that of the transcripts, and any others.
        splits: The split of each row; "" for rows that are not divided yet.
        folder: The folder that the paths are relative to.
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
        """Return a hint on naming one split of a folder, as the end of a sentence."""

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
    """Return lines separated only by line ends: ``splitlines`` would also split at a line separator in a sentence."""
    return text.replace("\r\n", "\n").split("\n")


def _note_speakers(rows: pd.DataFrame, config: DataConfig) -> list[str]:
    """A line on speakers, by which a recipe may group the rows."""
    if config.group is not None or (rows["split"] != "").any():
        return []
    count = rows[SPEAKER].nunique()
    return [f"{count:,} speakers: data.group={SPEAKER} keeps the recordings of each in one split"] if count > 1 else []


_CLIPS, _SENTENCE, _CLIENT = "clips", "sentence", "client_id"
_TABLES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
_ALL = "validated.tsv"


class CommonVoice(TranscribedFolder):
    """A folder of one language: ``clips/``, and train.tsv, dev.tsv and test.tsv, or validated.tsv."""

    name, form = "common_voice", "a folder of Common Voice"
    text = _SENTENCE

    def fits(self, root: Path) -> bool:
        return (root / _CLIPS).is_dir() and any((root / file).is_file() for file in (*_TABLES.values(), _ALL))

    def load(self, root: Path, config: DataConfig) -> Transcribed:
        """Read train.tsv, dev.tsv and test.tsv; or validated.tsv, which has the rows of all three."""
        parts = {split: root / file for split, file in _TABLES.items() if (root / file).is_file()}
        if "train" not in parts:
            if not (root / _ALL).is_file():
                names = some([file.name for file in parts.values()])
                raise DataError(f"{root} has {names}, but neither train.tsv nor {_ALL}. Add one.")
            parts = {"": root / _ALL}
        frames = {split: _read_table(file, config.encoding) for split, file in parts.items()}
        table = pd.concat(frames.values(), ignore_index=True)
        if SPEAKER not in table.columns:
            table = table.assign(**{SPEAKER: table[_CLIENT]})
        splits = [split for split, frame in frames.items() for _ in range(len(frame))]
        read = ", ".join(f"{file.name} ({len(frames[split]):,} rows)" for split, file in parts.items())
        return Transcribed(table, splits, root / _CLIPS, (f"Common Voice: {read}",))

    def advise_part(self, name: str, split: str) -> str:
        return f"{name}/{_TABLES[split]}, with root={name}/{_CLIPS} and data.label={_SENTENCE}"


def _read_table(file: Path, encoding: str) -> pd.DataFrame:
    """Read a table without quoting, so that a sentence may start with a quote; all values are text."""
    try:
        lines = split_lines(decode_text(file.read_bytes(), encoding).text)
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read table {file}: {getattr(error, 'strerror', None) or error}. Fix it.") from error
    header = lines[0].split("\t") if lines else []
    absent = [column for column in (PATH, _SENTENCE, _CLIENT) if column not in header]
    if absent:
        raise DataError(f"{file} has no column {absent[0]!r}. Columns: {some(header, 30) or 'none'}.")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        if len(fields) > len(header):
            raise DataError(
                f"{file}: line {number} has {len(fields)} fields, but the header has {len(header)}. Fix it."
            )
        if line:
            rows.append([_unquote(field) or None for field in fields] + [None] * (len(header) - len(fields)))
    return pd.DataFrame(rows, columns=header, dtype=object)


def _unquote(field: str) -> str:
    """Remove quotes from a field: some releases double quotes in quoted fields, as CSV does, and others escape them."""
    inner = field[1:-1].replace('""', "\0")
    if len(field) > 1 and field[0] == field[-1] == '"' and "\0" in inner and '"' not in inner:
        return inner.replace("\0", '"')
    return field.replace('\\"', '"')


_ENDING = ".trans.txt"
_DEPTHS = range(1, 5)
_COLUMNS = (PATH, "text", SPEAKER, "chapter")


class LibriSpeech(TranscribedFolder):
    """``[SPLIT/]SPEAKER/CHAPTER/ID.flac``, with ``*.trans.txt`` next to them: lines of an ID and its transcript."""

    name, form = "librispeech", "a folder of LibriSpeech"
    text = "text"

    def fits(self, root: Path) -> bool:
        return any(next(root.glob("*/" * depth + "*" + _ENDING), None) is not None for depth in _DEPTHS)

    def load(self, root: Path, config: DataConfig) -> Transcribed:
        """Read all files of transcripts; folders such as ``train-clean-100`` and ``dev-clean`` are splits."""
        files = list_files(root).files
        parts = {file: _find_part(file, root) for file in files if file.name.endswith(_ENDING)}
        rows, splits = [], []
        for file, part in parts.items():
            found = _read_lines(file, root, config.encoding)
            rows += found
            splits += ["" if part is None else str(_split_of_name(part.name))] * len(found)
        named = sorted({part for part in parts.values() if part is not None})
        _refuse_mixed(root, named, [file for file, part in parts.items() if part is None])
        table = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        read = ", ".join(f"{part.as_posix()} -> {_split_of_name(part.name)}" for part in named)
        notes = [f"Splits by folder: {read}"] if named else []
        return Transcribed(table, splits, root, (*notes, *_note_others(root, files, rows)))

    def advise_part(self, name: str, split: str) -> str:
        return f"its folder in {name}"


def _read_lines(file: Path, root: Path, encoding: str) -> list[tuple[str, str | None, str, str]]:
    try:
        lines = split_lines(decode_text(file.read_bytes(), encoding).text)
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {file}: {getattr(error, 'strerror', None) or error}. Fix it.") from error
    chapter, speaker = file.parent, file.parent.parent
    pairs = [line.strip().partition(" ") for line in lines if line.strip()]
    folder = chapter.relative_to(root)
    return [((folder / name).as_posix(), text or None, speaker.name, chapter.name) for name, _, text in pairs]


def _find_part(file: Path, root: Path) -> Path | None:
    """The folder above those of speakers whose name is that of a split, relative to the root; None if there is none."""
    folders = reversed(file.relative_to(root).parents[2:-1])
    return next((folder for folder in folders if _split_of_name(folder.name) is not None), None)


def _split_of_name(name: str) -> str | None:
    return find_split(re.split("[-_]", name)[0])


def _refuse_mixed(root: Path, named: Sequence[Path], others: Sequence[Path]) -> None:
    """Refuse a folder of which only some parts are splits."""
    if named and others:
        names = some([part.as_posix() for part in named], 5)
        outside = some([file.parent.relative_to(root).as_posix() for file in others], 3)
        raise DataError(
            f"{root} has folders named like splits ({names}), and transcripts outside of them ({outside}). "
            "Move these into a folder such as train-own, or name one folder as the source."
        )


def _note_others(root: Path, files: Sequence[Path], rows: Sequence[tuple[str, str | None, str, str]]) -> list[str]:
    """A line on recordings without a transcript."""
    known = {row[0] for row in rows}
    recordings = [file.relative_to(root) for file in files if file.suffix.lower() in AUDIO_SUFFIXES]
    others = [file.as_posix() for file in recordings if file.with_suffix("").as_posix() not in known]
    return [f"Left out, without a transcript: {len(others):,} recordings: {some(others, 3)}"] if others else []
