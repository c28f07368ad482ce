"""The classes and presets of KerasHub."""

import functools
import inspect
from typing import Any

import keras_hub


def public_classes(*bases: Any) -> dict[str, Any]:
    """Return the classes of ``keras_hub.models`` that come of some, by name."""
    return {name: x for name, x in vars(keras_hub.models).items() if inspect.isclass(x) and issubclass(x, bases)}


@functools.cache
def preset_classes() -> dict[str, type[Any]]:
    """Return the backbone class of every preset; of a class and its subclass that both list one, the subclass."""
    classes = set(public_classes(keras_hub.models.Backbone).values())
    ordered = sorted(classes, key=lambda cls: (len(cls.__mro__), cls.__name__))
    return {preset: cls for cls in ordered for preset in cls.presets}


def shorten(error: Exception) -> str:
    """Return the message of another library in one line."""
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
