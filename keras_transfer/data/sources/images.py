"""Images as a kind of examples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config import ImageDataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.images import EncodedImages, Images
from keras_transfer.data.sources.base import Source, take_columns
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.folders import read_classes
from keras_transfer.data.sources.metadata import find_metadata, read_metadata, without_own_paths
from keras_transfer.data.sources.paths import find_files
from keras_transfer.data.sources.python_objects import holds_images, image_records
from keras_transfer.data.sources.shards import to_source
from keras_transfer.data.tables.tables import check_filled, check_written, some
from keras_transfer.errors import DataError

_SPLIT = "split of the folder"


class ImageKind(ExampleKind[ImageDataConfig]):
    """Images: files, whose paths are the rows of a table, or the encoded bytes of files."""

    name, plural = "image", "images"

    def columns(self, config: ImageDataConfig) -> Mapping[str, str]:
        """Return the column of paths."""
        return {"path": config.path}

    def from_folder(self, name: str, root: Path, config: ImageDataConfig) -> Source:
        """List the files of a folder with one sub-folder per class, or with a table of labels in it."""
        tables = find_metadata(root, config)
        if tables:
            return self._from_metadata(name, root, tables, config)
        rows, notes = read_classes(root, "images", lambda file: True, folders=config.folders)
        return Source(name, root, rows, tuple(sorted(set(rows["label"]))), notes=notes)

    def has_table(self, root: Path, config: ImageDataConfig) -> bool:
        """Return whether there is a ``metadata.csv`` or the like."""
        return bool(find_metadata(root, config))

    def _from_metadata(self, name: str, root: Path, tables: Sequence[Path], config: ImageDataConfig) -> Source:
        metadata = read_metadata(root, tables, config)
        frame = metadata.frame.assign(**{_SPLIT: metadata.splits})
        where = tables[0] if len(tables) == 1 else root
        source = self.from_table(name, frame, without_own_paths(config), where=where, folder=root)
        splits = source.rows.pop(_SPLIT)
        rows = source.rows if config.split is not None else source.rows.assign(split=splits)
        return replace(source, rows=rows, notes=(*metadata.notes, *source.notes, *_note_unlisted(source, tables)))

    def from_table(
        self,
        name: str,
        table: pd.DataFrame,
        config: ImageDataConfig,
        *,
        where: Path | None = None,
        folder: Path | None = None,
    ) -> Source:
        """Check a table of paths; each names a file that exists, and no two name the same one."""
        where = where or Path(name)
        taken, labels = take_columns(where, table, config, self.columns(config), drop=["path"])
        check_filled(where, table, config.path)
        check_written(where, table, config.path)
        found = find_files(where, table[config.path].tolist(), config, folder=folder or Path.cwd())
        rows = taken.assign(path=list(found.paths))
        repeated = rows["path"][rows["path"].duplicated()].tolist()
        if repeated:
            raise DataError(
                f"Data source {name} names {len(repeated)} images twice: {some(repeated)}. Keep one row for each."
            )
        rows = rows.sort_values("path", kind="stable", ignore_index=True)
        return Source(name, found.root, rows, labels.names, notes=(*labels.notes, *found.notes))

    def from_tfds(self, name: str, dataset: Any, config: ImageDataConfig) -> Source:
        """Read the feature that is an image, and the scalar features."""
        from keras_transfer.data.sources.tfds import read_tfds_images

        return read_tfds_images(name, dataset, config)

    def from_object(self, name: str, data: Any, config: ImageDataConfig) -> Source:
        """Read the images that an object holds, or the paths."""
        if holds_images(data, config):
            return to_source(name, image_records(data, config), config, facts=None)
        return super().from_object(name, data, config)

    def to_examples(self, source: Source, rows: pd.DataFrame, config: ImageDataConfig) -> Examples:
        """Return files, or rows of the cache's array of bytes."""
        if source.encoded is not None:
            return EncodedImages.of(source.encoded.select(rows.index.to_numpy()))
        return Images(source.root, tuple(rows["path"]))


def _note_unlisted(source: Source, tables: Sequence[Path]) -> list[str]:
    """A line on the files of a folder that its tables of labels do not list."""
    listed = {source.root / path for path in source.rows["path"]} | set(tables)
    others = [file for file in list_files(source.root).files if file not in listed]
    names = some([file.relative_to(source.root).as_posix() for file in others], 3)
    return [f"Left out, not listed in {tables[0].name}: {len(others):,} of the files: {names}"] if others else []
