"""Common Voice: a folder of a language, with ``clips/`` and tables of their sentences."""

from pathlib import Path

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.transcribed_folders import PATH, SPEAKER, Transcribed, TranscribedFolder, split_lines
from keras_transfer.data.tables.tables import some
from keras_transfer.data.tables.text_files import decode_text
from keras_transfer.errors import DataError

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
    """A table without quotes around fields, so that a sentence may start with one; all values are text."""
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
    """Releases differ: some double quotes in quoted fields, as CSV does, and others put a backslash before each."""
    inner = field[1:-1].replace('""', "\0")
    if len(field) > 1 and field[0] == field[-1] == '"' and "\0" in inner and '"' not in inner:
        return inner.replace("\0", '"')
    return field.replace('\\"', '"')
