"""A process of suite.py: SetFit, as in peer_setfit.py. Usage: CELL_FOLDER

Pairs of texts grow with the square of the rows; settings.num_iterations, if it is set, is the number of pairs per row.
"""

import sys
from pathlib import Path

import torch
from suite_cell import Cell, write_predicted
from suite_torchvision import import_torchvision

if __name__ == "__main__":
    import_torchvision()  # transformers imports it if it is there
    from peer_setfit import fit_setfit
    from transformers import set_seed

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    cell = Cell.read(folder)
    set_seed(cell.seed)
    splits = {
        name: {"texts": part[0], "labels": part[1]} for name, part in (("train", cell.train), ("test", cell.test))
    }
    iterations = cell.settings.get("num_iterations")
    probabilities, *_, settings = fit_setfit(splits, Path(cell.weights), cell.seed, iterations, cell.size)
    write_predicted(folder, probabilities, **settings)
