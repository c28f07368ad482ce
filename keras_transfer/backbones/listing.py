"""The pretrained networks that a recipe can name, for the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_transfer.backbones.audio.hub import list_speech_presets
from keras_transfer.backbones.images.hub import list_image_presets
from keras_transfer.backbones.keras_hub_catalog import PREFIX
from keras_transfer.backbones.rows import list_rows
from keras_transfer.backbones.texts.hub import list_presets
from keras_transfer.console import make_console, print_table
from keras_transfer.console.commands import echo

_PRESETS = {
    "image": (
        "For images also {count} presets of KerasHub, which downloads them (hub:PRESET; --json names them), and "
        "folders of presets, of these families: {families}; and .keras files of your own."
    ),
    "audio": (
        "For recordings also {count} presets of KerasHub, which downloads them (hub:PRESET; --json names them), and "
        "folders of presets, of these families: {families}; and what is for images, on spectrograms."
    ),
    "text": (
        "For texts also {count} presets of KerasHub, which downloads them (--json names them), and folders of presets "
        "and of Hugging Face models with safetensors, of these families: {families}."
    ),
}


def list_backbones() -> list[dict[str, Any]]:
    """Return a description of each: first the entries of ``BACKBONES``, then KerasHub's presets with their family."""
    downloaded = {"weights": "KerasHub downloads them"}
    # Backbones that are available on this machine come first.
    rows = sorted(list_rows(), key=lambda row: not row.available)
    return [
        *(row.description for row in rows),
        *(
            {"name": name, "modality": "text", "family": family, **downloaded}
            for name, family in list_presets().items()
        ),
        *(
            {"name": f"{PREFIX}{name}", "modality": modality, "family": family, **downloaded, **more}
            for modality, presets, more in (
                ("audio", list_speech_presets(), {"transcribes": True}),
                ("image", list_image_presets(), {}),
            )
            for name, family in presets.items()
        ),
    ]


def _describe_input(row: Mapping[str, Any]) -> str:
    if row["modality"] == "image":
        return f"{row['image_size']} px"
    return f"{row['sample_rate'] / 1000:g} kHz audio" if row["modality"] == "audio" else str(row["modality"])


def print_backbones(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of backbones, and for KerasHub's presets their families."""
    named = [row for row in rows if "family" not in row]
    # Inputs other than images first: there are few of those backbones.
    cells = [
        (
            row["name"],
            f"{row['parameters']:,}",
            _describe_input(row),
            row["weights"],
            "yes" if row["available"] else "no",
        )
        for row in sorted(named, key=lambda row: (row["modality"] == "image", row["modality"]))
    ]
    headings = ("name", "parameters", "input", "weights", "on this machine")
    print_table(headings, cells, make_console(), left=headings[2:])
    for modality, line in _PRESETS.items():
        families = [row["family"] for row in rows if row["modality"] == modality and "family" in row]
        echo(line.format(count=len(families), families=", ".join(sorted(set(families)))))
    transcribers = ", ".join(row["name"] for row in named if row.get("transcribes"))
    echo(f"For speech_to_text: {transcribers}, and KerasHub's presets for recordings.")
