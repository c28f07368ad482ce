"""Kinds of examples: conversion of folders, tables and objects to rows, and of rows to images, texts or recordings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.python_objects import to_table
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, check_columns
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry

Config = TypeVar("Config", bound=DataConfig)


class ExampleKind(ABC, Generic[Config]):
    """What a task learns from: images, texts, or what a plugin's task defines.

    A task's data section names its kind of examples in ``example_kind``, and sources call the methods here. A new kind
    needs :meth:`columns`, :meth:`from_table` and :meth:`to_examples`; by default, the other methods raise an error, or
    use the table.
    """

    name: ClassVar[str]
    """What ``DataConfig.example_kind`` calls it: ``image``."""

    plural: ClassVar[str]
    """What messages call the examples: ``images``."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of the files that are examples, in the order in which they are tried for paths without one."""

    other_suffixes: ClassVar[tuple[str, ...]] = ()
    """Of files that are plainly such examples, in formats that are not read."""

    reads_text_files: ClassVar[bool] = False
    """Whether the files of a folder are text, so that ``data.encoding`` applies to them."""

    @abstractmethod
    def columns(self, config: Config) -> Mapping[str, str]:
        """Return the recipe keys that name the columns of examples in a table, with these columns; the main one first.

        For images: ``{"path": "path"}``.
        """

    def further_columns(self, config: Config) -> Mapping[str, str]:
        """Return the recipe keys that name further columns of any source: such as ``{"start": "begin"}``.

        They are kept as columns of the rows, and :meth:`to_examples` reads them.
        """
        return {}

    @abstractmethod
    def from_table(
        self,
        name: str,
        table: pd.DataFrame,
        config: Config,
        *,
        where: Path | None = None,
        folder: Path | None = None,
    ) -> Source:
        """Check a table and convert it to rows.

        Args:
            name: The source's name in the recipe.
            table: One row per example, with the columns that the recipe names.
            config: The recipe's data section. Without label columns, labels are not read.
            where: Where the table is from, for messages; by default the name.
            folder: The folder that paths in the table are relative to; by default the working folder.

        Raises:
            DataError: A column is missing, or its values are not of the expected kind.
        """

    @abstractmethod
    def to_examples(self, source: Source, rows: pd.DataFrame, config: Config) -> Examples:
        """Return the examples of some of a source's rows, in the order of the rows."""

    def from_folder(self, name: str, root: Path, config: Config) -> Source:
        """Read a folder with one sub-folder per class.

        Raises:
            DataError: The folder cannot be read, or folders of these examples are not supported.
        """
        raise DataError(f"Data source {name} is a folder, and folders of {self.plural} are not supported. Use a table.")

    def explain_folder(self, name: str, config: Config) -> str:
        """Return why a folder cannot be read if its sub-folders are not what the recipe predicts."""
        return (
            f"Data source {name} is a folder, whose sub-folders are classes, but data.target is {config.target}. "
            f"Use a table ({', '.join(TABLE_SUFFIXES)}) with the columns that data.label names."
        )

    def has_table(self, root: Path, config: Config) -> bool:
        """Return whether a folder has a table of labels, so that its sub-folders are not classes."""
        return False

    def has_classes(self, root: Path) -> bool:
        """Return whether the sub-folders of a folder are classes."""
        return True

    def from_tfds(self, name: str, dataset: Any, config: Config) -> Source:
        """Read a TFDS dataset: by default its scalar features are the columns of a table.

        Args:
            name: The source's name in the recipe.
            dataset: A ``keras_transfer.data.sources.tfds.Dataset``.
            config: The recipe's data section.

        Raises:
            DataError: The dataset lacks a feature.
        """
        columns = dataset.scalars()
        check_columns(Path(name), columns, config, self.columns(config))
        found = list(dataset.rows(columns))
        source = self.from_table(name, pd.DataFrame([row for _, _, row in found], dtype=object), config)
        rows = source.rows.assign(name=[row_name for _, row_name, _ in found])
        if "" not in dataset.parts:
            rows = rows.assign(split=[part for part, _, _ in found])
        return replace(source, rows=rows, class_names=dataset.class_names(config) or source.class_names)

    def from_object(self, name: str, data: Any, config: Config) -> Source:
        """Read a Python object: a DataFrame, a list of pairs, a pair of sequences or a ``tf.data.Dataset``.

        Raises:
            DataError: The object is none of these, or its values are not of the expected kind.
        """
        column = next(iter(self.columns(config).values()))
        return self.from_table(name, to_table(data, column, config.label_columns), config)

    def check(self, source: Source, config: Config) -> None:
        """Refuse a source without the data that the recipe needs.

        Raises:
            DataError: With what is missing.
        """


EXAMPLE_KINDS: Registry[ExampleKind[Any]] = Registry("kind of examples", DataError)
"""By the ``example_kind`` of data sections. A task of a plugin adds its own kind when it is imported."""


def find_example_kind(config: DataConfig) -> ExampleKind[Any]:
    """Return the kind of examples that a data section reads."""
    return EXAMPLE_KINDS[config.example_kind]
