"""Tensors of one example as the model takes them, from a .npz file or a dictionary. Needs NumPy."""

import numpy as np


def from_argument(argument):
    """Return the arrays of a .npz file by name."""
    return dict(np.load(argument))


def load(folder, description):
    """Return a function from tensors by name, without the batch dimension, to those of the model's types."""
    types = {x["name"]: x["dtype"] for x in description["inputs"]}
    return lambda tensors: {name: np.asarray(tensors[name], dtype) for name, dtype in types.items()}
