"""Datasets of TFDS that lie prepared on this machine: ``tfds:NAME``, ``tfds:NAME/CONFIG``, ``tfds:NAME[SPLIT]``.

Nothing is downloaded: where a dataset is not prepared, the message has the command that prepares it.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_transfer.config import DataConfig, ImageDataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.encoded_bytes import Record
from keras_transfer.data.sources.shards import to_source
from keras_transfer.data.tables.tables import SPLIT_NAMES, check_columns, some
from keras_transfer.errors import DataError
from keras_transfer.registry import did_you_mean

# NAME, /CONFIG, :VERSION as TFDS writes them, and a split or a slice of one in brackets.
_NAME = re.compile(r"tfds:((\w+)(?:/[\w.+-]+)?(?::[\w.*]+)?)(?:\[(.+)\])?")
_IMAGE_FOLDER = "image_folder"
_PART = "split"


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, and which of its splits are asked for.

    Attributes:
        name: As in a recipe.
        builder: A ``tfds.core.DatasetBuilder``.
        parts: A split or a slice as TFDS writes it, by what it is to us: train, validation or test, or "" for rows that
            are to be divided.
    """

    name: str
    builder: Any
    parts: Mapping[str, str]

    @property
    def features(self) -> Mapping[str, Any]:
        """TFDS' features by name."""
        return dict(self.builder.info.features.items())

    def class_names(self, config: DataConfig) -> tuple[str, ...] | None:
        """Return the names of the classes of the feature that is told; None where it has no names."""
        feature = self.features.get(config.label_columns[0])
        named = config.target == "class" and isinstance(feature, tfds.features.ClassLabel)
        return tuple(feature.names) if named and feature is not None else None

    def names_of(self, *kinds: type) -> list[str]:
        """Return the names of the features of some kinds."""
        return [name for name, feature in self.features.items() if type(feature) in kinds]

    def scalars(self) -> list[str]:
        """Return the names of the features that a table would have a column for."""
        kinds = (tfds.features.ClassLabel, tfds.features.Scalar, tfds.features.Tensor, tfds.features.Text)
        return sorted(name for name in self.names_of(*kinds) if self.features[name].shape == ())

    def images(self) -> list[str]:
        """Return the names of the features that are images."""
        return self.names_of(tfds.features.Image)

    def facts(self) -> list[object]:
        """Return what the content of the dataset follows from, as far as it can be had quickly."""
        root = Path(self.builder.data_dir)
        files = [(str(file.relative_to(root)), file.stat()) for file in sorted(root.rglob("*")) if file.is_file()]
        stamps = [[name, status.st_size, status.st_mtime_ns] for name, status in files]
        return [self.builder.info.full_name, str(root), dict(self.parts), stamps]

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Go through the rows in the order of the files.

        Args:
            columns: The features to take. Images come as the bytes of their files, classes by name, texts as texts;
                a byte that is no UTF-8 is a surrogate.

        Yields:
            Which part a row is of, its name, and its features.

        Raises:
            DataError: There is no such split.
        """
        config = tfds.ReadConfig(add_tfds_id=True, try_autocache=False, interleave_cycle_length=1)
        decoders = {name: tfds.decode.SkipDecoding() for name in self.images()}
        for part, split in self.parts.items():
            try:
                rows = self.builder.as_dataset(split=split, read_config=config, decoders=decoders, shuffle_files=False)
            except (ValueError, KeyError, AssertionError) as error:
                raise DataError(
                    f"{self.name}: TFDS has no split {split!r} of it. Splits: {_splits(self.builder)}."
                ) from error
            names = [name for name in ("tfds_id", "image/filename") if name in rows.element_spec]
            taken = rows.map(lambda row, keys=(*columns, *names): {key: row[key] for key in keys})
            for number, row in enumerate(taken.as_numpy_iterator(), start=1):
                name = row[names[0]].decode() if names else f"{split} {number}"
                if names == ["image/filename"]:
                    name = os.path.relpath(name, self.builder.data_dir)
                yield part, name, {column: _to_value(self.features[column], row[column]) for column in columns}


def open_dataset(name: str, config: DataConfig) -> Dataset:
    """Find a prepared dataset.

    Args:
        name: ``tfds:NAME`` and so on. Without a split, those that are called train, validation and test are taken for
            what they are called.
        config: With ``data_dir``.

    Returns:
        The dataset.

    Raises:
        DataError: There is none of this name, it is not prepared, or no split of it is called train.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(
            f"Data source {name!r} is no dataset of TFDS. Write tfds:NAME, tfds:NAME/CONFIG or, with a split or a "
            "slice as TFDS writes them, tfds:NAME[train[:80%]]."
        )
    builder_name, plain_name, split = match.groups()
    folder = None if config.data_dir is None else os.path.expanduser(config.data_dir)
    is_folder = builder_name == _IMAGE_FOLDER
    builder = _open_image_folder(folder) if is_folder else _find(name, builder_name, folder)
    if not is_folder and not builder.is_prepared():
        place = "" if folder is None else f", data_dir={folder!r}"
        prepare = f"import tensorflow_datasets as tfds; tfds.builder({builder_name!r}{place}).download_and_prepare()"
        raise DataError(
            f"{name} is not prepared on this machine, and a run downloads nothing. Looked in {builder.data_dir}. "
            f'Prepare it: python -c "{prepare}" Or name the folder that holds {plain_name} with data.data_dir.'
        )
    known = list(builder.info.splits)
    parts = {"": split} if split else {part: part for part in SPLIT_NAMES if part in known}
    if not split and "train" not in known:
        raise DataError(f"{name} has no split called train. Name one: {name}[SPLIT]. Splits: {_splits(builder)}.")
    return Dataset(name, builder, parts)


def _find(name: str, builder_name: str, folder: str | None) -> Any:
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS tells of every folder that it looks into
    try:
        return tfds.builder(builder_name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        hint = did_you_mean(builder_name.split("/")[0], tfds.list_builders(with_community_datasets=False))
        hint = hint if hint.startswith("Did") else "See https://www.tensorflow.org/datasets/catalog."
        raise DataError(f"{name}: TFDS knows no such dataset, and {folder or 'its folder'} has none. {hint}") from error
    except (ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise DataError(f"{name}: {reason.splitlines()[0]} Mend the name.") from error


def _open_image_folder(folder: str | None) -> Any:
    if folder is None or not os.path.isdir(folder):
        raise DataError(
            f"tfds:{_IMAGE_FOLDER} reads split/class/image from a folder. Received: data.data_dir={folder}. "
            "Name that folder."
        )
    return tfds.folder_dataset.ImageFolder(folder)


def _to_value(feature: Any, value: Any) -> Any:
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.names[value] if value >= 0 else None
    if isinstance(value, bytes) and not isinstance(feature, tfds.features.Image):
        return value.decode("utf-8", "surrogateescape")
    return value


def _splits(builder: Any) -> str:
    return some([f"{name} ({info.num_examples:,} rows)" for name, info in builder.info.splits.items()])


def read_tfds_images(name: str, config: ImageDataConfig) -> Source:
    """Read a dataset of TFDS that has images.

    Args:
        name: ``tfds:NAME`` and so on.
        config: ``bytes`` names the feature that is the image where there are several.

    Returns:
        The source; its classes are those of the feature ``label``, in its order.

    Raises:
        DataError: It is not prepared, or has no such features.
    """
    dataset = open_dataset(name, config)
    image = _find_image(dataset, config.bytes)
    columns = dataset.scalars()
    check_columns(Path(name), columns, config, {})
    names = dataset.class_names(config)
    records = _tfds_records(dataset, image, columns)
    if "" not in dataset.parts:
        config = config.model_copy(update={"split": _PART})
    return to_source(name, records, config, facts=["tfds", *dataset.facts(), image, columns], class_names=names)


def _find_image(dataset: Dataset, wanted: str | None) -> str:
    images = dataset.images()
    if wanted is None and len(images) == 1:
        wanted = images[0]
    if wanted not in images:
        raise DataError(
            f"{dataset.name} has {len(images)} features that are images: {some(images) or 'none'}. "
            f"Received: data.bytes={wanted}. Name one of them with data.bytes, or another dataset."
        )
    return str(wanted)


def _tfds_records(dataset: Dataset, image: str, columns: list[str]) -> Iterator[Record]:
    for part, name, row in dataset.rows([image, *columns]):
        yield Record(name, row[image], {column: row[column] for column in columns} | ({_PART: part} if part else {}))
