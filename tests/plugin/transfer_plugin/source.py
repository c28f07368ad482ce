"""A source: ``stripes:N`` draws N images of each class."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer import DataConfig, DataError, TableSource
from transfer_plugin.drawing import CLASSES, draw_png

_FORM = re.compile(r"stripes:(\d+)")


class Stripes(TableSource):
    """Images of stripes, drawn on request."""

    name, form = "stripes", "stripes:N"

    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether the name starts with ``stripes:``."""
        return name.startswith("stripes:")

    def load(self, name: str, config: DataConfig) -> pd.DataFrame:
        """Return a table of encoded images and classes."""
        count = _FORM.fullmatch(name)
        if count is None:
            raise DataError(f"Data source {name} is not stripes:N with a number of images per class, as in stripes:12.")
        rows = [(kind, number) for kind in range(len(CLASSES)) for number in range(int(count[1]))]
        return pd.DataFrame(
            {
                "path": [write_stripes(self.folder(name), kind, number) for kind, number in rows],
                "label": [CLASSES[kind] for kind, _ in rows],
            }
        )

    def folder(self, name: str) -> Path:
        """Return the folder that the images are drawn to."""
        return Path("drawn-stripes").resolve()


def write_stripes(folder: Path, kind: int, number: int) -> Any:
    """Draw an image to a file unless it is there, and return the name of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{CLASSES[kind]}-{number:03}.png"
    if not file.exists():
        file.write_bytes(draw_png(kind, number))
    return file.name
