"""Intervals of metrics: percentiles over resamples of the rows, and Wilson's for shares."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.floating[Any]]


def bootstrap(measure: Callable[[Floats], Floats], rows: int) -> tuple[float, float]:
    """Return a 95 % interval of a metric: percentiles over resamples of the rows (Efron 1979).

    Args:
        measure: From how often each row counts, ``[resamples, rows]``, to the metric, ``[resamples]``; values that are
            NaN or infinite are left out.

    Returns:
        The bounds of the interval. The same rows give the same bounds.
    """
    return bootstrap_each(lambda counts: measure(counts)[:, None], rows)[0]


def bootstrap_each(measure: Callable[[Floats], Floats], rows: int) -> list[tuple[float, float]]:
    """Return :func:`bootstrap` of several metrics at once.

    Args:
        measure: From how often each row counts, ``[resamples, rows]``, to the metrics, ``[resamples, figures]``.
    """
    values = np.concatenate([measure(counts) for counts in _draw_resamples(rows)])
    return [_percentiles(column[np.isfinite(column)]) for column in values.T]


def wilson_interval(hits: int, rows: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927)."""
    interval = binomtest(hits, rows).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _percentiles(values: Floats) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


# Ten thousand resamples of a few thousand rows take a second.
_MOST_RESAMPLES, _LEAST_RESAMPLES, _MOST_DRAWS, _CHUNK = 10_000, 1000, 20_000_000, 2_000_000


def _draw_resamples(rows: int) -> Iterator[Floats]:
    """How often each row occurs in resamples with as many rows, a few resamples at a time."""
    random = np.random.default_rng(0)
    total = min(max(_MOST_DRAWS // rows, _LEAST_RESAMPLES), _MOST_RESAMPLES)
    size = max(_CHUNK // rows, 1)
    for start in range(0, total, size):
        resamples = min(size, total - start)
        drawn = random.integers(0, rows, (resamples, rows)) + rows * np.arange(resamples)[:, None]
        yield np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)
