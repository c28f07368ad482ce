"""How an error decreases with the number of training rows: a power law, and a forecast for more rows, with an interval.

The expected error of a model that is trained on s rows is modelled as ``floor + factor * s ** -exponent`` (Hestness et
al. 2017, arXiv 1712.00409; Viering and Loog 2021, arXiv 2103.10948, compare forms). A few sizes do not determine all
three parameters. So the forecast is an average over all power laws on a grid, each weighted by how well it explains the
measured errors and by a prior that does not depend on the data, and its interval covers the uncertainty of the law, the
randomness of drawing training rows, and that of the rows on which errors are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Of the interval: the share of forecasts that should hold the truth."""

# Exponents of the grid: 1 is the rate at which parametric models approach their best, and nothing decays faster for
# long; measured exponents of networks are 0.07 to 0.5. A grid up to 1.5 would underestimate the gain.
_EXPONENTS = np.linspace(0.1, 1.0, 19)
# The share of the current error that more rows would never remove. Its prior decreases linearly from 0 to 1.
_FLOORS = np.linspace(0.0, 0.975, 40)
# Share of a score's variance over draws that is due to the pool: it is common to subsets of one pool, so it is not
# visible in the spread between them. Scores on independent pools varied twice as much as the spread of subsets
# suggested (docs/experiments.md).
_POOL_SHARE = 0.5
# Variance of the relative error per doubling of the rows, by which a curve departs from a power law (a random walk).
_BEND = 0.03**2
# The spread is estimated from draws of at least this share of the pool: smaller draws vary in another way.
_LARGE = 0.45
_SPREADS, _SAMPLES_EACH, _PER_RESAMPLE = 12, 400, 20


@dataclass(frozen=True)
class Measured:
    """Errors of models that were trained on parts of a pool of rows.

    Attributes:
        sizes: ``float64[k]``, how many rows they were trained on, ascending.
        errors: For each size the errors of its draws, ``float64[draws]``.
        pool: The number of rows that draws are taken from.
        resampled: For each size, the mean error over its draws on each bootstrap resample of the rows that errors are
            measured on, ``float64[resamples, k]``; none for an interval on these very rows.
        resolution: The smallest meaningful difference between two errors, such as one row of a hundred.
    """

    sizes: Floats
    errors: tuple[Floats, ...]
    pool: float
    resampled: Floats
    resolution: float = 0.0

    @property
    def means(self) -> Floats:
        """The mean error at each size."""
        return np.array([each.mean() for each in self.errors])


@dataclass(frozen=True)
class PowerLaw:
    """``floor + factor * rows ** -exponent``, the most likely one."""

    floor: float
    factor: float
    exponent: float

    def __call__(self, rows: Floats | float) -> Floats:
        """Return the error for numbers of rows."""
        return np.asarray(self.floor + self.factor * np.asarray(rows, np.float64) ** -self.exponent)


@dataclass(frozen=True)
class Forecast:
    """Expected errors with more training rows.

    Attributes:
        rows: ``float64[t]``, numbers of rows; the first is the current one.
        errors: ``float64[t]``, expected.
        intervals: ``float64[t, 2]``, of the error of one model.
        gain: The expected decrease of the error from the first number of rows to the last.
        gain_interval: Its interval; below 0, the error increases.
    """

    rows: Floats
    errors: Floats
    intervals: Floats
    gain: float
    gain_interval: tuple[float, float]


def fit_power_law(measured: Measured) -> PowerLaw:
    """Return the most likely power law: a weighted least-squares fit of the measured means, within the grid's bounds.

    Args:
        measured: At least three sizes.
    """
    spread, _ = _estimate_spread(measured)
    model = _Gaussian(measured, np.zeros(1) + measured.pool, spread)
    grid = _grid()
    start = grid[:, int(np.argmin(model.weigh(measured.means, grid)[0]))]

    def misfit(values: Floats) -> float:
        return float(model.weigh(measured.means, values[:, None])[0][0])

    bounds = [(0.0, float(_FLOORS[-1])), (float(_EXPONENTS[0]), float(_EXPONENTS[-1]))]
    found = minimize(misfit, start, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-4, "fatol": 1e-9})
    floor, exponent = map(float, found.x)
    level = float(model.weigh(measured.means, found.x[:, None])[1][0])
    return PowerLaw(floor * level, float((1.0 - floor) * level * measured.pool**exponent), exponent)


def forecast(measured: Measured, rows: Sequence[float]) -> Forecast:
    """Forecast errors of models that are trained on more rows, including those of the pool.

    Args:
        measured: At least three sizes.
        rows: At least as many as the pool; the first is the current number.

    Returns:
        The forecast. It is deterministic.
    """
    random = np.random.default_rng(0)
    targets = np.asarray(rows, np.float64)
    spread, freedom = _estimate_spread(measured)
    # The uncertainty of the spread itself widens the interval: it is estimated from few draws.
    spreads = spread * freedom / random.chisquare(freedom, _SPREADS)
    resampled = measured.resampled[np.isfinite(measured.resampled).all(axis=1)]
    curves = resampled if len(resampled) else measured.means[None]
    count = _PER_RESAMPLE if len(resampled) else _SAMPLES_EACH
    samples = []
    for each in spreads:
        model = _Gaussian(measured, targets, each)
        samples += [model.sample(curve, count, random) for curve in curves]
    drawn = np.concatenate(samples).clip(0.0)
    tail = 100 * (1.0 - LEVEL) / 2
    low, high = np.percentile(drawn[:, 0] - drawn[:, -1], [tail, 100 - tail])
    errors = _Gaussian(measured, targets, spread).expect(measured.means)
    return Forecast(
        rows=targets,
        errors=errors,
        intervals=np.percentile(drawn, [tail, 100 - tail], axis=0).T,
        gain=float(errors[0] - errors[-1]),
        gain_interval=(float(low), float(high)),
    )


def _grid() -> Floats:
    """Floors and exponents of all power laws that are averaged, ``[2, laws]``."""
    return np.stack([axis.ravel() for axis in np.meshgrid(_FLOORS, _EXPONENTS, indexing="ij")])


def _estimate_spread(measured: Measured) -> tuple[float, int]:
    """The variance of the error of models trained on as many rows as the pool has, and its degrees of freedom.

    It is assumed to be inversely proportional to the number of rows.
    """
    total, freedom = 0.0, 0
    drawn = [(size, errors) for size, errors in zip(measured.sizes, measured.errors, strict=True) if len(errors) > 1]
    least_size = min(_LARGE * measured.pool, max((size for size, _ in drawn), default=0.0))
    for size, errors in drawn:
        if size >= least_size:
            ratio = measured.pool / size
            unit = _POOL_SHARE * max(ratio - 1.0, 0.0) + (1.0 - _POOL_SHARE) * ratio
            total += float(errors.var(ddof=1)) * (len(errors) - 1) / unit
            freedom += len(errors) - 1
    least = max((0.25 * measured.resolution) ** 2, 1e-12 * float(np.abs(measured.means).max()) ** 2, 1e-24)
    return max(total / max(freedom, 1), least), max(freedom, 1)


class _Gaussian:
    """The joint distribution of errors at measured and other numbers of rows, for one spread.

    An error differs from the power law by the randomness of the pool, which models on its subsets share, and by
    individual randomness. The variances of both are inversely proportional to the number of rows.
    """

    def __init__(self, measured: Measured, targets: Floats, spread: float) -> None:
        sizes, pool = measured.sizes, measured.pool
        draws = np.array([len(each) for each in measured.errors])
        shared, own = _POOL_SHARE * spread * pool, (1.0 - _POOL_SHARE) * spread * pool
        within = (shared * np.maximum(1.0 / sizes - 1.0 / pool, 0.0) + own / sizes) / draws
        # Curves bend: the farther away large sizes are, the less small sizes predict them.
        bends = _BEND * measured.means[-1] ** 2
        away, ahead = np.log2(pool / np.minimum(sizes, pool)), np.log2(np.maximum(targets, pool) / pool)
        covariance = shared / pool + np.diag(within) + bends * np.minimum(away[:, None], away)
        same = (targets[:, None] == sizes) * (draws == 1)  # the very model that was measured
        cross = shared / np.maximum(targets[:, None], pool) + same * own / sizes
        joint = shared / np.maximum(targets[:, None], targets) + np.diag(own / targets)
        joint = joint + bends * np.minimum(ahead[:, None], ahead)
        self._inverse = np.linalg.inv(covariance)
        self._gain = cross @ self._inverse
        values, vectors = np.linalg.eigh(joint - self._gain @ cross.T)
        self._noise = (vectors * np.sqrt(values.clip(0.0))).T
        self._measured, self._targets = sizes / pool, targets / pool

    def weigh(self, means: Floats, laws: Floats) -> tuple[Floats, Floats, Floats]:
        """Return for each law its misfit, its best level (the error at the pool's size), and the level's precision.

        Args:
            means: ``[k]``, measured.
            laws: ``[2, laws]``, floors and exponents.
        """
        shape = _shape(laws, self._measured)
        weighted = shape @ self._inverse
        precision = (weighted * shape).sum(axis=1)
        level = weighted @ means / precision
        return means @ self._inverse @ means - level**2 * precision, level, precision

    def expect(self, means: Floats) -> Floats:
        """Return the expected errors at the other numbers of rows, ``[targets]``, given the measured ones."""
        laws, level, _, weights = self._posterior(means)
        return np.asarray((weights @ self._given(means, laws, level)).clip(0.0))

    def sample(self, means: Floats, count: int, random: np.random.Generator) -> Floats:
        """Draw errors at the other numbers of rows, ``[count, targets]``, given the measured ones."""
        laws, level, precision, weights = self._posterior(means)
        chosen = random.choice(len(weights), count, p=weights)
        levels = level[chosen] + random.normal(size=count) / np.sqrt(precision[chosen])
        expected = self._given(means, laws[:, chosen], levels)
        return np.asarray(expected + random.normal(size=expected.shape) @ self._noise)

    def _posterior(self, means: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """All laws of the grid, with level, precision and weight of each."""
        laws = _grid()
        misfit, level, precision = self.weigh(means, laws)
        log = -0.5 * misfit - 0.5 * np.log(precision) + np.log1p(-laws[0])
        weights = np.exp(log - log.max())
        return laws, level, precision, weights / weights.sum()

    def _given(self, means: Floats, laws: Floats, levels: Floats) -> Floats:
        """The expected errors under each law, ``[laws, targets]``: models of one pool share its randomness."""
        left = means - _shape(laws, self._measured) * levels[:, None]
        return np.asarray(_shape(laws, self._targets) * levels[:, None] + left @ self._gain.T)


def _shape(laws: Floats, shares: Floats) -> Floats:
    """Errors of power laws at shares of the pool, ``[laws, shares]``, where each is 1 for the whole pool."""
    floors, exponents = laws[:, :, None]
    return np.asarray(floors + (1.0 - floors) * shares**-exponents)
