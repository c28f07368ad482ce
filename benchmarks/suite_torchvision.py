"""Imports torchvision beside a PyTorch that its operators were not built for, for the peers of suite.py.

torchvision from PyPI is built for a CUDA version of torch: beside the CPU version its operators do not load, and
importing it fails ("operator torchvision::nms does not exist"). Classification uses none of them, so their names are
registered here. The error is that of the pair of wheels, not of the packages that import torchvision.
"""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import torch


def register_operators() -> None:
    """Let torchvision be imported if its operators cannot be loaded."""
    (folder,) = importlib.util.find_spec("torchvision").submodule_search_locations
    source = Path(folder, "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in sorted(set(re.findall(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"', source))):
        library.define(f"{name}(Tensor x) -> Tensor")
    globals()["_library"] = library  # its names are gone with it


def import_torchvision() -> None:
    """Import it if it is installed, whether or not its operators can be loaded."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for module in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        register_operators()
