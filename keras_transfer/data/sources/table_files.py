"""Files that are tables, with one row per example."""

from pathlib import Path

import pandas as pd

from keras_transfer.config import DataConfig
from keras_transfer.data.sources.shards import reads_shards
from keras_transfer.data.sources.source_kinds import TableSource
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, load_table


class TableFiles(TableSource):
    """CSV, JSON Lines and Parquet files."""

    name, form = "table", f"a {', '.join(TABLE_SUFFIXES[:-1])} or {TABLE_SUFFIXES[-1]} file"

    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether it is such a file, but not a shard of images."""
        path = Path(name).expanduser()
        return path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and not reads_shards(name, config)

    def load(self, name: str, config: DataConfig) -> pd.DataFrame:
        """Read the file."""
        return load_table(Path(self.absolute(name)))

    def folder(self, name: str) -> Path:
        """Return the file's folder."""
        return Path(self.absolute(name)).parent

    def absolute(self, name: str) -> str:
        """Return the absolute path."""
        return str(Path(name).expanduser().resolve())
