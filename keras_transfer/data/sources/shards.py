"""Encoded files as bytes in columns of Parquet and Arrow files, and other examples that are not files."""

import contextlib
import glob
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pyarrow import ipc, parquet

from keras_transfer.config.data import DataConfig, FileDataConfig
from keras_transfer.data.sources.base import TFDS, Source, take_columns
from keras_transfer.data.sources.encoded_bytes import Record, cache_records
from keras_transfer.data.sources.example_kinds import ExampleKind, find_example_kind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.data.tables.tables import check_columns, some
from keras_transfer.errors import DataError, first_line
from keras_transfer.storage.content_hashes import hash_folder

_SUFFIXES = (".parquet", ".arrow")
_ROWS = 64
_BUFFER = 1 << 20


def to_source(
    name: str,
    records: Iterable[Record],
    config: FileDataConfig,
    *,
    facts: object | None,
    class_names: tuple[str, ...] | None = None,
) -> Source:
    """Write examples to the cache, and check their other columns.

    Args:
        facts: Facts that determine the content, as the cache key; None if only the content itself does.
        class_names: In order; by default the names that occur, sorted.

    Raises:
        DataError: A column is missing, or its values are not of the expected kind.
    """
    kind = find_example_kind(config)
    encoded, table = cache_records(records, source=name, plural=kind.plural, facts=facts)
    further = kind.further_columns(config)
    if further:
        check_columns(Path(name), table.columns, config, further)
    rows, labels = take_columns(Path(name), table, config, {})
    return Source(name, Path(), rows, class_names or labels.names, encoded, labels.notes)


class Shards(SourceKind):
    """Parquet and Arrow files with a column of encoded files, which ``data.bytes`` names."""

    name, form = "shards", "Parquet or Arrow files with data.bytes"

    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether the recipe names a column of bytes, and the name is such a file, a folder or a pattern."""
        return reads_shards(name, config)

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        return _read_shards(name, cast(FileDataConfig, config))

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        keys = ("path", "root", "suffix", "encoding", "delimiter", "folders")
        return dict.fromkeys(keys, f"the {examples.plural} of {name} come from the column data.bytes")

    def absolute(self, name: str) -> str:
        path = Path(name).expanduser()
        return str(path.absolute() if glob.has_magic(name) and not path.exists() else path.resolve())


def reads_shards(name: str, config: DataConfig) -> bool:
    """Return whether a recipe reads a source as Parquet or Arrow files, and not as a folder or a table of paths."""
    # As a path, "" would be the working folder.
    if not name or getattr(config, "bytes", None) is None:
        return False
    path = Path(name).expanduser()
    if path.is_dir():
        return any(file.suffix.lower() in _SUFFIXES for file in list_files(path).files)
    return path.suffix.lower() in _SUFFIXES or (glob.has_magic(name) and not name.startswith(TFDS))


def _find_shards(name: str) -> list[Path]:
    """Return the files that a name refers to: one, all in a folder, or those that match ``a/*.parquet``.

    Raises:
        DataError: There are none, or one is not a Parquet or Arrow file.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        files = [file for file in list_files(path).files if file.suffix.lower() in _SUFFIXES]
    elif glob.has_magic(name):
        files = [Path(file) for file in glob.glob(str(path), recursive=True)]
    else:
        files = [path]
    wrong = [str(file) for file in files if file.suffix.lower() not in _SUFFIXES or not file.is_file()]
    if wrong or not files:
        raise DataError(
            f"data.bytes names a column of Parquet or Arrow files, and {name} "
            f"{f'refers to {some(wrong)}' if wrong else 'has no such files'}. Use a file, a folder of such files, or "
            "a pattern such as a/*.parquet."
        )
    return sorted(file.resolve() for file in files)


def _read_shards(name: str, config: FileDataConfig) -> Source:
    """Read a column that has the content of files, or Hugging Face's pairs of ``bytes`` and ``path``.

    Class names and their order are those of Hugging Face's metadata, if there are any.
    """
    files = _find_shards(name)
    for file in files:
        schema = _read_schema(file)
        further = find_example_kind(config).further_columns(config)
        check_columns(file, schema.names, config, {"bytes": str(config.bytes), **further})
        if not _holds_bytes(schema.field(config.bytes).type):
            kinds = some([field.name for field in schema if _holds_bytes(field.type)]) or "none"
            raise DataError(
                f"{file}: column {config.bytes!r} has type {schema.field(config.bytes).type}; expected the bytes of "
                f"files. Columns of bytes: {kinds}. Name one with data.bytes."
            )
    label = next(iter(config.label_columns), "")
    names = _class_names(_read_schema(files[0]), label) if config.target == "class" else None
    with _explained(files[0].parent):
        contents = hash_folder(files, Path(os.path.commonpath([file.parent for file in files])))
    if len(contents) == 1:
        contents[0][0] = ""  # the names of its rows do not include its name
    records = _shard_records(files, str(config.bytes), label, names)
    return to_source(name, records, config, facts=["shards", config.bytes, label, contents], class_names=names)


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """The names in Hugging Face's metadata for a column of numbers."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        return tuple(map(str, feature["names"]))
    except (KeyError, TypeError, ValueError):
        return None


def _shard_records(files: list[Path], column: str, label: str, names: tuple[str, ...] | None) -> Iterator[Record]:
    root = os.path.commonpath([file.parent for file in files])
    for file in files:
        prefix = f"{file.relative_to(root)} " if len(files) > 1 else ""
        numbers = itertools.count(1)
        for batch in _read_batches(file):
            kept = [field.name for field in batch.schema if not _holds_bytes(field.type)]
            for content, row in zip(batch.column(column).to_pylist(), batch.select(kept).to_pylist(), strict=True):
                if names is not None and row[label] is not None:
                    row[label] = names[row[label]] if 0 <= row[label] < len(names) else None
                content = content["bytes"] if isinstance(content, dict) else content
                yield Record(f"{prefix}row {next(numbers)}", content or b"", row)


def _read_schema(file: Path) -> Any:
    with _explained(file):
        if file.suffix.lower() == ".parquet":
            return parquet.read_schema(file)
        with pa.memory_map(str(file)) as mapped:
            return _open_arrow(mapped).schema


def _read_batches(file: Path) -> Iterator[Any]:
    """Read a few rows at a time; a row group of Parquet is read in pieces."""
    with _explained(file):
        if file.suffix.lower() == ".parquet":
            with parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as opened:
                yield from opened.iter_batches(batch_size=_ROWS)
            return
        with pa.memory_map(str(file)) as mapped:
            reader = _open_arrow(mapped)
            count = getattr(reader, "num_record_batches", None)
            yield from reader if count is None else map(reader.get_batch, range(count))


def _open_arrow(mapped: Any) -> Any:
    """Files have a footer; streams, which Hugging Face's ``save_to_disk`` writes, do not."""
    try:
        return ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        return ipc.open_stream(mapped)


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"Cannot read {file}: {first_line(error).rstrip('.')}. Fix the file.") from error
