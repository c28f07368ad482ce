"""TFDS datasets as a kind of source: TFDS is not imported before a dataset is read."""

from collections.abc import Mapping
from typing import Any

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import TFDS, Source
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.errors import DataError


class TfdsDatasets(SourceKind):
    """TFDS datasets that are prepared on this machine."""

    name, form = "tfds", "tfds:NAME"

    def claims(self, name: str, config: DataConfig) -> bool:
        return name.startswith(TFDS)

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        # TFDS takes half a second to import.
        from keras_transfer.data.sources.tfds import open_dataset

        return examples.from_tfds(name, open_dataset(name, config), config)

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        keys = ("path", "root", "suffix", "encoding", "delimiter", "folders")
        return dict.fromkeys(keys, f"{name} is a dataset of TFDS, not a table of files")

    def check_whole(self, source: Source) -> None:
        splits = source.rows["split"].unique().tolist()
        if splits != [""]:
            raise DataError(
                f"{source.name} has the splits {', '.join(splits)}. Name the one to use: {source.name}[{splits[-1]}]."
            )
