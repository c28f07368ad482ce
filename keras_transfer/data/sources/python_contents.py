"""Python objects that contain the examples themselves, and not their paths: arrays, PIL images, the bytes of files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_transfer.config.data import FileDataConfig
from keras_transfer.data.sources.encoded_bytes import Record
from keras_transfer.data.sources.python_objects import (
    describe_object,
    holds_mappings,
    is_batched,
    iterate,
    name_labels,
    pairs_of,
    split_pairs,
    to_plain,
)
from keras_transfer.data.tables.tables import check_columns
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class ContentForm:
    """The form of one example as an object.

    Attributes:
        name: The default column of examples, as in Hugging Face's datasets and TFDS: ``image``.
        encode: Returns the bytes of a file for an example, or raises an OSError or ValueError with the reason.
    """

    name: str
    rank: int
    encode: Callable[[Any], bytes]


def holds_contents(data: Any, config: FileDataConfig, form: ContentForm) -> bool:
    """Return whether an object contains the examples themselves, and not their paths."""
    if isinstance(data, tf.data.Dataset):
        return True
    if isinstance(data, pd.DataFrame) or holds_mappings(data):
        column, first = _find_column(data, config, form), data.iloc[0] if isinstance(data, pd.DataFrame) else data[0]
        return config.bytes is not None or (column in first and not isinstance(first[column], (str, Path)))
    examples, _ = split_pairs(data)
    return isinstance(examples, np.ndarray) or (len(examples) > 0 and not isinstance(examples[0], (str, Path)))


def _find_column(data: Any, config: FileDataConfig, form: ContentForm) -> str:
    """The column of examples: that of the recipe, or the default."""
    if isinstance(data, pd.DataFrame):
        names = list(map(str, data.columns))
    else:
        names = list(data.element_spec if isinstance(data, tf.data.Dataset) else data[0])
    if config.bytes is not None:
        return config.bytes
    return form.name if config.path not in names and form.name in names else config.path


def content_records(data: Any, config: FileDataConfig, form: ContentForm) -> Iterator[Record]:
    """Iterate over the examples of an object.

    Args:
        data: ``(array[n, ...], labels)``; a dataset of such arrays or of the bytes of files; a DataFrame with a column
            of such bytes.

    Raises:
        DataError: A value is not an example.
    """
    pairs: Iterable[tuple[Any, dict[str, Any]]]
    named = _named_rows(data, config, form)
    if named is not None:
        column, columns, rows = named
        check_columns(Path(describe_object(data)), columns, config, {"bytes": column})
        pairs = ((row[column], _take_labels(config.label_columns, row, column)) for row in rows)
    else:
        is_dataset = isinstance(data, tf.data.Dataset)
        examples = pairs_of(data, form.name, form.rank) if is_dataset else zip(*split_pairs(data), strict=True)
        pairs = ((example, name_labels(config.label_columns, label)) for example, label in examples)
    for number, (content, row) in enumerate(pairs, start=1):
        try:
            encoded = form.encode(content)
        except (OSError, ValueError) as error:
            raise DataError(f"row {number}: {error}.") from error
        yield Record(f"row {number}", encoded, {key: to_plain(row[key]) for key in row})


def _named_rows(
    data: Any, config: FileDataConfig, form: ContentForm
) -> tuple[str, list[str], Iterator[Mapping[str, Any]]] | None:
    """The column of examples, all columns, and the rows of an object with named columns; None for others."""
    if isinstance(data, tf.data.Dataset):
        if not isinstance(data.element_spec, Mapping):
            return None
        column = _find_column(data, config, form)
        rows = iterate(data, batched=is_batched(data.element_spec, column, form.rank))
        return column, list(data.element_spec), rows
    if isinstance(data, pd.DataFrame):
        frame = data.reset_index(drop=True).rename(columns=str)
        records = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
        named = (dict(zip(frame.columns, record, strict=True)) for record in records)
        return _find_column(data, config, form), list(frame.columns), named
    if holds_mappings(data):
        return _find_column(data, config, form), list(map(str, data[0])), (data[row] for row in range(len(data)))
    return None


def _take_labels(labels: Sequence[str], row: Mapping[str, Any], example: str) -> dict[str, Any]:
    """A row without its example; a label of shape (1,) is the label itself."""
    values = {key: value for key, value in row.items() if key != example}
    if len(labels) == 1 and labels[0] in values:
        values |= name_labels(labels, values[labels[0]])
    return values
