"""Files that are tables, with one row per example."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.shards import reads_shards
from keras_transfer.data.sources.source_kinds import TableSource
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, Table, read_table


class TableFiles(TableSource):
    """CSV, TSV, JSON Lines and Parquet files."""

    name, form = "table", f"a {', '.join(TABLE_SUFFIXES[:-1])} or {TABLE_SUFFIXES[-1]} file"

    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether it is a table file, but not a shard of images."""
        path = Path(name).expanduser()
        return path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and not reads_shards(name, config)

    def load(self, name: str, config: DataConfig) -> pd.DataFrame:
        return self._read_file(name, config).frame

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        """Read the file and convert it to rows, with lines on how it was read."""
        table, where = self._read_file(name, config), Path(self.absolute(name))
        source = examples.from_table(name, table.frame, config, where=where, folder=where.parent)
        return replace(source, notes=(*table.notes, *source.notes))

    def _read_file(self, name: str, config: DataConfig) -> Table:
        return read_table(
            Path(self.absolute(name)), encoding=config.encoding, delimiter=config.delimiter, key_of=config.key_of
        )

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        """Return the keys of folders, and those of text if it is a Parquet file or the delimiter of JSON Lines."""
        keys = {"folders": f"{name} is a table, not a folder"}
        suffix = Path(name).suffix.lower()
        if suffix == ".parquet":
            keys |= dict.fromkeys(("encoding", "delimiter"), f"{name} is a Parquet file, which is not text")
        if suffix == ".jsonl":
            keys["delimiter"] = f"{name} is a JSON Lines file, whose fields have no delimiter"
        return keys

    def folder(self, name: str) -> Path:
        return Path(self.absolute(name)).parent

    def absolute(self, name: str) -> str:
        return str(Path(name).expanduser().resolve())
