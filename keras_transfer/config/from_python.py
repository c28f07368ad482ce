"""How a recipe refers to objects that were given from Python, which its file cannot contain."""

from collections.abc import Iterator, Mapping
from typing import Any

FROM_PYTHON = "<python: "
"""Starts the name of such an object. A recipe file that has one does not run: the object has to be given again."""


def mark_object(name: str) -> str:
    """Return the value in a recipe that replaces an object."""
    return f"{FROM_PYTHON}{name}>"


def read_mark(value: object) -> str | None:
    """Return the name of the object that a value replaces, or None if it is another value."""
    if isinstance(value, str) and value.startswith(FROM_PYTHON):
        return value.removeprefix(FROM_PYTHON).removesuffix(">")
    return None


def find_marks(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the dotted path of each object in a recipe that was given from Python."""
    for key, value in values.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from find_marks(value, here)
        elif any(read_mark(item) is not None for item in (value if isinstance(value, list) else [value])):
            yield here
