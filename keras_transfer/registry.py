"""A table of named things that answers a wrong name with the nearest right ones."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from keras_transfer.errors import TransferError

T = TypeVar("T")


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names that look most like ``name``, best first."""
    names = {candidate.lower(): candidate for candidate in known}
    return [names[match] for match in difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known names, or all of them where none is near."""
    known = sorted(known)
    near = nearest_names(name, known)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."


class Registry(Generic[T]):
    """Named values of one kind, in the order in which they were added.

    Args:
        kind: What the values are, for messages: ``backbone``.
        error: Raised for a name that is not there.
    """

    def __init__(self, kind: str, error: type[TransferError]) -> None:
        self._kind = kind
        self._error = error
        self._values: dict[str, T] = {}

    def add(self, name: str, value: T) -> T:
        """Add a value.

        Args:
            name: A name that is not taken.
            value: What it stands for.

        Returns:
            The value.

        Raises:
            TransferError: The name is taken.
        """
        if name in self._values:
            raise self._error(f"There is a {self._kind} named {name!r} already. Choose another name.")
        self._values[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        if name not in self._values:
            raise self._error(f"There is no {self._kind} named {name!r}. {did_you_mean(name, self._values)}")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
