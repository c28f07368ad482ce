"""Where examples come from: a folder, a table, a registered sample set, TFDS, Python. Each becomes one table of rows.

What images and texts share is here, and images; ``text_sources.py`` has texts.
"""

import posixpath
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config import ImageDataConfig
from keras_transfer.data.sources.base import Source, take_columns
from keras_transfer.data.sources.find import check_source, find_source, read_classes
from keras_transfer.data.sources.python_objects import holds_images, image_records, to_table
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.shards import holds_shards, read_shards, to_source
from keras_transfer.data.tables.tables import check_filled, check_written, load_table, some
from keras_transfer.errors import DataError


def read_source(name: str, config: ImageDataConfig, given: Any = None) -> Source:
    """Read a source of images by its name in a recipe.

    Args:
        name: A registered sample set, a folder, a ``.csv``, ``.jsonl`` or ``.parquet`` file, or ``tfds:NAME``.
        config: Says which columns of a table hold what.
        given: What the name stands for, where Python holds it.

    Returns:
        The source.

    Raises:
        DataError: There is no such source, or it does not hold labelled images.
    """
    if given is not None:
        return check_source(_read_object(name, given, config), config)
    if config.bytes is not None and holds_shards(name):
        return check_source(read_shards(name, config), config)
    return find_source(
        name,
        config,
        samples=SAMPLES,
        read_folder=lambda root: _read_folder(name, root),
        read_table=lambda file: _from_table(name, file, file.parent, load_table(file), config),
        read_tfds=lambda: _read_tfds(name, config),
    )


def _read_folder(name: str, root: Path) -> Source:
    rows, notes = read_classes(root, "images", lambda file: True)
    return Source(name, root, rows, tuple(sorted(set(rows["label"]))), notes=notes)


def _read_tfds(name: str, config: ImageDataConfig) -> Source:
    # TFDS takes half a second to import.
    from keras_transfer.data.sources.tfds import read_tfds_images

    return read_tfds_images(name, config)


def _read_object(name: str, given: Any, config: ImageDataConfig) -> Source:
    if holds_images(given, config):
        return to_source(name, image_records(given, config), config, facts=None)
    return _from_table(name, Path(name), Path.cwd(), to_table(given, config.path, config.label_columns), config)


def _from_table(name: str, where: Path, folder: Path, table: pd.DataFrame, config: ImageDataConfig) -> Source:
    taken, names = take_columns(where, table, config, {"path": config.path}, drop=["path"])
    check_filled(where, table, config.path)
    check_written(where, table, config.path)
    root = folder if config.root is None else Path(config.root).expanduser().resolve()
    # ./a.png and a.png are one image.
    rows = taken.assign(path=[posixpath.normpath(str(path)) for path in table[config.path]])
    missing = [path for path in rows["path"] if not (root / path).is_file()]
    if missing:
        raise DataError(
            f"{where} names {len(missing)} of {len(rows)} files that are not there: {some(missing)}. "
            f"Paths are relative to {root}; data.root names another folder."
        )
    repeated = rows["path"][rows["path"].duplicated()].tolist()
    if repeated:
        raise DataError(
            f"Data source {name} names {len(repeated)} images twice: {some(repeated)}. Keep one row of each."
        )
    rows = rows.sort_values("path", kind="stable", ignore_index=True)
    return Source(name, root, rows, names)
