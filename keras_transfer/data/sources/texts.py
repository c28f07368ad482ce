"""Texts as a kind of examples."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import TextDataConfig
from keras_transfer.console.text import show_value
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.sources.base import Source, reads_labels, take_columns
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.folders import read_classes
from keras_transfer.data.tables.split_names import find_split
from keras_transfer.data.tables.tables import kind_of, some, some_values, take_texts
from keras_transfer.data.tables.text_files import AUTO, decode_text, describe_undecodable
from keras_transfer.data.targets.none import NO_TARGET
from keras_transfer.errors import DataError

# Files that may be next to texts and are clearly not texts. Names such as 37261 or 2004.07.spam are texts.
_OTHER_FILES = frozenset(
    """
    .7z .aac .aif .aiff .amr .avi .bin .bmp .bz2 .class .db .dll .doc .docx .epub .exe .flac .gif .gz .h5 .ico
    .ini .jar .jpeg .jpg .keras .lnk .m4a .mkv .mov .mp3 .mp4 .npy .npz .odp .ods .odt .oga .ogg .opus .parquet
    .pdf .pickle .pkl .png .ppt .pptx .pyc .rar .rtf .so .sqlite .svg .tar .tfrecord .tgz .tif .tiff .wav .webm
    .webp .wma .xls .xlsx .xz .zip .zst
    """.split()
)
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


class TextKind(ExampleKind[TextDataConfig]):
    """Texts, and pairs of texts.

    Bytes that are not UTF-8 become surrogates, and a text may be blank: ``checks.texts`` reports both.
    """

    name, plural = "text", "texts"
    reads_text_files = True

    def columns(self, config: TextDataConfig) -> Mapping[str, str]:
        return {"text": config.text} | ({} if config.text_pair is None else {"text_pair": config.text_pair})

    def from_folder(self, name: str, root: Path, config: TextDataConfig) -> Source:
        """Read a folder with one sub-folder per class; without labels, text files anywhere in it."""
        decoder = _Decoder(config.encoding)
        if reads_labels(config):
            source = read_class_folders(name, root, decoder, folders=config.folders)
        else:
            source = _read_loose_files(name, root, decoder)
        return replace(source, notes=(*source.notes, *decoder.notes))

    def has_classes(self, root: Path) -> bool:
        """Return whether there are text files in at least two sub-folders."""
        trains = (entry for entry in sorted(root.iterdir()) if entry.is_dir() and find_split(entry.name) == "train")
        root = next(trains, root)
        firsts = {file.relative_to(root).parts[0] for file in _text_files(root) if file.parent != root}
        return len(firsts) > 1

    def from_table(
        self,
        name: str,
        table: pd.DataFrame,
        config: TextDataConfig,
        *,
        where: Path | None = None,
        folder: Path | None = None,
    ) -> Source:
        where, columns, label_columns = where or Path(name), self.columns(config), config.label_columns
        taken, labels = take_columns(where, table, config, columns, drop=["text", "text_pair"])
        texts = {key: _read_texts(where, table, key, column, label_columns) for key, column in columns.items()}
        names = [f"row {number}" for number in range(1, len(taken) + 1)]
        return Source(name, where, taken.assign(name=names, **texts), labels.names, notes=labels.notes)

    def check(self, source: Source, config: TextDataConfig) -> None:
        """Refuse a source of single texts if the recipe has pairs."""
        if config.text_pair is not None and "text_pair" not in source.rows.columns:
            raise DataError(
                f"data.text_pair: {source.name} has no second texts. Received: {config.text_pair!r}. "
                "Put pairs into a table, or remove data.text_pair."
            )

    def to_examples(self, source: Source, rows: pd.DataFrame, config: TextDataConfig) -> Examples:
        columns = ["text"] if config.text_pair is None else ["text", "text_pair"]
        return Texts(tuple(rows["name"]), tuple(rows[columns].itertuples(index=False, name=None)))


class _Decoder:
    """Decodes the content of files, and counts those that are not UTF-8."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._seen: Counter[str] = Counter()

    def __call__(self, data: bytes) -> str:
        try:
            decoded = decode_text(data, self._encoding)
        except UnicodeDecodeError:
            if self._encoding != AUTO:
                raise
            return data.decode("utf-8", "surrogateescape")  # the scan reports it
        if decoded.note is not None:
            self._seen[decoded.note] += 1
        return decoded.text

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"Text files that are {note}: {count:,}" for note, count in self._seen.items())


def is_text_file(file: Path) -> bool:
    """Return whether a file of a folder is treated as a text: it has no suffix of images, archives and the like."""
    return file.suffix.lower() not in _OTHER_FILES


def read_class_folders(name: str, root: Path, decode: Callable[[bytes], str], *, folders: str = "auto") -> Source:
    """Read text files from a folder with one sub-folder per class.

    Args:
        folders: ``data.folders``: what the sub-folders are.

    Raises:
        DataError: There are no classes, or a file cannot be read.
    """
    rows, notes = read_classes(root, "text files", is_text_file, folders=folders)
    texts = _read_texts_of([root / path for path in rows["path"]], decode)
    rows = rows.rename(columns={"path": "name"}).assign(text=pd.Series(texts, dtype=object))
    return Source(name, root, rows, tuple(sorted(set(rows["label"]))), notes=notes)


def _read_texts_of(files: Sequence[Path], decode: Callable[[bytes], str]) -> list[str]:
    texts = []
    for file in files:
        try:
            texts.append(decode(file.read_bytes()))
        except OSError as error:
            raise DataError(f"Cannot read {file}: {error.strerror}. Fix or remove it.") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"Cannot read {file}: {describe_undecodable(error)}. Set data.encoding to the encoding of the files."
            ) from error
        except ValueError as error:
            raise DataError(f"Cannot read {file}: {error}. Remove data.encoding, or convert the file.") from error
    return texts


def _read_texts(file: Path, table: pd.DataFrame, key: str, column: str, labels: Sequence[str]) -> "pd.Series[Any]":
    """A column of texts; missing values are ""."""
    values, wrong = take_texts(table, column)
    if not wrong and not _are_numbers(file, table[column]):
        return pd.Series(values, index=table.index, dtype=object)
    known = [str(name) for name in table.columns if name not in (column, *labels) and _are_texts(file, table[name])]
    others = f"Columns of text: {some(known, 30) or 'none'}; name one with data.{key}"
    if _are_numbers(file, table[column]):
        shown = some([show_value(value) for value in values if value != ""], 3)
        raise DataError(
            f"{file}: column {column!r} has numbers; expected texts: {shown}. {others}. "
            f'If these are the texts, write table["{column}"].astype(str) to Parquet or JSONL.'
        )
    raise DataError(
        f"{file}: column {column!r} has values that are not text: {some_values(values, wrong)}. {others}, "
        "or convert these to text."
    )


def _are_numbers(file: Path, column: "pd.Series[Any]") -> bool:
    """Whether a column only has numbers; in a CSV all values are text, and text that looks like a number counts."""
    values = column.dropna().tolist()
    if file.suffix.lower() in (".csv", ".tsv"):
        return bool(values) and all(_NUMBER.fullmatch(value) for value in values)
    return bool(values) and all(kind_of(value) == "number" for value in values)


def _are_texts(file: Path, column: "pd.Series[Any]") -> bool:
    values = column.dropna().tolist()
    return bool(values) and all(isinstance(value, str) for value in values) and not _are_numbers(file, column)


def _text_files(root: Path) -> list[Path]:
    """All text files in the order of their paths, except hidden ones and those in hidden folders."""
    return [file for file in list_files(root).files if file.is_file() and is_text_file(file)]


def _read_loose_files(name: str, root: Path, decode: Callable[[bytes], str]) -> Source:
    files = _text_files(root)
    if not files:
        raise DataError(f"Folder {root} has no text files. Add some, or use another folder.")
    names = [file.relative_to(root).as_posix() for file in files]
    firsts = [find_split(path.partition("/")[0]) if "/" in path else None for path in names]
    splits = [(first or "train") if "train" in firsts else "" for first in firsts]
    texts = _read_texts_of(files, decode)
    rows = pd.DataFrame({"name": names, "text": pd.Series(texts, dtype=object), "split": splits})
    return Source(name, root, rows.assign(label=NO_TARGET.names[0]), NO_TARGET.names)
