"""Labelled examples as Python objects: arrays, lists, a pandas DataFrame, a ``tf.data.Dataset``."""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_transfer.config import ImageDataConfig, OtherSource
from keras_transfer.data.formats.pixels import encode_pixels
from keras_transfer.data.sources.base import PYTHON
from keras_transfer.data.sources.encoded_bytes import Record
from keras_transfer.data.tables.tables import check_columns, kind_of
from keras_transfer.errors import DataError
from keras_transfer.networks.types import Dataset


def describe_object(data: Any) -> str:
    """Return the name that a recipe gives a source that is a Python object.

    Args:
        data: A DataFrame, a dataset, a list of (example, label), a pair of examples and labels, or a list of texts.

    Returns:
        Such as ``<python: DataFrame of 120 rows>``.

    Raises:
        DataError: It is another type.
    """
    if isinstance(data, pd.DataFrame):
        return f"{PYTHON}DataFrame of {len(data)} rows>"
    if isinstance(data, tf.data.Dataset):
        return f"{PYTHON}tf.data.Dataset of {data.element_spec}>"
    examples, _ = _columns(data)
    return f"{PYTHON}{type(data).__name__} of {len(examples)} examples>"


def name_objects(section: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace sources that are Python objects by names.

    Args:
        section: A recipe's data section.

    Returns:
        The section as a file could hold it, and the objects by name.

    Raises:
        DataError: An object is of a type that cannot be a source.
    """
    named = dict(section)
    given: dict[str, Any] = {}
    for key in ("source", "validation", "test"):
        if key not in named:
            continue
        value = named[key]
        if key != "source" and isinstance(value, Mapping) and "source" in value:
            named[key] = {**value, "source": _name_object(value["source"], key, given)}
        else:
            named[key] = _name_object(value, key, given)
    return named, given


def _name_object(value: Any, key: str, given: dict[str, Any]) -> Any:
    """The name of an object, which is added to those that were given; other values as they are."""
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, bool, int, float, OtherSource)):
        return value
    name = describe_object(value)
    name = name if name not in given else f"{name[:-1]} for {key}>"
    given[name] = value
    return name


def _columns(data: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Examples and labels of a pair of them, or of a list of pairs; texts alone have no labels."""
    if isinstance(data, tuple) and len(data) == 2 and all(hasattr(part, "__len__") for part in data):
        examples, labels = data
        if len(examples) != len(labels):
            raise DataError(f"Received {len(examples)} examples and {len(labels)} labels. Pass one label per example.")
        return examples, labels
    if isinstance(data, list) and all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in data):
        return [example for example, _ in data], [label for _, label in data]
    if isinstance(data, list) and all(isinstance(text, str) for text in data):
        return data, [None] * len(data)
    raise DataError(
        f"Expected a list of (example, label), a pair (examples, labels), a DataFrame or a tf.data.Dataset of pairs. "
        f"Received: {type(data).__name__}."
    )


def to_table(data: Any, example: str, labels: Sequence[str]) -> pd.DataFrame:
    """Return an object with paths or texts as a table.

    Args:
        data: See :func:`describe_object`.
        example: The column of paths or texts.
        labels: The columns of labels; if there are several, the label of an example has a value for each. Without
            any, labels are not read.

    Raises:
        DataError: It is of another type.
    """
    if isinstance(data, pd.DataFrame):
        return data.reset_index(drop=True).rename(columns=str)
    examples, given = _columns(list(_pairs(data, "text")) if isinstance(data, tf.data.Dataset) else data)
    rows = [_name_labels(labels, label) for label in given]
    values = {example: map(_plain, examples), **{name: [row[name] for row in rows] for name in labels}}
    return pd.DataFrame({name: pd.Series(list(column), dtype=object) for name, column in values.items()})


def _name_labels(columns: Sequence[str], label: Any) -> dict[str, Any]:
    if len(columns) <= 1:
        return {column: _plain(label) for column in columns}
    values = _plain(label)
    if not isinstance(values, (list, tuple)) or len(values) != len(columns):
        raise DataError(
            f"data.label names {len(columns)} columns, but an example has the label {reprlib.repr(values)}. "
            f"Pass one value for each column: {', '.join(columns)}."
        )
    return dict(zip(columns, map(_plain, values), strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value) if isinstance(value, Path) else value


def _pairs(dataset: Dataset, what: str) -> Iterator[tuple[Any, Any]]:
    """The single elements of a dataset, which may be batched."""
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec):
        example, label = spec
        single = 0 if example.dtype == tf.string else 3
        batched = example.shape.rank == single + 1
        known = (
            example.shape.rank in (single, single + 1)
            and label.shape.rank in (batched, batched + 1)  # a value, or several
            and (example.dtype == tf.string or what == "image")
        )
        if known:
            return (dataset.unbatch() if batched else dataset).as_numpy_iterator()
    raise DataError(
        f"Expected a tf.data.Dataset of ({what}, label), single or in batches. Received elements of {spec}."
    )


def holds_images(data: Any, config: ImageDataConfig) -> bool:
    """Return whether an object has the images themselves, and not their paths."""
    if isinstance(data, pd.DataFrame):
        return config.bytes is not None
    return isinstance(data, tf.data.Dataset) or isinstance(_columns(data)[0], np.ndarray)


def image_records(data: Any, config: ImageDataConfig) -> Iterator[Record]:
    """Iterate over the images of an object.

    Arrays are encoded as PNG, which is lossless, or in NumPy's own format if they have more than four channels.

    Args:
        data: ``(uint8[n, height, width, channels], labels)``; a dataset of such images or of the bytes of image
            files; a DataFrame with a column of such bytes.
        config: Names the columns.

    Yields:
        The images in their order.

    Raises:
        DataError: A value is not an image.
    """
    pairs: Iterable[tuple[Any, dict[str, Any]]]
    if isinstance(data, pd.DataFrame):
        table = to_table(data, str(config.bytes), config.label_columns)
        check_columns(Path(describe_object(data)), table.columns.tolist(), config, {"bytes": str(config.bytes)})
        columns = [name for name in table.columns if name != config.bytes]
        rows = zip(*(table[name].tolist() for name in columns), strict=True)
        contents = table[str(config.bytes)].tolist()
        pairs = ((content, dict(zip(columns, row, strict=True))) for content, row in zip(contents, rows, strict=True))
    else:
        examples = _pairs(data, "image") if isinstance(data, tf.data.Dataset) else zip(*_columns(data), strict=True)
        pairs = ((example, _name_labels(config.label_columns, label)) for example, label in examples)
    for number, (content, row) in enumerate(pairs, start=1):
        yield Record(f"row {number}", _encode(content, f"row {number}"), {key: _plain(row[key]) for key in row})


def _encode(content: Any, name: str) -> bytes:
    if isinstance(content, dict):  # as Hugging Face's datasets have images
        content = content.get("bytes")
    if isinstance(content, bytes):
        return content
    if not isinstance(content, np.ndarray):
        raise DataError(
            f"{name}: expected the bytes of an image file or an array of pixels. Received: {kind_of(content)}."
        )
    try:
        return encode_pixels(content)
    except ValueError as error:
        raise DataError(f"{name}: {error}.") from error
