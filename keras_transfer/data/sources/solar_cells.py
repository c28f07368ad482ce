"""The sample sets of images."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.samples import SAMPLES, Sample

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


def _sample(description: str, read: Callable[[Path], Source]) -> Sample:
    return Sample(
        f"{description} ({_ORIGIN})",
        examples="image",
        package="elpv-dataset",
        module="elpv_dataset",
        read=read,
        install="pip install 'keras-transfer[samples]'",
    )


SAMPLES.add("solar_cells", _sample("2,624 photos of solar cells under current", _read_cells))
SAMPLES.add("solar_cells_mono", _sample("1,074 photos of monocrystalline cells", partial(_read_type, cell_type="mono")))
SAMPLES.add("solar_cells_poly", _sample("1,550 photos of polycrystalline cells", partial(_read_type, cell_type="poly")))
