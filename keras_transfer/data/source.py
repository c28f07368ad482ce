"""What every source becomes: one table of rows, and the classes."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_transfer.data.pictures import EncodedPictures

# What names of sources begin with that stand for no path.
TFDS, PYTHON = "tfds:", "<python: "


@dataclass(frozen=True)
class Source:
    """Labelled examples before they are divided.

    Attributes:
        name: What the recipe calls it.
        root: The folder that the rows' names are relative to; a table whose rows are the examples.
        rows: A row an example, in an order that is the same on every machine, numbered from 0: ``path`` of a picture
            file (relative to the root), or for texts ``name`` (the same, or the row of a table), ``text`` and for pairs
            ``text_pair``; ``label`` (class name), ``split`` (train, validation or test where the source says so, else
            empty) and whatever further columns the source has.
        class_names: The classes in the order of the model's outputs.
        encoded: The pictures of all rows, where they are no files.
        notes: What is worth knowing of how it was read: lines for people.
    """

    name: str
    root: Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]
    encoded: EncodedPictures | None = None
    notes: tuple[str, ...] = ()
