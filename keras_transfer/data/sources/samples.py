"""Sample sets: real data that comes in a package."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from keras_transfer.data.sources.base import Source
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry

Samples = Registry[Callable[[], Source]]
SAMPLES: Samples = Registry("sample set", DataError)


def find_package(sample: str, module: str, package: str) -> Path:
    """Return the folder of a package that carries a sample set, without importing it.

    Args:
        sample: The sample set, for messages.
        module: What the package is imported as.
        package: What it is installed as.

    Raises:
        DataError: It is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"Sample set {sample} needs the package {package}. Run: pip install 'keras-transfer[samples]'")
    return Path(spec.submodule_search_locations[0])


def _solar_cells() -> Source:
    """2,624 photos of solar cells under current (elpv-dataset; Buerhop-Lutz et al. 2018, Deitsch et al. 2019)."""
    root = find_package("solar_cells", "elpv_dataset", "elpv-dataset") / "data"
    rows = pd.read_csv(root / "labels.csv", sep=r"\s+", names=["path", "probability", "cell_type"])
    # Experts gave 0, 1/3, 2/3 or 1: how sure they are that the cell is defective.
    defective = rows["probability"] >= 0.5
    rows["label"] = defective.map({True: "defective", False: "functional"})
    rows["certainty"] = (2 * rows["probability"] - 1).abs()
    rows["defective"], rows["monocrystalline"] = defective, rows["cell_type"] == "mono"
    rows["split"] = ""
    return Source("solar_cells", root, rows, ("functional", "defective"))


def _cells_of(cell_type: str) -> Callable[[], Source]:
    def read() -> Source:
        whole = _solar_cells()
        rows = whole.rows[whole.rows["cell_type"] == cell_type].reset_index(drop=True)
        return replace(whole, name=f"solar_cells_{cell_type}", rows=rows)

    return read


SAMPLES.add("solar_cells", _solar_cells)
for _type in ("mono", "poly"):  # 1,074 monocrystalline and 1,550 polycrystalline cells
    SAMPLES.add(f"solar_cells_{_type}", _cells_of(_type))
