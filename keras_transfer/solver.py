"""The optimum of a linear head on frozen features: solved, where training would approach it."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

# Inverse strengths of the penalty, as scikit-learn counts them, from strong to weak.
STRENGTHS = tuple(float(strength) for strength in 10.0 ** np.arange(-5.0, 1.01, 0.5))
_FOLDS = 5
_MOST_ITERATIONS = 2000
# Of the root mean square over all features. On ELPV and BBC headlines 0.1 left accuracy where it was, and made the norm
# of the kernel 10 times smaller, or 10^6 times where one feature was all but constant.
_LEAST_DEVIATION = 0.1

MOST_PRODUCTS = 10**9
"""Classes x features x examples up to which a head is solved: some minutes on two cores."""


@dataclass(frozen=True)
class SolvedHead:
    """A linear head.

    Attributes:
        kernel: ``float32[features, classes]``.
        bias: ``float32[classes]``.
        strength: The inverse strength of the L2 penalty that was chosen.
        loss: Mean cross-entropy over the held-out folds at that strength, in nats; None where a class has too few rows
            for cross-validation.
        held_out: ``float32[rows, classes]`` probabilities of each row while it was held out, at that strength, or None.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    loss: float | None
    held_out: NDArray[np.float32] | None = None


def solve_head(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float32],
    *,
    classes: int,
    seed: int,
) -> SolvedHead:
    """Solve multinomial logistic regression with an L2 penalty on standardized features.

    The strength of the penalty is the one of :data:`STRENGTHS` with the least cross-entropy on held-out folds,
    stratified by class. Standardization is folded into kernel and bias; features that vary much less than the others
    are scaled as if they varied a tenth as much.

    Args:
        features: ``[rows, features]``.
        labels: ``[rows]``, from 0; every class has a row.
        weights: ``[rows]``, how much each counts.
        classes: How many there are.
        seed: Of the folds.

    Returns:
        The head. The same arguments give the same one.
    """
    exact = features.astype(np.float64)
    mean, deviation = exact.mean(axis=0), exact.std(axis=0)
    # What hardly ever changes would get weights without measure, and the least change of the network spoil the head.
    deviation = np.maximum(deviation, _LEAST_DEVIATION * np.sqrt(np.mean(deviation**2)))
    deviation[deviation == 0.0] = 1.0
    x = (exact - mean) / deviation
    strength, loss, held_out = _choose_strength(x.astype(np.float32), labels, weights, seed)
    model = _new_model().set_params(C=strength).fit(x, labels, sample_weight=weights)
    # Of two classes, scikit-learn solves for the second one's advantage over the first.
    kernel, bias = model.coef_.T, model.intercept_
    if classes == 2:
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    kernel = kernel / deviation[:, None]
    bias = bias - mean @ kernel
    return SolvedHead(kernel.astype(np.float32), bias.astype(np.float32), strength, loss, held_out)


def draw_folds(labels: NDArray[np.int64], seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Divide rows into folds for cross-validation, stratified by class.

    Args:
        labels: ``[rows]``.
        seed: The same one gives the same folds.

    Returns:
        Numbers of the rows to learn from and of those held out, a pair a fold: five, fewer where a class has fewer
        rows, and none where one has a single row.
    """
    folds = min(_FOLDS, int(np.bincount(labels).min()))
    if folds < 2:
        return []
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))


def _choose_strength(
    x: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32], seed: int
) -> tuple[float, float | None, NDArray[np.float32] | None]:
    folds = [(_new_model(), train, held_out) for train, held_out in draw_folds(labels, seed)]
    if not folds:
        return STRENGTHS[len(STRENGTHS) // 2], None, None
    losses: list[float] = []
    predicted: list[NDArray[np.float32]] = []
    for strength in STRENGTHS:
        loss, probabilities = 0.0, np.zeros((len(labels), labels.max() + 1), np.float32)
        for model, train, held_out in folds:
            # Each begins where it ended at the last strength.
            with warnings.catch_warnings():
                # Single precision is enough to choose by, and twice as fast; its last steps make the solver complain.
                warnings.simplefilter("ignore")
                model.set_params(C=strength).fit(x[train], labels[train], sample_weight=weights[train])
            own = model.predict_proba(x[held_out])
            loss += log_loss(labels[held_out], own, sample_weight=weights[held_out], labels=model.classes_)
            probabilities[held_out] = own
        losses.append(loss / len(folds))
        predicted.append(probabilities)
        # The weaker the penalty, the longer it takes to solve: twice worse, and the least lies behind.
        if len(losses) > 2 and losses[-3] < losses[-2] < losses[-1]:
            break
    best = int(np.argmin(losses))
    return STRENGTHS[best], losses[best], predicted[best]


def _new_model() -> LogisticRegression:
    # On 1,968 rows of 1,280 features newton-cg takes 1.5 s where lbfgs takes 10, to the same strength and loss.
    return LogisticRegression(solver="newton-cg", max_iter=_MOST_ITERATIONS, warm_start=True)
