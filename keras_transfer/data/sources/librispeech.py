"""LibriSpeech: folders of speakers, with folders of chapters, each with recordings and a file of their transcripts."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.formats.recordings import AUDIO_SUFFIXES
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.transcribed_folders import PATH, SPEAKER, Transcribed, TranscribedFolder, split_lines
from keras_transfer.data.tables.split_names import find_split
from keras_transfer.data.tables.tables import some
from keras_transfer.data.tables.text_files import decode_text
from keras_transfer.errors import DataError

_ENDING = ".trans.txt"
_DEPTHS = range(1, 5)
_COLUMNS = (PATH, "text", SPEAKER, "chapter")


class LibriSpeech(TranscribedFolder):
    """``[SPLIT/]SPEAKER/CHAPTER/ID.flac``, with ``*.trans.txt`` beside them: lines of an ID and its transcript."""

    name, form = "librispeech", "a folder of LibriSpeech"
    text = "text"

    def fits(self, root: Path) -> bool:
        return any(next(root.glob("*/" * depth + "*" + _ENDING), None) is not None for depth in _DEPTHS)

    def load(self, root: Path, config: DataConfig) -> Transcribed:
        """Read all files of transcripts; folders such as ``train-clean-100`` and ``dev-clean`` are splits."""
        files = list_files(root).files
        transcripts = [file for file in files if file.name.endswith(_ENDING)]
        rows, splits = [], []
        for file in transcripts:
            found = _read_lines(file, root, config.encoding)
            rows += found
            splits += [_find_split_of(file, root)] * len(found)
        _refuse_mixed(root, transcripts)
        table = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        return Transcribed(table, splits, root, (*_note_splits(root, transcripts), *_note_others(root, files, rows)))

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


def _named_part(file: Path, root: Path) -> Path | None:
    """The folder above those of speakers that is named like a split; None if there is none."""
    for folder in reversed(file.relative_to(root).parents[2:-1]):
        if _split_of_name(folder.name) is not None:
            return root / folder
    return None


def _split_of_name(name: str) -> str | None:
    return find_split(re.split("[-_]", name)[0])


def _find_split_of(file: Path, root: Path) -> str:
    part = _named_part(file, root)
    return "" if part is None else str(_split_of_name(part.name))


def _parts(root: Path, files: Sequence[Path]) -> list[Path]:
    return sorted({part for file in files if (part := _named_part(file, root)) is not None})


def _refuse_mixed(root: Path, files: Sequence[Path]) -> None:
    """Refuse a folder of which only some parts are splits."""
    parts = _parts(root, files)
    others = [file.parent.relative_to(root).as_posix() for file in files if _named_part(file, root) is None]
    if parts and others:
        names = some([part.relative_to(root).as_posix() for part in parts], 5)
        raise DataError(
            f"{root} has folders named like splits ({names}), and transcripts outside of them ({some(others, 3)}). "
            "Move these into a folder such as train-own, or name one folder as the source."
        )


def _note_splits(root: Path, files: Sequence[Path]) -> list[str]:
    named = ", ".join(
        f"{part.relative_to(root).as_posix()} -> {_split_of_name(part.name)}" for part in _parts(root, files)
    )
    return [f"Splits by folder: {named}"] if named else []


def _note_others(root: Path, files: Sequence[Path], rows: Sequence[tuple[str, str | None, str, str]]) -> list[str]:
    """A line on recordings without a transcript."""
    known = {row[0] for row in rows}
    recordings = [file.relative_to(root) for file in files if file.suffix.lower() in AUDIO_SUFFIXES]
    others = [file.as_posix() for file in recordings if file.with_suffix("").as_posix() not in known]
    return [f"Left out, without a transcript: {len(others):,} recordings: {some(others, 3)}"] if others else []
