"""Arrays that replace symbolic tensors, to call layers once outside of a graph."""

from typing import Any

import keras
import numpy as np


def to_zeros(value: Any) -> Any:
    """Return zeros of a symbolic tensor's shape, with unknown dimensions of 1; other values are returned unchanged."""
    if not isinstance(value, keras.KerasTensor):
        return value
    return np.zeros([1 if length is None else length for length in value.shape], value.dtype)
