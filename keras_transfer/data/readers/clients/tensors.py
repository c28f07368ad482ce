"""Tensors as the model takes them, of one example: from a .npz file, or a dictionary. It needs NumPy."""

import numpy as np


def from_argument(argument):
    """Return the arrays of a .npz file by name."""
    return dict(np.load(argument))


def load(folder, description):
    """Return a function from tensors by name, without the dimension of the batch, to those of the model's types."""
    types = {x["name"]: x["dtype"] for x in description["inputs"]}
    return lambda tensors: {name: np.asarray(tensors[name], dtype) for name, dtype in types.items()}
