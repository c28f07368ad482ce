"""Prediction sets and intervals that contain the truth as often as promised: split-conformal prediction.

Scores on validation rows, sorted by how well the model predicted the rows, give a bound that contains the truth on new
rows equally often if these are exchangeable with the validation rows: for any model and any distribution of the data
(Vovk, Gammerman & Shafer 2005; Angelopoulos & Bates 2023, https://arxiv.org/abs/2107.07511). The promise holds for all
rows together. It does not hold for each class, or for each kind of row.

Sets of classes are those of Sadinle, Lei & Wasserman 2019 (https://arxiv.org/abs/1609.00451): each class whose
probability reaches a bound. They are the smallest on average; those of Romano, Sesia & Candes 2020
(https://arxiv.org/abs/2006.02544) adapt more to how hard a row is, and are larger. Here, the predicted class is in
every set, also when the bound is chosen, so that no set is empty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.errors import ConfigError
from keras_transfer.heads.calibration import check_finite
from keras_transfer.heads.resampling import Floats
from keras_transfer.networks.types import JsonObject, Tensor

Bools = NDArray[np.bool_]

# The score of what is always in the set.
_ALWAYS = -np.inf
_NEVER_NEEDED = 1.0


@dataclass(frozen=True)
class Coverage:
    """The bounds, chosen on validation rows, of sets or intervals that contain the truth as often as promised.

    Attributes:
        promised: The share of new rows whose set contains the true class; for each label or number, the share of rows
            for which the truth is not ruled out, or is in the interval.
        rows: Number of validation rows.
        bounds: For classes, one: the probability from which a further class is in the set. For labels, one per label:
            the probability from which the other answer is not ruled out. For numbers, one per number: half the width of
            the interval.
    """

    promised: float
    rows: int
    bounds: tuple[float, ...]

    def to_json(self, names: Sequence[str] | None = None) -> JsonObject:
        """Return the entry in head.json.

        Args:
            names: Names of the outputs that have a bound each; None if there is one bound for all.
        """
        bounds = self.bounds[0] if names is None else dict(zip(names, self.bounds, strict=True))
        return {"promised": self.promised, "rows": self.rows, "bounds": bounds}

    @classmethod
    def restore(
        cls, promised: float | None, facts: JsonObject, names: Sequence[str] | None = None
    ) -> "Coverage | None":
        """Read back the entry of a run in head.json.

        Args:
            promised: The recipe's ``head.coverage``; None for a recipe without it.
            names: Names of the outputs that have a bound each; None if there is one bound for all.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is wrong.
        """
        if promised is None:
            return None
        values = facts["coverage"]
        bounds = (values["bounds"],) if names is None else tuple(values["bounds"][name] for name in names)
        if values["promised"] != promised or not all(
            isinstance(one, int | float) and 0 <= one < math.inf for one in bounds
        ):
            raise ValueError(f"a value in {values}")
        return cls(promised, int(values["rows"]), tuple(float(one) for one in bounds))


# Before training.


def check_rows(coverage: float | None, rows: int) -> None:
    """Check that there are enough validation rows for the coverage of a recipe.

    Args:
        coverage: The recipe's ``head.coverage``.

    Raises:
        ConfigError: There are too few; the message has the number that is needed.
    """
    if coverage is None or _rank(coverage, rows) <= rows:
        return
    most = f"or lower head.coverage to {_most_covered(rows)} at most" if rows else "or leave head.coverage out"
    raise ConfigError(
        f"head.coverage: {coverage} needs at least {rows_needed(coverage):,} validation rows. Received: {rows:,}. "
        f"Increase data.validation, {most}."
    )


def rows_needed(coverage: float) -> int:
    """Return the smallest number of rows n with (n + 1) * coverage <= n."""
    exact = _exact(coverage)
    return math.ceil(exact / (1 - exact))


def _most_covered(rows: int) -> float:
    """The highest coverage for that number of rows, rounded down."""
    digits = len(str(rows)) + 1
    return math.floor(Fraction(rows, rows + 1) * 10**digits) / 10**digits


def _exact(coverage: float) -> Fraction:
    """The decimal number in a recipe: 0.9, not the nearest binary one, which may change the rank."""
    return Fraction(repr(coverage))


def _rank(coverage: float, rows: int) -> int:
    """The rank of the bounding row: with n instead of n + 1, n * coverage would promise too much for few rows."""
    return math.ceil((rows + 1) * _exact(coverage))


# The choice.


def conformal_quantile(scores: Floats, coverage: float) -> float:
    """Return the bound that the score of a new row does not exceed with the promised probability.

    It is the ``ceil((n + 1) * coverage)``-th of n scores in ascending order. A new score that is exchangeable with them
    is at most as large with a probability of at least ``coverage``; without ties, of at most
    ``coverage + 1 / (n + 1)``.

    Args:
        scores: ``[n]``, how badly each row was predicted: higher is worse.

    Raises:
        ConfigError: There are too few rows.
    """
    check_rows(coverage, len(scores))
    rank = _rank(coverage, len(scores)) - 1
    return float(np.partition(scores, rank)[rank])


def cover_classes(coverage: float, predicted: Floats, chosen: NDArray[np.int64], targets: NDArray[Any]) -> Coverage:
    """Choose the probability from which a class is in the set in addition to the predicted one.

    Args:
        coverage: The share of rows whose set contains the true class.
        predicted: ``float32[n, classes]``, of validation rows.
        chosen: ``int64[n]``, the predicted classes.
        targets: ``int64[n]``, the true classes.
    """
    check_finite(predicted, "validation")
    given = predicted[np.arange(len(targets)), targets]
    return Coverage(coverage, len(targets), (_least_probability(given, chosen == targets, coverage),))


def cover_labels(coverage: float, predicted: Floats, present: Bools, targets: Floats) -> Coverage:
    """Choose, for each label, the probability from which the answer that was not predicted is not ruled out.

    Args:
        coverage: For each label, the share of rows for which the truth is not ruled out.
        predicted: ``float32[n, labels]``, of validation rows.
        present: ``bool[n, labels]``, the predicted labels.
        targets: ``float32[n, labels]``, 0 or 1.
    """
    check_finite(predicted, "validation")
    truth = targets > 0.5
    given = _of_answer(predicted, truth)
    columns = zip(given.T, (present == truth).T, strict=True)
    return Coverage(coverage, len(targets), tuple(_least_probability(*column, coverage) for column in columns))


def cover_numbers(coverage: float, predicted: Floats, targets: Floats) -> Coverage:
    """Choose half the width of each number's interval, from absolute residuals.

    Args:
        coverage: For each number, the share of rows whose interval contains it.
        predicted: ``float32[n, numbers]``, of validation rows.
        targets: ``float32[n, numbers]``.
    """
    check_finite(predicted, "validation")
    errors = residuals(predicted, targets)
    return Coverage(coverage, len(targets), tuple(conformal_quantile(column, coverage) for column in errors.T))


def _least_probability(given: Floats, is_right: Bools, coverage: float) -> float:
    """The bound on probabilities of the truth; the predicted class or answer is always in the set."""
    found = conformal_quantile(np.where(is_right, _ALWAYS, -given.astype(np.float64)), coverage)
    return _NEVER_NEEDED if found == _ALWAYS else -found


def _of_answer(predicted: Floats, present: Bools) -> Floats:
    """The probability of an answer, present or absent."""
    exact = np.asarray(predicted, np.float32)
    return np.where(present, exact, np.float32(1.0) - exact)


def residuals(predicted: Floats, targets: Floats) -> Floats:
    """Return the absolute errors of predicted numbers, ``float64[n, numbers]``."""
    return np.abs(predicted.astype(np.float64) - targets.astype(np.float64))


# Sets and intervals.


def class_sets(coverage: Coverage, predicted: Floats, chosen: NDArray[np.int64]) -> Bools:
    """Return which classes are in the set, ``bool[..., classes]``, for probabilities of that shape.

    Args:
        coverage: As :func:`cover_classes` returns it.
        predicted: ``float32[..., classes]``.
        chosen: ``int64[...]``, the predicted classes.
    """
    own = np.arange(predicted.shape[-1]) == np.asarray(chosen)[..., None]
    return np.asarray(own | (np.asarray(predicted, np.float32) >= np.float32(coverage.bounds[0])))


def class_sets_in_graph(coverage: Coverage, predicted: Tensor, chosen: Tensor) -> Tensor:
    """Do the same with tensors of a batch in a graph."""
    own = tf.one_hot(chosen, predicted.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    return own | (predicted >= tf.constant(coverage.bounds[0], tf.float32))


def uncertain_labels(coverage: Coverage, predicted: Floats, present: Bools) -> Bools:
    """Return for which labels neither answer is ruled out, ``bool[..., labels]``.

    Args:
        coverage: As :func:`cover_labels` returns it.
        predicted: ``float32[..., labels]``.
        present: ``bool[..., labels]``, the predicted labels.
    """
    return np.asarray(_of_answer(predicted, ~present) >= np.array(coverage.bounds, np.float32))


def uncertain_labels_in_graph(coverage: Coverage, predicted: Tensor, present: Tensor) -> Tensor:
    """Do the same with tensors of a batch in a graph."""
    return tf.where(present, 1.0 - predicted, predicted) >= tf.constant(coverage.bounds, tf.float32)


def class_sets_tie(
    coverage: Coverage, predicted: Floats, chosen: NDArray[np.int64], tolerance: float
) -> NDArray[np.bool_]:
    """Return ``bool[n]``: whether the set of a row changes within a tolerance of the probabilities."""
    other = np.asarray(np.arange(predicted.shape[-1]) != chosen[:, None])
    return np.asarray((other & (np.abs(predicted - coverage.bounds[0]) < tolerance)).any(axis=1))


def uncertain_labels_tie(coverage: Coverage, predicted: Floats, present: Bools, tolerance: float) -> NDArray[np.bool_]:
    """Return ``bool[n]``: whether an uncertain label of a row changes within a tolerance of the probabilities."""
    return np.asarray((np.abs(_of_answer(predicted, ~present) - np.array(coverage.bounds)) < tolerance).any(axis=1))
