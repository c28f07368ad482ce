"""Robust statistics: how far values are from the majority, regardless of outliers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def robust_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many robust standard deviations each value is above the median; 0 if most values are equal."""
    spread = robust_spread(values)
    return (values - np.median(values)) / spread if spread > 0.0 else np.zeros(len(values))


def robust_spread(values: NDArray[np.float64]) -> Any:
    """Return the standard deviation of columns, estimated from the median distance to the median.

    Outliers do not change it, and for a normal distribution the two are equal.

    Args:
        values: ``float64[n]`` or ``float64[n, columns]``.
    """
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
