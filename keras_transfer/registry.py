"""Registries of named values, built in or from plugins. An unknown name raises an error with the nearest known ones."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from keras_transfer.errors import TransferError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names that are most similar to ``name``, best first."""
    names = {candidate.lower(): candidate for candidate in known}
    return [names[match] for match in difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known names or, if none is near, all of them."""
    known = sorted(known)
    near = nearest_names(name, known)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."


class Registry(Generic[T]):
    """Named values of one kind: those that were added, then those that installed packages offer as entry points.

    An entry point is loaded when its name is first requested, so that listing names imports nothing. A name that was
    added is never looked up among the entry points.

    Args:
        kind: The kind of the values, for messages: ``backbone``.
        error: Raised for an unknown name.
        group: The entry-point group that plugins use, such as ``keras_transfer.backbones``; None for no plugins.
        take: Converts what an entry point loads to the value; by default, that is the value.

    Example:
        >>> from keras_transfer.errors import ConfigError
        >>> colours = Registry("colour", ConfigError)
        >>> colours.add("green", "#00ff00")
        '#00ff00'
        >>> "green" in colours, list(colours)
        (True, ['green'])
    """

    def __init__(
        self,
        kind: str,
        error: type[TransferError],
        *,
        group: str | None = None,
        take: Callable[[Any], T] | None = None,
    ) -> None:
        self._kind = kind
        self._error = error
        self._group = group
        self._take = take
        self._values: dict[str, T] = {}

    def add(self, name: str, value: T) -> T:
        """Add a value.

        Args:
            name: A name that is not in use.
            value: The value.

        Returns:
            The value.

        Raises:
            TransferError: The name is in use.
        """
        if name in self._values:
            raise self._error(f"There is a {self._kind} named {name!r} already. Choose another name.")
        self._values[name] = value
        return value

    def replace(self, name: str, value: T) -> T:
        """Add a value, replacing one of the same name if there is one.

        Args:
            name: The name.
            value: The value.

        Returns:
            The value.
        """
        self._values.pop(name, None)
        return self.add(name, value)

    @cached_property
    def _plugins(self) -> "dict[str, list[EntryPoint]]":
        from importlib.metadata import entry_points  # as long to import as `keras-transfer list` takes

        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self._group) if self._group else ():
            found.setdefault(entry.name, []).append(entry)
        return found

    def _load(self, name: str) -> T:
        """Load a plugin's entry point and cache it."""
        entries = self._plugins[name]
        offered = sorted(
            {f"{entry.value} ({entry.dist.name if entry.dist else 'unknown package'})" for entry in entries}
        )
        if len(offered) > 1:
            raise self._error(
                f"The {self._kind} {name!r} is provided by several packages: {', '.join(offered)}. "
                "Uninstall all but one."
            )
        try:
            loaded = entries[0].load()
        except Exception as error:  # a plugin's module may raise anything when it is imported
            raise self._error(
                f"The {self._kind} {name!r} cannot be loaded from {offered[0]}: {type(error).__name__}: {error}. "
                "Fix or uninstall that package."
            ) from error
        return self.add(name, self._take(loaded) if self._take else cast(T, loaded))

    def __getitem__(self, name: str) -> T:
        if name in self._values:
            return self._values[name]
        if name in self._plugins:
            return self._load(name)
        raise self._error(f"There is no {self._kind} named {name!r}. {did_you_mean(name, self)}")

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._values, *self._plugins)))

    def __len__(self) -> int:
        return len(list(iter(self)))
