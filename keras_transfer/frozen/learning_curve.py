"""The learning curve of the solved head: its quality with fewer rows, and the estimated gain from more labels.

When a head has been solved, features of all rows are available, and the strength of its penalty is known. So it is
solved again on parts of the rows, which is fast, and evaluated on rows that it is never trained on: validation and test
rows, or held-out folds of the training rows if there are few of these. Nothing is chosen by the result.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from keras_transfer.data.targets.base import Targets
from keras_transfer.frozen.power_law import LEVEL, Forecast, Measured, PowerLaw, fit_power_law, forecast
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import FIGURES, Figure
from keras_transfer.heads.solver import Folds, SolvedHead, draw_folds

Rows = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

_FEWEST_DRAWS = 2
_LEAST_PER_STRATUM = 2
# Two sizes that differ by less are equivalent.
_APART = 1.2
_LEAST_SIZES, _LEAST_ROWS = 3, 20
# With fewer rows, measurements are mostly noise: folds of the training rows are then better.
_LEAST_HELD_OUT, _MOST_HELD_OUT = 50, 5000
# Outputs x features x rows over all solutions: five to ten seconds on one core.
_MOST_PRODUCTS = 1.5e8
_MOST_RESAMPLES, _LEAST_RESAMPLES, _MOST_COUNTS = 50, 10, 2e7


@dataclass(frozen=True)
class Solved:
    """A head that was solved on some rows, with the data for solving it again.

    Attributes:
        head: Solves, predicts and scores.
        solution: The solution on all rows.
        features: ``float32[n, channels]``.
        targets: Targets of the same rows.
        weights: ``float32[n]``.
        strata: Strata of the same rows: parts are drawn from each equally.
        label_features: ``float32[outputs, channels]`` of label names, or None.
        groups: Groups of the same rows, which cross-validation does not divide; or None.
    """

    head: TargetHead
    solution: SolvedHead
    features: NDArray[np.float32]
    targets: Targets
    weights: NDArray[np.float32]
    strata: Sequence[str]
    label_features: NDArray[np.float32] | None = None
    groups: NDArray[np.object_] | None = None

    def predict(self, rows: Rows, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Solve the head on some rows, and return raw outputs for features, ``float32[m, outputs]``."""
        solved = self.head.solve_like(
            self.solution, self.features[rows], self.targets[rows], self.weights[rows], self.label_features
        )
        return np.asarray(features @ solved.kernel + solved.bias, np.float32)


@dataclass(frozen=True)
class HeldOut:
    """Rows that no solution is trained on.

    Attributes:
        features: ``float32[m, channels]``.
        targets: Of the same rows.
        words: Their description for people: ``validation and test rows``.
    """

    features: NDArray[np.float32]
    targets: Targets
    words: str

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class CurvePoint:
    """Scores of heads that were solved on that many rows, one per draw."""

    rows: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class CurveForecast:
    """The score that is expected with that many rows, with its interval."""

    rows: int
    score: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class LearningCurve:
    """Scores of the solved head by the number of training rows, and the forecast for twice as many.

    Attributes:
        figure: The metric.
        rows: Number of training rows.
        held_out: Number of rows on which scores are measured.
        words: Their description.
        points: Measured scores, by number of rows.
        forecasts: Forecasts from the current number of rows to twice as many.
        gain: The expected change of the score with twice as many rows; below 0 for an error that decreases.
        interval: Interval of the gain: it should contain the true value in :data:`LEVEL` of all cases.
        law: The most likely power law of the error; for a share, the error is 1 minus it.
    """

    figure: Figure
    rows: int
    held_out: int
    words: str
    points: tuple[CurvePoint, ...]
    forecasts: tuple[CurveForecast, ...]
    gain: float
    interval: tuple[float, float]
    law: PowerLaw

    def __str__(self) -> str:
        return (
            f"twice as many labels ({2 * self.rows:,}): about {self.describe_gain()}, for the solved head, measured "
            f"on {self.held_out:,} {self.words}"
        )

    def describe_gain(self) -> str:
        """Return the gain in words: ``+1.8 points (90 % interval +0.6 to +2.9)``."""
        return self.figure.describe_difference(self.gain, self.interval, level=LEVEL)

    def to_json(self) -> dict[str, Any]:
        """Return the content of learning_curve.json."""
        return {
            "figure": {"name": self.figure.name, "unit": self.figure.unit, "is_error": self.figure.is_error},
            "rows": self.rows,
            "held_out": {"rows": self.held_out, "what": self.words},
            "points": [{"rows": point.rows, "scores": list(point.scores)} for point in self.points],
            "level": LEVEL,
            "forecasts": [
                {"rows": one.rows, "score": one.score, "interval": list(one.interval)} for one in self.forecasts
            ],
            "twice": {"rows": 2 * self.rows, "gain": self.gain, "interval": list(self.interval)},
            "error_power_law": {
                "floor": self.law.floor,
                "factor": self.law.factor,
                "exponent": self.law.exponent,
            },
        }


@dataclass(frozen=True)
class NoLearningCurve:
    """Why there is no learning curve."""

    reason: str

    def __str__(self) -> str:
        return f"not measured: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the content of learning_curve.json."""
        return {"reason": self.reason}


NO_BASELINE = NoLearningCurve(
    "the run has no solved head to measure it with. policy.name=head, lp_ft, gradual and auto solve the head, if it "
    "has no hidden layer"
)


def read_learning_curve(values: Any) -> LearningCurve | NoLearningCurve:
    """Read back what ``to_json`` returned.

    Raises:
        KeyError: A value is missing.
        TypeError: A value has another type.
        ValueError: A value is invalid.
    """
    if "reason" in values:
        return NoLearningCurve(str(values["reason"]))
    law = {name: float(values["error_power_law"][name]) for name in ("floor", "factor", "exponent")}
    return LearningCurve(
        figure=_read_figure(**values["figure"]),
        rows=int(values["rows"]),
        held_out=int(values["held_out"]["rows"]),
        words=str(values["held_out"]["what"]),
        points=tuple(CurvePoint(int(one["rows"]), tuple(map(float, one["scores"]))) for one in values["points"]),
        forecasts=tuple(
            CurveForecast(int(one["rows"]), float(one["score"]), _pair(one["interval"])) for one in values["forecasts"]
        ),
        gain=float(values["twice"]["gain"]),
        interval=_pair(values["twice"]["interval"]),
        law=PowerLaw(**law),
    )


def _read_figure(name: str, unit: str, is_error: bool) -> Figure:
    """Find the metric of a head, which may be defined by a plugin."""
    return FIGURES[name] if name in FIGURES else Figure(name, f"{name} {{:.4g}}", str(unit), bool(is_error))


def _pair(values: Any) -> tuple[float, float]:
    low, high = map(float, values)
    return low, high


def measure_learning_curve(solved: Solved, held_out: HeldOut | None, *, seed: int) -> LearningCurve | NoLearningCurve:
    """Measure the solved head with fewer rows, and forecast it with twice as many.

    Args:
        held_out: Rows to evaluate on; if there are few or none, folds of the training rows are held out.

    Returns:
        The curve, or why there is none.
    """
    rows = len(solved.features)
    if held_out is not None and len(held_out) > _MOST_HELD_OUT:
        held_out = _take_some(held_out, seed)
    if held_out is not None and len(held_out) >= _LEAST_HELD_OUT:
        trial: _Trial = _Apart(solved, held_out)
    else:
        folds = [draw_folds(solved.strata, seed + draw, solved.groups) for draw in range(_Folded.draws)]
        if not folds[0]:
            return NoLearningCurve(
                f"fewer than {_LEAST_HELD_OUT} validation and test rows, and a class with one training row or group"
            )
        trial = _Folded(solved, folds)
    plan = _plan(trial, seed)
    if rows < _LEAST_ROWS or len(plan) + 1 < _LEAST_SIZES:
        return NoLearningCurve(f"too few training rows: {rows:,} in {len(set(solved.strata)):,} classes or bins")
    predicted = [*_run(trial, plan), trial.whole()]
    if not all(np.isfinite(each).all() for size in predicted for each in size):
        return NoLearningCurve("the solved head predicts numbers that are NaN or infinite")
    sizes = [float(np.mean([trial.count(draw) for draw in draws])) for draws in plan]
    measured = _measure(trial, [*sizes, float(trial.pool)], predicted)
    if not np.isfinite(measured.means).all():
        return NoLearningCurve("no label that can be scored on the held-out rows")
    steps = np.linspace(1.0, 2.0, 6)
    return _describe(trial, measured, forecast(measured, (rows * steps).tolist()))


def _take_some(held_out: HeldOut, seed: int) -> HeldOut:
    some = np.sort(np.random.default_rng(seed).permutation(len(held_out))[:_MOST_HELD_OUT])
    return replace(held_out, features=held_out.features[some], targets=held_out.targets[some])


@dataclass(frozen=True)
class _Draw:
    """A part of the rows: a share of each stratum, in a separate random order."""

    seed: tuple[int, ...]
    share: float

    def of(self, strata: Sequence[str] | NDArray[Any]) -> Rows:
        _, codes = np.unique(np.asarray(strata), return_inverse=True)
        order = np.random.default_rng(self.seed).permutation(len(codes))
        order = order[np.argsort(codes[order], kind="stable")]
        counts = np.bincount(codes)
        place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        taken = np.maximum(np.round(self.share * counts), np.minimum(_LEAST_PER_STRATUM, counts))
        return np.asarray(np.sort(order[place < np.repeat(taken, counts)]), np.int64)


class _Apart:
    """Heads that are trained on training rows, and evaluated on other rows."""

    shares, draws = (1 / 8, 1 / 4, 1 / 2, 3 / 4), 5

    def __init__(self, solved: Solved, held_out: HeldOut) -> None:
        self.solved, self.words, self.targets = solved, held_out.words, held_out.targets
        self.pool, self.cost = len(solved.features), 1.0
        self._features = held_out.features

    def count(self, draw: _Draw) -> int:
        """The number of training rows of a draw."""
        return len(draw.of(self.solved.strata))

    def raw(self, draw: _Draw) -> NDArray[np.float32]:
        """Raw outputs for the held-out rows."""
        return self.solved.predict(draw.of(self.solved.strata), self._features)

    def whole(self) -> list[NDArray[np.float32]]:
        """The same for the head that was solved on all rows."""
        solution = self.solved.solution
        return [np.asarray(self._features @ solution.kernel + solution.bias, np.float32)]


class _Folded:
    """Heads that are trained on all but one fold of the training rows, and evaluated on that one; each fold in turn.

    Args:
        solved: The solution on all rows.
        folds: The folds of each draw.
    """

    words = "training rows while they were held out"
    # Each draw needs a solution per fold, also for all rows.
    shares, draws = (1 / 4, 1 / 2), 4

    def __init__(self, solved: Solved, folds: Sequence[Folds]) -> None:
        self.solved, self.targets, self._folds = solved, solved.targets, folds
        self.pool = round(float(np.mean([len(train) for train, _ in folds[0]])))
        self.cost = float(len(folds[0]))

    def count(self, draw: _Draw) -> int:
        """The number of training rows of a draw, in its first fold."""
        return len(draw.of(np.asarray(self.solved.strata)[self._folds[draw.seed[1]][0][0]]))

    def raw(self, draw: _Draw) -> NDArray[np.float32]:
        """Raw outputs for all rows, each while it was held out."""
        solved, outputs = self.solved, []
        folds = self._folds[draw.seed[1]]
        for train, held_out in folds:
            part = train[draw.of(np.asarray(solved.strata)[train])]
            outputs.append(solved.predict(part, solved.features[held_out]))
        order = np.argsort(np.concatenate([held_out for _, held_out in folds]))
        return np.concatenate(outputs)[order]

    def whole(self) -> list[NDArray[np.float32]]:
        """The same for heads that are trained on all other folds."""
        return [self.raw(_Draw((0, draw), 1.0)) for draw in range(len(self._folds))]


_Trial = _Apart | _Folded


def _plan(trial: _Trial, seed: int) -> list[list[_Draw]]:
    """The draws of each size. On large data there are fewer: they vary less, and each takes longer."""
    outputs, channels = len(trial.solved.head.names), trial.solved.features.shape[1]
    one = trial.cost * trial.pool * outputs * channels
    draws = int(np.clip(_MOST_PRODUCTS / (one * sum(trial.shares)), _FEWEST_DRAWS, trial.draws))
    plan: list[list[_Draw]] = []
    left, last = _MOST_PRODUCTS, 0.0
    for share in trial.shares:
        own = [_Draw((seed, draw, round(1000 * share)), share) for draw in range(draws)]
        size = float(trial.count(own[0]))
        left -= draws * share * one
        if len(plan) + 1 >= _LEAST_SIZES and left < 0:
            break
        if size >= _APART * last and trial.pool >= _APART * size:
            plan.append(own)
            last = size
    return plan


def _run(trial: _Trial, plan: Sequence[Sequence[_Draw]]) -> list[list[NDArray[np.float32]]]:
    """Raw outputs by size and draw; draws run in parallel, on one core each."""
    cores = os.cpu_count() or 1
    # Solvers suppress warnings while they run. Filters are global to the process: threads that change and restore them
    # at the same time would leave them changed, and later warnings of the run would be lost.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"), ThreadPoolExecutor(cores) as pool:
        return [list(pool.map(trial.raw, draws)) for draws in plan]


def _measure(trial: _Trial, sizes: Sequence[float], raw: Sequence[Sequence[NDArray[np.float32]]]) -> Measured:
    """Errors by size and draw; for shares, 1 minus the share."""
    head, targets = trial.solved.head, trial.targets
    rows = len(targets)
    resamples = int(np.clip(_MOST_COUNTS // (rows * len(head.names)), _LEAST_RESAMPLES, _MOST_RESAMPLES))
    counts = np.random.default_rng(0).multinomial(rows, np.full(rows, 1.0 / rows), resamples).astype(np.float64)
    counts = np.concatenate([np.ones((1, rows)), counts])
    scores = [np.stack([head.score(head.predictions(each), targets, counts) for each in draws]) for draws in raw]
    errors = [each if head.figure.is_error else 1.0 - each for each in scores]
    return Measured(
        sizes=np.array(sizes),
        errors=tuple(each[:, 0].astype(np.float64) for each in errors),
        pool=float(trial.pool),
        resampled=np.stack([each[:, 1:].mean(axis=0) for each in errors], axis=1),
        resolution=0.0 if head.figure.is_error else 1.0 / rows,
    )


def _describe(trial: _Trial, measured: Measured, expected: Forecast) -> LearningCurve:
    figure = trial.solved.head.figure
    to_score: Callable[[Any], Any] = (lambda error: error) if figure.is_error else (lambda error: 1.0 - error)
    low, high = expected.gain_interval
    return LearningCurve(
        figure=figure,
        rows=len(trial.solved.features),
        held_out=len(trial.targets),
        words=trial.words,
        points=tuple(
            CurvePoint(round(size), tuple(to_score(errors).tolist()))
            for size, errors in zip(measured.sizes.tolist(), measured.errors, strict=True)
        ),
        forecasts=tuple(
            CurveForecast(round(rows), float(to_score(error)), _pair(sorted(to_score(interval).tolist())))
            for rows, error, interval in zip(expected.rows, expected.errors, expected.intervals, strict=True)
        ),
        gain=-expected.gain if figure.is_error else expected.gain,
        interval=(-high, -low) if figure.is_error else (low, high),
        law=fit_power_law(measured),
    )
