"""Solve for the optimum of a linear head on frozen features, which training would only approach."""

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from keras_transfer.heads.calibration import doubt_of
from keras_transfer.heads.linear_models import LinearModel
from keras_transfer.networks.types import Array

Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Numbers of the rows to learn from and of those held out, a pair a fold."""

Hints = tuple[NDArray[np.float32], Array]
"""Features ``[hints, features]`` and targets of unlabelled examples, such as the names of classes."""

# Inverse regularization strengths, as in scikit-learn, from strong to weak.
STRENGTHS = tuple(float(strength) for strength in 10.0 ** np.arange(-5.0, 1.01, 0.5))
_CLEARLY_WORSE = 1.02
# Share of the mean variance over features in the scale of each feature. Few rows estimate variances badly, and features
# that hardly ever change would get arbitrarily large weights: the smallest change of the network would spoil the head.
# Compared with only a minimum variance, digits of all rows went from 0.936 to 0.944 and of 4 per class from 0.723 to
# 0.730; solar cells and BBC changed by at most 0.4 points, mostly up (20 draws of each size). A half does no better.
_POOLED = 0.25

# How many rows a hint counts as. On BBC, with 4 to 16 texts per class, 1, 2 and 8 win at most 0.2 points and lose up to
# 0.6.
_HINT_ROWS = 4.0

MOST_FOLDS = 5
"""Folds of cross-validation, at most."""

MOST_HINTED_ROWS = 50
"""Rows per output up to which hints are tried: of 50 headlines per class, nothing was left to be gained."""

MOST_PRODUCTS = 10**9
"""Outputs x features x examples up to which a head is solved: some minutes on two cores."""


@dataclass(frozen=True)
class SolvedHead:
    """A linear head.

    Attributes:
        kernel: ``float32[features, outputs]``.
        bias: ``float32[outputs]``.
        strength: The chosen inverse strength of the L2 penalty.
        loss: Mean loss over the held-out rows at that strength; None without folds.
        held_out: ``float32[rows, outputs]``, predictions for rows while they were held out, at that strength, or None.
        scale: Factor on the solution at that strength that calibrates its logits.
        uses_hints: Whether it was solved with hints, because the loss was lower with them.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    loss: float | None
    held_out: NDArray[np.float32] | None = None
    scale: float = 1.0
    uses_hints: bool = False


def solve_head(
    features: NDArray[np.float32],
    targets: Array,
    weights: NDArray[np.float32],
    *,
    model: Callable[[], LinearModel],
    folds: Folds,
    hints: Hints | None = None,
) -> SolvedHead:
    """Solve a linear model with an L2 penalty on standardized features.

    The strength of the penalty is the one of :data:`STRENGTHS` with the lowest loss on held-out folds, after logits are
    multiplied by the factor that is best there (:meth:`LinearModel.scale`). A strong penalty finds the better
    direction, but its logits are too small; without the factor a weak penalty would be chosen for its larger logits.
    Features are scaled by three quarters of their own variance and a quarter of the mean one. Scaling and factor are
    folded into kernel and bias.

    Args:
        features: ``[rows, features]``.
        targets: Targets of the rows, as the model takes them.
        weights: ``[rows]``, sample weights.
        model: Creates the model.
        folds: Folds of the rows; without any, the strength is the middle one.
        hints: Additional training examples that are never held out; they are used if they lower the loss on held-out
            rows. They are moved to the mean of the rows: what hints share with one another, but not with the rows,
            carries no information. Each counts as four rows.

    Returns:
        The head. The result is deterministic.
    """
    scaled = _Scaled.of(features)
    problem = _Problem(scaled.x, targets, weights, folds)
    chosen = _choose_strength(problem, model)
    if hints is not None and folds:
        hinted = problem.with_hints(*scaled.place_hints(hints))
        other = _choose_strength(hinted, model)
        if other.criterion < chosen.criterion:
            problem, chosen = hinted, other
    kernel, bias = scaled.unfold(_fit(problem, model(), chosen.strength), chosen.scale)
    return SolvedHead(
        kernel,
        bias,
        chosen.strength,
        chosen.loss,
        chosen.held_out,
        chosen.scale,
        uses_hints=len(problem.x) > len(features),
    )


def solve_like(
    solved: SolvedHead,
    features: NDArray[np.float32],
    targets: Array,
    weights: NDArray[np.float32],
    *,
    model: Callable[[], LinearModel],
    hints: Hints | None = None,
) -> SolvedHead:
    """Solve a linear model again on other rows, such as a part of the rows: nothing is chosen, so it is fast.

    Args:
        solved: Its strength and scale are used, and hints if it was solved with them.
        features: ``[rows, features]``.
        targets: Targets of the rows, as the model takes them.
        weights: ``[rows]``, sample weights.
        model: Creates the model.
        hints: As for :func:`solve_head`.

    Returns:
        The head, without a loss.
    """
    scaled = _Scaled.of(features)
    problem = _Problem(scaled.x, targets, weights, [])
    if hints is not None and solved.uses_hints:
        problem = problem.with_hints(*scaled.place_hints(hints))
    single = replace(problem, x=problem.x.astype(np.float32))  # twice as fast
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the solver warns about its last steps in single precision
        kernel, bias = scaled.unfold(_fit(single, model(), solved.strength), solved.scale)
    return replace(solved, kernel=kernel, bias=bias, loss=None, held_out=None)


def draw_folds(
    strata: Sequence[Any] | NDArray[np.int64],
    seed: int,
    groups: Sequence[str] | NDArray[np.object_] | None = None,
    *,
    most: int = MOST_FOLDS,
) -> Folds:
    """Divide rows into stratified folds for cross-validation.

    Args:
        strata: Stratum of each row.
        seed: The same seed gives the same folds.
        groups: Group of each row; a group is never in two folds, since its rows are alike.
        most: Maximum number of folds.

    Returns:
        Up to ``most`` folds: fewer if a stratum has fewer rows or groups, and none if one has only one.
    """
    units = range(len(strata)) if groups is None else groups
    counts = Counter(stratum for stratum, _ in set(zip(strata, units, strict=True)))
    most = min(most, *counts.values())
    if groups is None:
        return list(StratifiedKFold(most, shuffle=True, random_state=seed).split(strata, strata)) if most > 1 else []
    for folds in range(most, 1, -1):
        divided = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(strata, strata, groups))
        # Large groups may leave a fold empty, or all other folds without a stratum.
        if all(len(held_out) and len({strata[row] for row in train}) == len(counts) for train, held_out in divided):
            return divided
    return []


@dataclass(frozen=True)
class _Scaled:
    """Standardized features, and the conversion back."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> "_Scaled":
        """Scale features by three quarters of their own variance and a quarter of the mean one."""
        exact = features.astype(np.float64)
        mean, variance = exact.mean(axis=0), exact.var(axis=0)
        deviation = np.sqrt((1.0 - _POOLED) * variance + _POOLED * variance.mean())
        deviation[deviation == 0.0] = 1.0
        return cls((exact - mean) / deviation, mean, deviation)

    def place_hints(self, hints: Hints) -> tuple[NDArray[np.float64], Array]:
        """Scale hints, and move them to the mean of the rows."""
        return (hints[0] - hints[0].mean(axis=0)) / self.deviation, hints[1]

    def unfold(
        self, solution: tuple[NDArray[np.float64], NDArray[np.float64]], scale: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return kernel and bias for features as they came, with the scale of logits folded in."""
        kernel, bias = (scale * part for part in solution)
        kernel = kernel / self.deviation[:, None]
        return kernel.astype(np.float32), (bias - self.mean @ kernel).astype(np.float32)


@dataclass(frozen=True)
class _Problem:
    """The problem to solve: standardized rows, and folds of them. Hints follow the rows, outside of the folds."""

    x: NDArray[np.floating[Any]]
    targets: Array
    weights: NDArray[np.float32]
    folds: Folds

    def with_hints(self, x: NDArray[np.float64], targets: Array) -> "_Problem":
        """Return the problem with hints, from which every fold learns."""
        indices = np.arange(len(self.x), len(self.x) + len(x))
        return _Problem(
            np.concatenate([self.x, x]),
            np.concatenate([self.targets, targets]),
            np.append(self.weights, np.full(len(x), _HINT_ROWS * self.weights.mean(), np.float32)),
            [(np.append(train, indices), held_out) for train, held_out in self.folds],
        )


def _fit(problem: _Problem, model: LinearModel, strength: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    model.fit(problem.x, problem.targets, problem.weights, strength)
    return model.coefficients()


@dataclass(frozen=True)
class _Chosen:
    """What is chosen on held-out rows; the strength with the lowest criterion is the best."""

    strength: float
    criterion: float = math.inf
    loss: float | None = None
    held_out: NDArray[np.float32] | None = None
    scale: float = 1.0


def _choose_strength(problem: _Problem, new_model: Callable[[], LinearModel]) -> _Chosen:
    folds = problem.folds
    if not folds:
        return _Chosen(STRENGTHS[len(STRENGTHS) // 2])
    models, x = [new_model() for _ in folds], problem.x.astype(np.float32)
    rows = sum(len(held_out) for _, held_out in folds)
    targets, weights = problem.targets[:rows], problem.weights[:rows]
    best, losses = _Chosen(STRENGTHS[0]), [math.inf]
    for strength in STRENGTHS:
        raw = _hold_out(models, x, problem.targets, problem.weights, strength, folds)
        model = models[0]
        scale = model.scale(raw, targets, weights)
        losses.append(model.loss(scale * raw, targets, weights, doubt_of(len(raw))))
        if losses[-1] < min(losses[:-1]):
            held_out = model.predict(scale * raw).astype(np.float32)
            best = _Chosen(strength, losses[-1], model.loss(scale * raw, targets, weights), held_out, scale)
        # The weaker the penalty, the longer it takes to solve: if it is clearly worse twice, the minimum has been
        # passed.
        if min(losses[-2:]) > _CLEARLY_WORSE * min(losses):
            break
    return best


def _hold_out(
    models: Sequence[LinearModel],
    x: NDArray[np.float32],
    targets: Array,
    weights: NDArray[np.float32],
    strength: float,
    folds: Folds,
) -> NDArray[np.float64]:
    """The raw output for each row from the model not fitted on it; each model starts from its last solution."""

    def hold_out(model: LinearModel, fold: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.float64]:
        train, held_out = fold
        model.fit(x[train], targets[train], weights[train], strength)
        kernel, bias = model.coefficients()
        return x[held_out] @ kernel + bias

    cores = os.cpu_count() or 1
    # Folds run in parallel: threads that share one matrix-vector product mostly wait for one another.
    threads = threadpool_limits(max(cores // len(folds), 1), "blas")
    with warnings.catch_warnings(), threads, ThreadPoolExecutor(cores) as pool:
        # Single precision is enough for choosing, and twice as fast; the solver warns about its last steps.
        warnings.simplefilter("ignore")
        parts = list(pool.map(hold_out, models, folds))
    # Each row is held out once.
    return np.concatenate(parts)[np.argsort(np.concatenate([held_out for _, held_out in folds]))]
