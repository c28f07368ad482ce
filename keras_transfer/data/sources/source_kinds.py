"""Kinds of sources: the names that each claims, and how it reads them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry


class SourceKind(ABC):
    """One way to read a data source by its name in a recipe.

    A subclass is registered in :data:`SOURCES`, or by a package in the entry-point group ``keras_transfer.sources``.
    Every kind is asked whether it claims a name; exactly one may, apart from a kind that another one refines.
    """

    name: ClassVar[str]
    """What the registry calls the kind."""

    form: ClassVar[str]
    """What messages call such a source: ``a folder``, ``sqlite:FILE``."""

    refines: ClassVar[str] = ""
    """The kind in whose place it reads the names that both claim: ``folder``, for folders of a certain layout."""

    @abstractmethod
    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether this kind reads a source of this name; quickly, and without an error for any name.

        Args:
            name: As in a recipe.
            config: The recipe's data section.
        """

    @abstractmethod
    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        """Read a source.

        Args:
            name: A name that this kind claims.
            config: The recipe's data section. Without label columns, labels are not read.
            examples: Makes rows of tables and folders.

        Raises:
            DataError: The source cannot be read.
        """

    def has_labels(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> bool:
        """Return whether the rows have labels that a classifier could learn."""
        return True

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        """Return the keys of the data section that do not apply to such a source, each with the reason.

        A recipe that sets one is refused: a column key if no source of the recipe uses it, and a key that applies to
        one source (``root``, ``encoding``) if that source does not use it. By default, all keys count as used.

        Args:
            name: A name that this kind claims.
            config: The recipe's data section.
            examples: The kind of the examples.
        """
        return {}

    def absolute(self, name: str) -> str:
        """Return a name of the same source for any working folder; a run folder records it."""
        return name

    def location(self, name: str) -> str:
        """Return the location of the rows, for messages."""
        return self.absolute(name)

    def check_whole(self, source: Source) -> None:  # noqa: B027 - most kinds accept any source
        """Refuse a source that cannot be used as one split because it has several.

        Raises:
            DataError: With its splits.
        """


class TableSource(SourceKind):
    """A source that is a table: a subclass defines which names it claims, and loads a DataFrame.

    Example:
        >>> import sqlite3
        >>> class Sqlite(TableSource):
        ...     name, form = "sqlite", "sqlite:FILE"
        ...
        ...     def claims(self, name, config):
        ...         return name.startswith("sqlite:")
        ...
        ...     def load(self, name, config):
        ...         with sqlite3.connect(name.removeprefix("sqlite:")) as database:
        ...             return pd.read_sql("SELECT * FROM examples ORDER BY rowid", database)
    """

    @abstractmethod
    def load(self, name: str, config: DataConfig) -> pd.DataFrame:
        """Return the table, one row per example, in an order that is always the same.

        Raises:
            DataError: It cannot be read.
        """

    def folder(self, name: str) -> Path:
        """Return the folder that paths in the table are relative to, unless a root is given for this source."""
        return Path.cwd()

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        where = Path(self.location(name))
        return examples.from_table(name, self.load(name, config), config, where=where, folder=self.folder(name))

    def has_labels(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> bool:
        """Return whether the table has the label columns, and a label in one of them."""
        return table_has_labels(self.load(name, config), config)


def table_has_labels(table: pd.DataFrame, config: DataConfig) -> bool:
    """Return whether a table has the label columns, and a label in one of them."""
    return set(config.label_columns) <= set(table.columns) and bool(table[config.label_columns].notna().any(axis=None))


def _to_kind(loaded: Any) -> SourceKind:
    kind = loaded() if isinstance(loaded, type) and issubclass(loaded, SourceKind) else loaded
    if not isinstance(kind, SourceKind):
        raise DataError(
            f"The entry point of a source must be a subclass of keras_transfer.SourceKind. Received: {loaded!r}. "
            "Fix or uninstall the package that provides it."
        )
    return kind


SOURCES: Registry[SourceKind] = Registry("kind of source", DataError, group="keras_transfer.sources", take=_to_kind)
"""The kinds of sources, in the order in which they are asked."""
