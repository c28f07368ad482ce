"""Sources that are Python objects, which recipes refer to by a name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import PYTHON, Source
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.python_objects import MOST_ROWS, knows_length, to_table
from keras_transfer.data.sources.source_kinds import SourceKind, table_has_labels
from keras_transfer.errors import DataError


class PythonObjects(SourceKind):
    """Python objects: DataFrames, lists, arrays, datasets.

    Args:
        data: The object of this one source; the registry's entry has none.
    """

    name, form = "python", "a Python object"

    def __init__(self, data: Any = None) -> None:
        self._data = data

    def claims(self, name: str, config: DataConfig) -> bool:
        return name.startswith(PYTHON)

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        if self._data is None:
            raise DataError(f"{name} was passed from Python and is not stored. Pass it again: evaluate(data=...).")
        source = examples.from_object(name, self._data, config)
        if isinstance(self._data, tf.data.Dataset) and not knows_length(self._data):
            note = f"The tf.data.Dataset does not know its length: {len(source.rows):,} rows were read"
            source = replace(source, notes=(*source.notes, f"{note}, and more than {MOST_ROWS:,} would be refused"))
        return source

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        keys = ("encoding", "delimiter", "folders")
        return dict.fromkeys(keys, f"{name} is an object from Python, not a file")

    def has_labels(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> bool:
        """Return whether the object has labels, and not only examples."""
        if self._data is None:
            return False
        column = next(iter(examples.columns(config).values()))
        return table_has_labels(to_table(self._data, column, config.label_columns), config)
