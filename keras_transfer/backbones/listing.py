"""The pretrained networks that a recipe can name, for the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.images.hub import PREFIX, list_image_presets
from keras_transfer.backbones.texts.hub import TEXT_BACKBONES, list_presets

_PRESETS = {
    "image_classification": (
        "For images also {count} presets of KerasHub, which downloads them (hub:PRESET; --json names them), and "
        "folders of presets, of these families: {families}; and .keras files of your own."
    ),
    "text_classification": (
        "For texts also {count} presets of KerasHub, which downloads them (--json names them), and folders of presets "
        "and of Hugging Face models with safetensors, of these families: {families}."
    ),
}


def list_backbones() -> list[dict[str, Any]]:
    """Return a row for each: first those with weights of their own, then KerasHub's presets, which have a family."""
    images, texts = {"task": "image_classification"}, {"task": "text_classification"}
    downloaded = {"weights": "KerasHub downloads them"}
    # What can be used now comes first.
    ranked = sorted((BACKBONES[name] for name in BACKBONES), key=lambda row: not row.available)
    return [
        *(
            {
                "name": row.name,
                **images,
                "parameters": row.parameters,
                "image_size": row.image_size,
                "stages": row.stages,
                "weights": row.weights_source,
                "available": row.available,
            }
            for row in ranked
        ),
        *(
            {
                "name": row.name,
                **texts,
                "parameters": row.parameters,
                "weights": row.description,
                "available": row.available,
            }
            for row in (TEXT_BACKBONES[name] for name in TEXT_BACKBONES)
        ),
        *({"name": name, **texts, "family": family, **downloaded} for name, family in list_presets().items()),
        *(
            {"name": f"{PREFIX}{name}", **images, "family": family, **downloaded}
            for name, family in list_image_presets().items()
        ),
    ]


def print_backbones(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table, and for KerasHub's presets their families.

    Args:
        rows: Of :func:`list_backbones`.
    """
    table = Table()
    for heading in ("name", "parameters", "input", "weights", "on this machine"):
        table.add_column(heading, justify="right" if heading == "parameters" else "left")
    # Texts first: there are few.
    for row in sorted((row for row in rows if "family" not in row), key=lambda row: "image_size" in row):
        size = f"{row['image_size']} px" if "image_size" in row else "texts"
        here = "yes" if row["available"] else "no"
        table.add_row(row["name"], f"{row['parameters']:,}", size, row["weights"], here)
    Console().print(table)
    for task, told in _PRESETS.items():
        families = [row["family"] for row in rows if row["task"] == task and "family" in row]
        click.echo(told.format(count=len(families), families=", ".join(sorted(set(families)))))
