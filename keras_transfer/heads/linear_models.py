"""The linear models with an L2 penalty that a solved head can be: fitted by scikit-learn, again and again."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from sklearn import linear_model

from keras_transfer.heads.calibration import class_losses, doubt_of, fit_factor, label_losses
from keras_transfer.networks.types import Array

_MOST_ITERATIONS = 2000


class LinearModel(ABC):
    """A linear model with an L2 penalty, which can be fitted repeatedly."""

    @abstractmethod
    def fit(self, x: Array, targets: Array, weights: NDArray[np.float32], strength: float) -> None:
        """Fit the model.

        Args:
            x: ``[rows, features]``, standardized.
            targets: Targets of the rows.
            weights: ``[rows]``, sample weights.
            strength: Inverse regularization strength.
        """

    @abstractmethod
    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel ``[features, outputs]`` and bias ``[outputs]``."""

    @abstractmethod
    def predict(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities for logits, or numbers, ``[rows, outputs]``."""

    @abstractmethod
    def loss(self, raw: NDArray[np.float64], targets: Array, weights: NDArray[np.float32], doubt: float = 0.0) -> float:
        """Return the mean of the objective, without the penalty.

        Args:
            raw: ``[rows, outputs]``, logits or numbers.
            targets: Targets of the rows.
            weights: ``[rows]``, sample weights.
            doubt: Share of the targets that is distributed evenly over the possible ones.
        """

    def scale(self, raw: NDArray[np.float64], targets: Array, weights: NDArray[np.float32]) -> float:
        """Return the one factor on held-out logits that calibrates them best.

        Its inverse is the temperature of :mod:`keras_transfer.heads.calibration`, fitted in the same way.
        """
        doubt = doubt_of(len(raw))
        return fit_factor(lambda factor: self.loss(factor * raw, targets, weights, doubt))


def _new_regression() -> linear_model.LogisticRegression:
    # On 1,968 rows of 1,280 features newton-cg takes 1.5 s where lbfgs takes 10, to the same strength and loss.
    return linear_model.LogisticRegression(solver="newton-cg", max_iter=_MOST_ITERATIONS, warm_start=True)


class Multinomial(LinearModel):
    """Multinomial logistic regression.

    Args:
        classes: Number of classes; targets are ``int64[rows]``, from 0, and every class has a row.
    """

    def __init__(self, classes: int) -> None:
        self._classes, self._model = classes, _new_regression()

    def fit(self, x: Array, targets: Array, weights: NDArray[np.float32], strength: float) -> None:
        """Fit the model, starting from the solution for the last strength."""
        self._model.set_params(C=strength).fit(x, targets, sample_weight=weights)

    def predict(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities."""
        return np.asarray(softmax(raw, axis=1))

    def loss(self, raw: NDArray[np.float64], targets: Array, weights: NDArray[np.float32], doubt: float = 0.0) -> float:
        """Return the cross-entropy, in nats."""
        return float(np.average(class_losses(raw, targets, doubt), weights=weights))

    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel and bias; for two classes, scikit-learn solves for the second against the first."""
        kernel, bias = self._model.coef_.T, self._model.intercept_
        if self._classes == 2:
            return np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
        return kernel, bias


class OneVsRest(LinearModel):
    """A logistic regression per label.

    Args:
        labels: Number of labels; targets are ``float32[rows, labels]``, 0 or 1.
    """

    def __init__(self, labels: int) -> None:
        self._models = [_new_regression() for _ in range(labels)]
        self._features = 0
        # Logits of labels that all rows of a fold have, or none, as if one more row had half the label.
        self._constants: dict[int, float] = {}

    def fit(self, x: Array, targets: Array, weights: NDArray[np.float32], strength: float) -> None:
        """Fit all of the regressions."""
        marks, self._features = targets > 0.5, x.shape[1]
        constant = np.flatnonzero(marks.all(axis=0) | ~marks.any(axis=0))
        self._constants = {int(index): float(logit((marks[:, index].sum() + 0.5) / (len(x) + 1))) for index in constant}
        for index, model in enumerate(self._models):
            if index not in self._constants:
                model.set_params(C=strength).fit(x, marks[:, index], sample_weight=weights)

    def predict(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities."""
        return np.asarray(expit(raw))

    def loss(self, raw: NDArray[np.float64], targets: Array, weights: NDArray[np.float32], doubt: float = 0.0) -> float:
        """Return the mean binary cross-entropy over labels, in nats."""
        return float(np.average(label_losses(raw, targets, doubt).mean(axis=1), weights=weights))

    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel and bias."""
        nothing = np.zeros(self._features)
        kernels, biases = zip(
            *(
                (nothing, self._constants[index]) if index in self._constants else (model.coef_[0], model.intercept_[0])
                for index, model in enumerate(self._models)
            ),
            strict=True,
        )
        return np.stack(kernels, axis=1), np.array(biases)


class Ridge(LinearModel):
    """Ridge regression; targets are ``float32[rows, numbers]``, standardized.

    Args:
        to_predictions: Turns standardized numbers into predictions; by default the identity.
    """

    def __init__(self, to_predictions: Callable[[NDArray[np.float64]], Array] = np.asarray) -> None:
        self._model, self._to_predictions = linear_model.Ridge(solver="cholesky"), to_predictions

    def fit(self, x: Array, targets: Array, weights: NDArray[np.float32], strength: float) -> None:
        """Fit the model."""
        self._model.set_params(alpha=1.0 / strength).fit(x, targets, sample_weight=weights)

    def predict(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return predictions."""
        return self._to_predictions(raw)

    def scale(self, raw: NDArray[np.float64], targets: Array, weights: NDArray[np.float32]) -> float:
        """Return 1: larger numbers are not more certain."""
        return 1.0

    def loss(self, raw: NDArray[np.float64], targets: Array, weights: NDArray[np.float32], doubt: float = 0.0) -> float:
        """Return the mean squared error."""
        return float(np.average(((raw - targets) ** 2).mean(axis=1), weights=weights))

    def coefficients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kernel and bias."""
        # For a single number, scikit-learn returns a vector.
        return np.atleast_2d(self._model.coef_).T, np.atleast_1d(self._model.intercept_)
