"""The optimum of a linear head on frozen features: solved, where training would approach it."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import linear_model
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Numbers of the rows to learn from and of those held out, a pair a fold."""

# Inverse strengths of the penalty, as scikit-learn counts them, from strong to weak.
STRENGTHS = tuple(float(strength) for strength in 10.0 ** np.arange(-5.0, 1.01, 0.5))
_MOST_ITERATIONS = 2000
# Of the root mean square over all features. On ELPV and BBC headlines 0.1 left accuracy where it was, and made the norm
# of the kernel 10 times smaller, or 10^6 times where one feature was all but constant.
_LEAST_DEVIATION = 0.1

MOST_FOLDS = 5
"""Of cross-validation."""

MOST_PRODUCTS = 10**9
"""Outputs x features x examples up to which a head is solved: some minutes on two cores."""


class LinearModel(ABC):
    """A linear model with an L2 penalty, which can be fitted again and again."""

    @abstractmethod
    def fit(self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float32], strength: float) -> None:
        """Solve it.

        Args:
            x: ``[rows, features]``, standardized.
            targets: Of the rows.
            weights: ``[rows]``, how much each counts.
            strength: Inverse strength of the penalty.
        """

    @abstractmethod
    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``[rows, outputs]``: probabilities, or numbers."""

    @abstractmethod
    def loss(self, predicted: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]) -> float:
        """Return the mean of what is minimised, without the penalty."""

    @abstractmethod
    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel ``[features, outputs]`` and bias ``[outputs]``."""


def _new_regression() -> linear_model.LogisticRegression:
    # On 1,968 rows of 1,280 features newton-cg takes 1.5 s where lbfgs takes 10, to the same strength and loss.
    return linear_model.LogisticRegression(solver="newton-cg", max_iter=_MOST_ITERATIONS, warm_start=True)


class Multinomial(LinearModel):
    """Multinomial logistic regression.

    Args:
        classes: How many there are; targets are ``int64[rows]``, from 0, and every class has a row.
    """

    def __init__(self, classes: int) -> None:
        self._classes, self._model = classes, _new_regression()

    def fit(self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float32], strength: float) -> None:
        """Solve it, beginning where it ended at the last strength."""
        self._model.set_params(C=strength).fit(x, targets, sample_weight=weights)

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return probabilities."""
        return np.asarray(self._model.predict_proba(x))

    def loss(self, predicted: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]) -> float:
        """Return the cross-entropy, in nats."""
        return float(log_loss(targets, predicted, sample_weight=weights, labels=self._model.classes_))

    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel and bias; of two classes, scikit-learn solves for the second one's advantage over the first."""
        kernel, bias = self._model.coef_.T, self._model.intercept_
        if self._classes == 2:
            return np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
        return kernel, bias


class OneVsRest(LinearModel):
    """A logistic regression a label.

    Args:
        labels: How many there are; targets are ``float32[rows, labels]``, 0 or 1.
    """

    def __init__(self, labels: int) -> None:
        self._models = [_new_regression() for _ in range(labels)]
        # Of labels that all rows of a fold have, or none.
        self._constants: dict[int, float] = {}

    def fit(self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float32], strength: float) -> None:
        """Solve all of them."""
        marks = targets > 0.5
        self._constants = {i: float(column[0]) for i, column in enumerate(marks.T) if len(np.unique(column)) == 1}
        for index, model in enumerate(self._models):
            if index not in self._constants:
                model.set_params(C=strength).fit(x, marks[:, index], sample_weight=weights)

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return probabilities."""
        columns = [
            np.full(len(x), self._constants[index]) if index in self._constants else model.predict_proba(x)[:, 1]
            for index, model in enumerate(self._models)
        ]
        return np.stack(columns, axis=1)

    def loss(self, predicted: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]) -> float:
        """Return the mean binary cross-entropy over labels, in nats."""
        given = np.where(targets > 0.5, predicted, 1.0 - predicted).astype(np.float64)
        losses = -np.log(np.maximum(given, np.finfo(np.float32).eps)).mean(axis=1)
        return float(np.average(losses, weights=weights))

    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel and bias."""
        kernels, biases = zip(*((model.coef_[0], model.intercept_[0]) for model in self._models), strict=True)
        return np.stack(kernels, axis=1), np.array(biases)


class Ridge(LinearModel):
    """Ridge regression; targets are ``float32[rows, numbers]``, standardized."""

    def __init__(self) -> None:
        self._model = linear_model.Ridge(solver="cholesky")

    def fit(self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float32], strength: float) -> None:
        """Solve it."""
        self._model.set_params(alpha=1.0 / strength).fit(x, targets, sample_weight=weights)

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers."""
        return np.asarray(self._model.predict(x)).reshape(len(x), -1)

    def loss(self, predicted: NDArray[np.float64], targets: NDArray[Any], weights: NDArray[np.float32]) -> float:
        """Return the mean squared error."""
        return float(np.average(((predicted - targets) ** 2).mean(axis=1), weights=weights))

    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel and bias."""
        # Of one number, scikit-learn gives a vector.
        return np.atleast_2d(self._model.coef_).T, np.atleast_1d(self._model.intercept_)


@dataclass(frozen=True)
class SolvedHead:
    """A linear head.

    Attributes:
        kernel: ``float32[features, outputs]``.
        bias: ``float32[outputs]``.
        strength: The inverse strength of the L2 penalty that was chosen.
        loss: Mean loss over the held-out folds at that strength; None where there are no folds.
        held_out: ``float32[rows, outputs]``, what is said of each row while it was held out, at that strength, or None.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    loss: float | None
    held_out: NDArray[np.float32] | None = None


def solve_head(
    features: NDArray[np.float32],
    targets: NDArray[Any],
    weights: NDArray[np.float32],
    *,
    model: Callable[[], LinearModel],
    folds: Folds,
) -> SolvedHead:
    """Solve a linear model with an L2 penalty on standardized features.

    The strength of the penalty is the one of :data:`STRENGTHS` with the least loss on held-out folds. Standardization
    is folded into kernel and bias; features that vary much less than the others are scaled as if they varied a tenth as
    much.

    Args:
        features: ``[rows, features]``.
        targets: Of the rows, as the model takes them.
        weights: ``[rows]``, how much each counts.
        model: Makes the model.
        folds: Of the rows; without any, the strength is the one in the middle.

    Returns:
        The head. The same arguments give the same one.
    """
    exact = features.astype(np.float64)
    mean, deviation = exact.mean(axis=0), exact.std(axis=0)
    # What hardly ever changes would get weights without measure, and the least change of the network spoil the head.
    deviation = np.maximum(deviation, _LEAST_DEVIATION * np.sqrt(np.mean(deviation**2)))
    deviation[deviation == 0.0] = 1.0
    x = (exact - mean) / deviation
    strength, loss, held_out = _choose_strength(x.astype(np.float32), targets, weights, model, folds)
    final = model()
    final.fit(x, targets, weights, strength)
    kernel, bias = final.coefficients()
    kernel = kernel / deviation[:, None]
    bias = bias - mean @ kernel
    return SolvedHead(kernel.astype(np.float32), bias.astype(np.float32), strength, loss, held_out)


def draw_folds(strata: Sequence[Any] | NDArray[np.int64], seed: int) -> Folds:
    """Divide rows into folds for cross-validation, stratified.

    Args:
        strata: Of each row.
        seed: The same one gives the same folds.

    Returns:
        Five folds, fewer where a stratum has fewer rows, and none where one has a single row.
    """
    folds = min(MOST_FOLDS, int(np.unique(strata, return_counts=True)[1].min()))
    if folds < 2:
        return []
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(strata, strata))


def _choose_strength(
    x: NDArray[np.float32],
    targets: NDArray[Any],
    weights: NDArray[np.float32],
    new_model: Callable[[], LinearModel],
    folds: Folds,
) -> tuple[float, float | None, NDArray[np.float32] | None]:
    if not folds:
        return STRENGTHS[len(STRENGTHS) // 2], None, None
    models = [new_model() for _ in folds]
    # Folds hold out each row once; this puts what is said of them, one fold after the other, in the rows' order.
    order = np.argsort(np.concatenate([held_out for _, held_out in folds]))
    losses: list[float] = []
    predicted: list[NDArray[np.float32]] = []
    for strength in STRENGTHS:
        loss, said = 0.0, []
        for model, (train, held_out) in zip(models, folds, strict=True):
            # Each begins where it ended at the last strength.
            with warnings.catch_warnings():
                # Single precision is enough to choose by, and twice as fast; its last steps make the solver complain.
                warnings.simplefilter("ignore")
                model.fit(x[train], targets[train], weights[train], strength)
            said.append(model.predict(x[held_out]))
            loss += model.loss(said[-1], targets[held_out], weights[held_out])
        losses.append(loss / len(folds))
        predicted.append(np.concatenate(said)[order].astype(np.float32))
        # The weaker the penalty, the longer it takes to solve: twice worse, and the least lies behind.
        if len(losses) > 2 and losses[-3] < losses[-2] < losses[-1]:
            break
    best = int(np.argmin(losses))
    return STRENGTHS[best], losses[best], predicted[best]
