"""The sample set of recordings: one-shot sounds for live coding."""

from pathlib import Path

import pandas as pd

from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.samples import SAMPLES, Sample

# FoxDot plays the sounds of a folder for one character; these are its own descriptions of the characters, grouped.
_FOLDERS = {
    "kick": ("a/upper", "v/lower", "v/upper", "w/upper", "x/lower", "x/upper"),
    "snare": ("d/upper", "i/lower", "i/upper", "o/lower", "o/upper", "u/lower"),
    "hihat": ("a/lower", "n/lower", "n/upper", "_/colon", "_/equals", "_/hyphen"),
    "clap": ("h/lower", "h/upper", "_/asterix"),
    "tom": ("m/lower", "m/upper", "p/lower", "p/upper"),
    "metal": ("e/lower", "r/lower", "r/upper", "t/upper", "_/ampersand"),
    "voice": ("c/upper", "_/1", "_/2", "_/3", "_/4", "_/exclamation"),
}


def _read(package: Path) -> Source:
    root = package / "snd"
    rows = [
        {"path": file.relative_to(root).as_posix(), "label": label, "bank": bank}
        for label, banks in _FOLDERS.items()
        for bank in banks
        for file in sorted((root / bank).iterdir())
        if file.suffix.lower() == ".wav"
    ]
    return Source("percussion", root, pd.DataFrame(rows).assign(split=""), tuple(_FOLDERS))


SAMPLES.add(
    "percussion",
    Sample(
        "164 drum, bell and voice sounds of seven kinds (FoxDot; CC BY-SA 4.0)",
        examples="audio",
        package="FoxDot",
        module="FoxDot",
        read=_read,
        install="pip install 'keras-transfer[audio-samples]'",
    ),
)
