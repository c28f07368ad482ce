"""The classes and presets of KerasHub."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_hub

from keras_transfer.errors import BackboneError

PREFIX = "hub:"
"""Of names of KerasHub's presets, for images and recordings."""


def public_classes(*bases: Any) -> dict[str, Any]:
    """Return the classes of ``keras_hub.models`` that are subclasses of given ones, by name."""
    return {name: x for name, x in vars(keras_hub.models).items() if inspect.isclass(x) and issubclass(x, bases)}


@functools.cache
def preset_classes() -> dict[str, type[Any]]:
    """Return the backbone class of every preset; if a class and its subclass both list one, the subclass."""
    classes = set(public_classes(keras_hub.models.Backbone).values())
    ordered = sorted(classes, key=lambda cls: (len(cls.__mro__), cls.__name__))
    return {preset: cls for cls in ordered for preset in cls.presets}


def shorten(error: Exception) -> str:
    """Return the message of another library's error in one line."""
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."


def load_part(name: str, load: Callable[[], Any]) -> Any:
    """Load a part of a preset.

    Args:
        name: The name in messages: ``hub:`` and a preset, or a folder.

    Raises:
        BackboneError: The part cannot be loaded.
    """
    try:
        return load()
    except Exception as error:  # KerasHub raises nearly every kind
        preset = name.removeprefix(PREFIX)
        if preset in preset_classes() and not Path(preset).is_dir():
            handle = preset_classes()[preset].presets[preset]["kaggle_handle"].removeprefix("kaggle://")
            message = (
                f"Backbone {name} is downloaded by KerasHub, and is not available now: {shorten(error)}\n"
                f"On a machine with network access, kagglehub.model_download('{handle}') returns a folder: copy it "
                "here and set backbone.name to its path."
            )
        else:
            message = (
                f"Backbone {name} cannot be loaded. KerasHub says: {shorten(error)} Use a complete copy of the folder."
            )
        raise BackboneError(message) from error
