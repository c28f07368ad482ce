"""Labelled examples as Python objects: arrays, lists, a pandas DataFrame, a ``tf.data.Dataset``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_transfer.config.data import OtherSource
from keras_transfer.console.text import show_value
from keras_transfer.data.sources.base import PYTHON
from keras_transfer.data.tables.values import is_usable
from keras_transfer.errors import DataError
from keras_transfer.networks.types import Dataset

# A dataset of unknown length may repeat forever. 100,000 images of 20 KB have that many bytes.
MOST_ROWS = 100_000
MOST_BYTES = 2_000_000_000


def check_ends(dataset: Dataset) -> None:
    """Refuse a dataset that is known to repeat forever.

    Raises:
        DataError: The dataset does.
    """
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            "The tf.data.Dataset never ends. Training repeats its examples by itself: remove .repeat(), or end it with "
            ".take(N)."
        )


def knows_length(dataset: Dataset) -> bool:
    """Return whether the length of a dataset is known."""
    return int(dataset.cardinality()) != tf.data.UNKNOWN_CARDINALITY


def iterate(dataset: Dataset, *, batched: bool) -> Iterator[Any]:
    """Iterate over the single elements as NumPy values, up to a limit if the length of the dataset is unknown.

    Args:
        batched: Whether its elements are batches.

    Raises:
        DataError: The dataset never ends, or is longer than the limit.
    """
    check_ends(dataset)
    size, unknown = 0, not knows_length(dataset)
    single = dataset.unbatch() if batched else dataset
    for count, element in enumerate(single.as_numpy_iterator(), start=1):
        size += sum(getattr(part, "nbytes", 0) or len(part) for part in _parts(element) if hasattr(part, "__len__"))
        if unknown and (count > MOST_ROWS or size > MOST_BYTES):
            raise DataError(
                f"The tf.data.Dataset does not know its length, and has more than {MOST_ROWS:,} rows or "
                f"{MOST_BYTES / 1e9:g} GB. If it repeats, remove .repeat(). If it has N elements, say so: "
                "dataset.apply(tf.data.experimental.assert_cardinality(N))."
            )
        yield element


def _parts(element: Any) -> list[Any]:
    if isinstance(element, Mapping):
        return list(element.values())
    return list(element) if isinstance(element, tuple) else [element]


def describe_object(data: Any) -> str:
    """Return the name of a Python object as a source in a recipe.

    Args:
        data: A DataFrame, a dataset, a list of (example, label) or of mappings, a pair of examples and labels, or a
            list of texts.

    Returns:
        Such as ``<python: DataFrame of 120 rows>``.

    Raises:
        DataError: It is an object of another type.
    """
    if isinstance(data, pd.DataFrame):
        return f"{PYTHON}DataFrame of {len(data)} rows>"
    if isinstance(data, tf.data.Dataset):
        check_ends(data)
        return f"{PYTHON}tf.data.Dataset of {data.element_spec}>"
    if holds_mappings(data):
        return f"{PYTHON}{type(data).__name__} of {len(data)} rows>"
    examples, _ = split_pairs(data)
    return f"{PYTHON}{type(data).__name__} of {len(examples)} examples>"


def name_objects(section: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace sources that are Python objects by names.

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
    """The name of an object, which is added to ``given``; other values unchanged."""
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, bool, int, float, OtherSource)):
        return value
    name = describe_object(value)
    name = name if name not in given else f"{name[:-1]} for {key}>"
    given[name] = value
    return name


def split_pairs(data: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return examples and labels of a pair of them, or of a list of pairs; a list of texts has no labels."""
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
        labels: The columns of labels; if there are several, the label of an example has a value for each. Without
            any, labels are not read.

    Raises:
        DataError: The object is of another type.
    """
    frame = _to_frame(data, example)
    if frame is not None:
        return frame
    examples, given = split_pairs(list(pairs_of(data, "text")) if isinstance(data, tf.data.Dataset) else data)
    rows = [name_labels(labels, label) for label in given]
    values = {example: map(to_plain, examples), **{name: [row[name] for row in rows] for name in labels}}
    return pd.DataFrame({name: pd.Series(list(column), dtype=object) for name, column in values.items()})


def has_columns(data: Any) -> bool:
    """Return whether an object has named columns: a DataFrame, or mappings."""
    is_dataset = isinstance(data, tf.data.Dataset) and isinstance(data.element_spec, Mapping)
    return isinstance(data, pd.DataFrame) or is_dataset or holds_mappings(data)


def holds_mappings(data: Any) -> bool:
    """Return whether an object is a sequence of mappings, as a Hugging Face dataset is."""
    if isinstance(data, (str, bytes, tuple, Mapping, np.ndarray, pd.DataFrame, pd.Series, tf.data.Dataset)):
        return False
    return hasattr(data, "__len__") and hasattr(data, "__getitem__") and len(data) > 0 and isinstance(data[0], Mapping)


def _to_frame(data: Any, example: str) -> pd.DataFrame | None:
    """An object with named columns, as a table; None for others."""
    if isinstance(data, pd.DataFrame):
        return data.reset_index(drop=True).rename(columns=str)
    if isinstance(data, tf.data.Dataset) and isinstance(data.element_spec, Mapping):
        rows: Iterable[Any] = iterate(data, batched=is_batched(data.element_spec, example))
    elif holds_mappings(data):
        rows = (data[row] for row in range(len(data)))
    else:
        return None
    plain = [{str(key): to_plain(value) for key, value in row.items()} for row in rows]
    names = dict.fromkeys(key for row in plain for key in row)
    columns = {name: pd.Series([row.get(name) for row in plain], dtype=object) for name in names}
    return pd.DataFrame(columns, index=range(len(plain)))


def is_batched(spec: Mapping[str, Any], example: str, rank: int = 0) -> bool:
    """Return whether the elements of a dataset of mappings are batches.

    Args:
        rank: Rank of one example that is an array: 3 for images; texts and labels are scalars.
    """
    if example not in spec:
        raise DataError(f"The tf.data.Dataset has no element {example!r}. Elements: {', '.join(map(str, spec))}.")
    part = spec[example]
    return bool(part.shape.rank == (1 if part.dtype == tf.string else rank + 1))


def name_labels(columns: Sequence[str], label: Any) -> dict[str, Any]:
    """Return the values of the columns of labels for the label of an example.

    Raises:
        DataError: The label has another number of values.
    """
    if isinstance(label, np.ndarray) and label.size == 1:
        label = label.reshape(())  # labels of shape (n, 1)
    values = to_plain(label)
    if len(columns) == 1 and isinstance(values, (list, tuple)) and len(values) > 1 and all(map(_is_mark, values)):
        raise DataError(
            f"An example has the label {show_value(values)}, and data.label names one column. If labels are one-hot, "
            "pass labels.argmax(axis=1). If an example has several, set data.target to multilabel and data.label to "
            "their names."
        )
    if len(columns) <= 1:
        return dict.fromkeys(columns, values)
    if not isinstance(values, (list, tuple)) or len(values) != len(columns):
        raise DataError(
            f"data.label names {len(columns)} columns, but an example has the label {show_value(values)}. "
            f"Pass one value for each column: {', '.join(columns)}."
        )
    return dict(zip(columns, map(to_plain, values), strict=True))


def _is_mark(value: Any) -> bool:
    return is_usable(value) and value in (0, 1)


def to_plain(value: Any) -> Any:
    """Return an array value, bytes or a path as a value of a table."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value) if isinstance(value, Path) else value


def pairs_of(dataset: Dataset, what: str, rank: int = 0) -> Iterator[tuple[Any, Any]]:
    """Return the single elements of a dataset, which may be batched.

    Args:
        what: The word for an example in messages: ``image``.
        rank: Rank of one example that is an array: 3 for images, 0 if examples are strings.

    Raises:
        DataError: The dataset has other elements.
    """
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec):
        example, label = spec
        single = 0 if example.dtype == tf.string else rank
        batched = example.shape.rank == single + 1
        known = (
            example.shape.rank in (single, single + 1)
            and label.shape.rank in (batched, batched + 1)  # a value, or several
            and (example.dtype == tf.string or rank > 0)
        )
        if known:
            return iterate(dataset, batched=batched)
    raise DataError(
        f"Expected a tf.data.Dataset of ({what}, label), or of mappings, single or in batches. Received elements of "
        f"{spec}."
    )
