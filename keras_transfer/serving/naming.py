"""The name of a model in URLs."""

import re
from pathlib import Path

from keras_transfer.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def choose_name(path: Path, name: str | None) -> str:
    """Return the name of a model: the one that was given, or that of its folder as a URL can have it.

    Raises:
        ConfigError: The name that was given cannot be in a URL.
    """
    if name is None:
        own = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem if path.is_file() else path.resolve().name)
        return own.strip("-._")[:100] or "model"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name: expected up to 100 letters, digits, points, hyphens and underscores. Received: {name!r}."
        )
    return name
