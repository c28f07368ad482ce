"""A sample set: 24 images of stripes of two classes, written next to this file when they are first read."""

from pathlib import Path

import pandas as pd

from keras_transfer import Sample, Source
from transfer_plugin.drawing import CLASSES
from transfer_plugin.source import write_stripes


def read(package: Path) -> Source:
    """Read the images of the first two classes."""
    root = package / "two_stripes"
    rows = [(kind, number) for kind in range(2) for number in range(12)]
    table = pd.DataFrame(
        {
            "path": [write_stripes(root, kind, number) for kind, number in rows],
            "label": [CLASSES[kind] for kind, _ in rows],
            "split": "",
        }
    )
    return Source("two_stripes", root, table, CLASSES[:2])


TWO_STRIPES = Sample(
    "24 drawings of stripes, across or down.",
    examples="image",
    package="transfer-plugin",
    module="transfer_plugin",
    read=read,
)
