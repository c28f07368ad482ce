"""Labelled examples as Python objects: arrays, lists, a pandas DataFrame, a ``tf.data.Dataset``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from keras_transfer.config import ImageDataConfig, OtherSource
from keras_transfer.console.text import show_value
from keras_transfer.data.formats.pixels import encode_pillow, encode_pixels
from keras_transfer.data.sources.base import PYTHON
from keras_transfer.data.sources.encoded_bytes import Record
from keras_transfer.data.sources.tf_datasets import check_ends, iterate
from keras_transfer.data.tables.tables import check_columns, kind_of
from keras_transfer.data.tables.values import is_usable
from keras_transfer.errors import DataError
from keras_transfer.networks.types import Dataset


def describe_object(data: Any) -> str:
    """Return the name that a recipe gives a source that is a Python object.

    Args:
        data: A DataFrame, a dataset, a list of (example, label) or of mappings, a pair of examples and labels, or a
            list of texts.

    Returns:
        Such as ``<python: DataFrame of 120 rows>``.

    Raises:
        DataError: It is another type.
    """
    if isinstance(data, pd.DataFrame):
        return f"{PYTHON}DataFrame of {len(data)} rows>"
    if isinstance(data, tf.data.Dataset):
        check_ends(data)
        return f"{PYTHON}tf.data.Dataset of {data.element_spec}>"
    if _holds_mappings(data):
        return f"{PYTHON}{type(data).__name__} of {len(data)} rows>"
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
        if any(isinstance(part, (str, bytes)) for part in data):
            raise DataError(
                f"Expected a pair of examples and labels. Received: {show_value(data)}, which is one example with "
                "its label. Pass a list of such pairs."
            )
        if all(isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str) for part in data):
            raise DataError(
                f"{show_value(data)} can be read as two pairs of (example, label), or as two examples and two "
                "labels. Pass a list of pairs, or two lists."
            )
        if len(examples) != len(labels):
            raise DataError(f"Received {len(examples)} examples and {len(labels)} labels. Pass one label per example.")
        return examples, labels
    if isinstance(data, list) and all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in data):
        return [example for example, _ in data], [label for _, label in data]
    if isinstance(data, list) and all(isinstance(text, str) for text in data):
        return data, [None] * len(data)
    raise DataError(
        "Expected a list of (example, label) or of mappings, a pair (examples, labels), a DataFrame or a "
        f"tf.data.Dataset of pairs or mappings. Received: {type(data).__name__}."
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
    frame = _to_frame(data, example)
    if frame is not None:
        return frame
    examples, given = _columns(list(_pairs(data, "text")) if isinstance(data, tf.data.Dataset) else data)
    rows = [_name_labels(labels, label) for label in given]
    values = {example: map(_plain, examples), **{name: [row[name] for row in rows] for name in labels}}
    return pd.DataFrame({name: pd.Series(list(column), dtype=object) for name, column in values.items()})


def _holds_mappings(data: Any) -> bool:
    """Whether it is a sequence of mappings, as a Hugging Face dataset is."""
    if isinstance(data, (str, bytes, tuple, Mapping, np.ndarray, pd.DataFrame, pd.Series, tf.data.Dataset)):
        return False
    return hasattr(data, "__len__") and hasattr(data, "__getitem__") and len(data) > 0 and isinstance(data[0], Mapping)


def _to_frame(data: Any, example: str) -> pd.DataFrame | None:
    """An object that has names for its columns, as a table; None for others."""
    if isinstance(data, pd.DataFrame):
        return data.reset_index(drop=True).rename(columns=str)
    if isinstance(data, tf.data.Dataset) and isinstance(data.element_spec, Mapping):
        rows: Iterable[Any] = iterate(data, batched=_is_batched(data.element_spec, example))
    elif _holds_mappings(data):
        rows = (data[row] for row in range(len(data)))
    else:
        return None
    plain = [{str(key): _plain(value) for key, value in row.items()} for row in rows]
    names = dict.fromkeys(key for row in plain for key in row)
    columns = {name: pd.Series([row.get(name) for row in plain], dtype=object) for name in names}
    return pd.DataFrame(columns, index=range(len(plain)))


def _is_batched(spec: Mapping[str, Any], example: str) -> bool:
    """Whether the elements of a dataset of mappings are batches: texts and labels are scalars, images are not."""
    if example not in spec:
        raise DataError(f"The tf.data.Dataset has no element {example!r}. Elements: {', '.join(map(str, spec))}.")
    part = spec[example]
    return bool(part.shape.rank == (1 if part.dtype == tf.string else 4))


def _name_labels(columns: Sequence[str], label: Any) -> dict[str, Any]:
    if isinstance(label, np.ndarray) and label.size == 1:
        label = label.reshape(())  # labels of shape (n, 1)
    values = _plain(label)
    if len(columns) == 1 and isinstance(values, (list, tuple)) and len(values) > 1 and all(map(_is_mark, values)):
        raise DataError(
            f"An example has the label {show_value(values)}, and data.label names one column. If labels are one-hot, "
            "pass labels.argmax(axis=1). If an example has several, set data.target to multilabel and data.label to "
            "their names."
        )
    if len(columns) <= 1:
        return {column: _plain(label) for column in columns}
    values = _plain(label)
    if not isinstance(values, (list, tuple)) or len(values) != len(columns):
        raise DataError(
            f"data.label names {len(columns)} columns, but an example has the label {show_value(values)}. "
            f"Pass one value for each column: {', '.join(columns)}."
        )
    return dict(zip(columns, map(_plain, values), strict=True))


def _is_mark(value: Any) -> bool:
    return is_usable(value) and value in (0, 1)


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
            return iterate(dataset, batched=batched)
    raise DataError(
        f"Expected a tf.data.Dataset of ({what}, label), or of mappings, single or in batches. Received elements of "
        f"{spec}."
    )


def holds_images(data: Any, config: ImageDataConfig) -> bool:
    """Return whether an object has the images themselves, and not their paths."""
    if isinstance(data, tf.data.Dataset):
        return True
    if isinstance(data, pd.DataFrame) or _holds_mappings(data):
        column, first = _find_column(data, config), data.iloc[0] if isinstance(data, pd.DataFrame) else data[0]
        return config.bytes is not None or (column in first and not isinstance(first[column], (str, Path)))
    examples, _ = _columns(data)
    return isinstance(examples, np.ndarray) or (len(examples) > 0 and not isinstance(examples[0], (str, Path)))


def _find_column(data: Any, config: ImageDataConfig) -> str:
    """The column of images: that of the recipe or, without it, ``image``, as Hugging Face and TFDS call it."""
    if isinstance(data, pd.DataFrame):
        names = list(map(str, data.columns))
    else:
        names = list(data.element_spec if isinstance(data, tf.data.Dataset) else data[0])
    if config.bytes is not None:
        return config.bytes
    return "image" if config.path not in names and "image" in names else config.path


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
    named = _named_rows(data, config)
    if named is not None:
        image, columns, rows = named
        check_columns(Path(describe_object(data)), columns, config, {"bytes": image})
        pairs = ((row[image], _take_labels(config.label_columns, row, image)) for row in rows)
    else:
        examples = _pairs(data, "image") if isinstance(data, tf.data.Dataset) else zip(*_columns(data), strict=True)
        pairs = ((example, _name_labels(config.label_columns, label)) for example, label in examples)
    for number, (content, row) in enumerate(pairs, start=1):
        yield Record(f"row {number}", _encode(content, f"row {number}"), {key: _plain(row[key]) for key in row})


def _named_rows(data: Any, config: ImageDataConfig) -> tuple[str, list[str], Iterator[Mapping[str, Any]]] | None:
    """The column of images, all columns, and the rows of an object that has names for them; None for others."""
    if isinstance(data, tf.data.Dataset):
        if not isinstance(data.element_spec, Mapping):
            return None
        image = _find_column(data, config)
        rows = iterate(data, batched=_is_batched(data.element_spec, image))
        return image, list(data.element_spec), rows
    if isinstance(data, pd.DataFrame):
        frame = data.reset_index(drop=True).rename(columns=str)
        records = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
        named = (dict(zip(frame.columns, record, strict=True)) for record in records)
        return _find_column(data, config), list(frame.columns), named
    if _holds_mappings(data):
        return _find_column(data, config), list(map(str, data[0])), (data[row] for row in range(len(data)))
    return None


def _take_labels(labels: Sequence[str], row: Mapping[str, Any], image: str) -> dict[str, Any]:
    """A row without its image; a label of shape (1,) is the label itself."""
    values = {key: value for key, value in row.items() if key != image}
    if len(labels) == 1 and labels[0] in values:
        values |= _name_labels(labels, values[labels[0]])
    return values


def _encode(content: Any, name: str) -> bytes:
    if isinstance(content, Image.Image):
        try:
            return encode_pillow(content)
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: {error}.") from error
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
