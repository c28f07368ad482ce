"""TFDS datasets that are prepared on this machine: ``tfds:NAME``, ``tfds:NAME/CONFIG``, ``tfds:NAME[SPLIT]``.

Nothing is downloaded: if a dataset is not prepared, the message has the command that prepares it.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_transfer.config.data import DataConfig, FileDataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.encoded_bytes import Record
from keras_transfer.data.sources.shards import to_source
from keras_transfer.data.tables.tables import SPLIT_NAMES, check_columns, some
from keras_transfer.errors import DataError
from keras_transfer.registry import did_you_mean
from keras_transfer.storage.content_hashes import hash_folder

# NAME, /CONFIG, :VERSION as TFDS writes them, and a split or a slice of one in brackets.
_NAME = re.compile(r"tfds:((\w+)(?:/[\w.+-]+)?(?::[\w.*]+)?)(?:\[(.+)\])?")
_IMAGE_FOLDER = "image_folder"
_PART = "split"


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, and the splits to read.

    Attributes:
        builder: A ``tfds.core.DatasetBuilder``.
        parts: Splits or slices in TFDS' notation, by the split that they become: train, validation or test, or "" for
            rows that are still to be divided.
    """

    name: str
    builder: Any
    parts: Mapping[str, str]

    @property
    def features(self) -> Mapping[str, Any]:
        """The TFDS features by name."""
        return dict(self.builder.info.features.items())

    def class_names(self, config: DataConfig) -> tuple[str, ...] | None:
        """Return the class names of the feature that is the label; None if it has none."""
        feature = self.features.get(next(iter(config.label_columns), ""))
        if config.target != "class" or not isinstance(feature, tfds.features.ClassLabel):
            return None
        return tuple(feature.names)

    def names_of(self, *kinds: type) -> list[str]:
        """Return the names of the features of the given types."""
        return [name for name, feature in self.features.items() if type(feature) in kinds]

    def scalars(self) -> list[str]:
        """Return the names of the features that would be columns of a table."""
        kinds = (tfds.features.ClassLabel, tfds.features.Scalar, tfds.features.Tensor, tfds.features.Text)
        return sorted(name for name in self.names_of(*kinds) if self.features[name].shape == ())

    def facts(self) -> list[object]:
        """Return the facts that determine the content of the dataset: names and hashes of its files."""
        root = Path(self.builder.data_dir)
        contents = hash_folder([file for file in root.rglob("*") if file.is_file()], root)
        return [self.builder.info.full_name, dict(self.parts), contents]

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Iterate over the rows in the order of the files.

        Args:
            columns: The features to read. Images are the bytes of their files, classes are names, and texts are
                strings; a byte that is not UTF-8 becomes a surrogate.

        Yields:
            The part that a row belongs to, its name, and its features.

        Raises:
            DataError: There is no such split.
        """
        config = tfds.ReadConfig(add_tfds_id=True, try_autocache=False, interleave_cycle_length=1)
        decoders = {name: tfds.decode.SkipDecoding() for name in self.names_of(tfds.features.Image)}
        for part, split in self.parts.items():
            try:
                rows = self.builder.as_dataset(split=split, read_config=config, decoders=decoders, shuffle_files=False)
            except (ValueError, KeyError, AssertionError) as error:
                raise DataError(
                    f"{self.name}: the dataset has no split {split!r}. Splits: {_splits(self.builder)}."
                ) from error
            names = [name for name in ("tfds_id", "image/filename") if name in rows.element_spec]
            taken = rows.map(lambda row, keys=(*columns, *names): {key: row[key] for key in keys})
            for number, row in enumerate(taken.as_numpy_iterator(), start=1):
                name = row[names[0]].decode() if names else f"{split} {number}"
                if names == ["image/filename"]:
                    name = os.path.relpath(name, self.builder.data_dir)
                yield part, name, {column: _to_value(self.features[column], row[column]) for column in columns}


@dataclass(frozen=True)
class TfdsForm:
    """A feature that is an example.

    Attributes:
        name: Its name in messages: ``image``.
        encode: From a value of the feature, and the feature, to the bytes of a file. A ValueError describes a problem.
        facts: What the bytes depend on besides the dataset, for the cache key.
    """

    name: str
    kind: type
    encode: Callable[[Any, Any], bytes]
    facts: Sequence[object] = ()


def open_dataset(name: str, config: DataConfig) -> Dataset:
    """Find a prepared dataset.

    Args:
        name: ``tfds:NAME`` and so on. Without a split, the splits named train, validation and test are used as such.
        config: The data section with ``data_dir``.

    Raises:
        DataError: There is no dataset of this name, it is not prepared, or it has no split named train.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(
            f"Data source {name!r} is not the name of a TFDS dataset. Write tfds:NAME, tfds:NAME/CONFIG or, with a "
            "split or a slice in TFDS' notation, tfds:NAME[train[:80%]]."
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
            f'Prepare it: python -c "{prepare}" Or set data.data_dir to the folder that contains {plain_name}.'
        )
    known = list(builder.info.splits)
    parts = {"": split} if split else {part: part for part in SPLIT_NAMES if part in known}
    if not split and "train" not in known:
        raise DataError(f"{name} has no split named train. Name one: {name}[SPLIT]. Splits: {_splits(builder)}.")
    return Dataset(name, builder, parts)


def _find(name: str, builder_name: str, folder: str | None) -> Any:
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS logs every folder that it searches
    try:
        return tfds.builder(builder_name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        hint = did_you_mean(builder_name.split("/")[0], tfds.list_builders(with_community_datasets=False))
        hint = hint if hint.startswith("Did") else "See https://www.tensorflow.org/datasets/catalog."
        raise DataError(
            f"{name}: TFDS has no such dataset, and neither has {folder or 'its folder'}. {hint}"
        ) from error
    except (ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise DataError(f"{name}: {reason.splitlines()[0]} Fix the name.") from error


def _open_image_folder(folder: str | None) -> Any:
    if folder is None or not os.path.isdir(folder):
        raise DataError(
            f"tfds:{_IMAGE_FOLDER} reads split/class/image from a folder. Received: data.data_dir={folder}. "
            "Set data.data_dir to that folder."
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


def read_tfds_files(name: str, dataset: Dataset, config: FileDataConfig, form: TfdsForm) -> Source:
    """Read a TFDS dataset that has images or recordings.

    Args:
        config: ``bytes`` names the feature that is the example, if there are several.

    Returns:
        The source. Its classes are those of the label feature, in that order.

    Raises:
        DataError: It has no such features.
    """
    feature = _find_feature(dataset, config.bytes, form)
    columns = dataset.scalars()
    check_columns(Path(name), columns, config, {})
    names = dataset.class_names(config)
    records = _tfds_records(dataset, feature, columns, form)
    if "" not in dataset.parts:
        config = config.model_copy(update={"split": _PART})
    return to_source(
        name, records, config, facts=["tfds", *dataset.facts(), feature, columns, *form.facts], class_names=names
    )


def _find_feature(dataset: Dataset, wanted: str | None, form: TfdsForm) -> str:
    known = dataset.names_of(form.kind)
    if wanted is None and len(known) == 1:
        wanted = known[0]
    if wanted not in known:
        raise DataError(
            f"{dataset.name} has {len(known)} {form.name} feature{'s' * (len(known) != 1)}: {some(known) or 'none'}. "
            f"Received: data.bytes={wanted}. Set data.bytes to one of them, or use another dataset."
        )
    return str(wanted)


def _tfds_records(dataset: Dataset, feature: str, columns: list[str], form: TfdsForm) -> Iterator[Record]:
    for part, name, row in dataset.rows([feature, *columns]):
        try:
            content = form.encode(row[feature], dataset.features[feature])
        except ValueError as error:
            raise DataError(f"{dataset.name}: {name}: {error}.") from error
        yield Record(name, content, {column: row[column] for column in columns} | ({_PART: part} if part else {}))
