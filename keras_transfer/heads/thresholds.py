"""Decision thresholds: the probability from which a class or label is predicted, and how it is chosen.

Thresholds are chosen on validation rows, as by scikit-learn's ``TunedThresholdClassifierCV``: every decision that the
rows can distinguish is tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, matthews_corrcoef

from keras_transfer.config.names import show_name
from keras_transfer.config.schema import ThresholdConfig
from keras_transfer.data.tables.tables import some
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import ConfigError
from keras_transfer.heads.evaluation import Floats
from keras_transfer.networks.types import JsonObject, Tensor
from keras_transfer.registry import did_you_mean

# For several classes, probabilities are divided by thresholds.
_LEAST = 1e-6
_MOST_SHOWN = 8
COST = "cost"


@dataclass(frozen=True)
class Choice:
    """How thresholds were chosen.

    Attributes:
        metric: The metric that they optimize; ``cost`` for costs.
        value: The metric on the validation rows, with these thresholds; for several labels, the mean.
        rows: Number of validation rows.
    """

    metric: str
    value: float
    rows: int

    def __str__(self) -> str:
        best = "least cost" if self.metric == COST else f"best {self.metric}"
        return f"{best} on {self.rows:,} validation rows, {self.value:.4g}"


@dataclass(frozen=True)
class Decision:
    """The probability from which each class or label is predicted.

    Of several classes, the one whose probability is the largest multiple of its threshold is predicted. Of two classes,
    whose thresholds are ``1 - t`` and ``t``, the positive one is predicted if its probability is at least ``t``.

    Attributes:
        thresholds: Thresholds by name, in the order of the outputs.
        positive: Of two classes, the one that is predicted if its probability reaches its threshold.
        choice: How they were chosen; None if the recipe sets them.
    """

    thresholds: Mapping[str, float]
    positive: str | None = None
    choice: Choice | None = None

    def __str__(self) -> str:
        named = {self.positive: self.thresholds[self.positive]} if self.positive else self.thresholds
        shown = [f"{name} from {value:.4g}" for name, value in list(named.items())[:_MOST_SHOWN]]
        more = [f"and {len(named) - len(shown)} more"] if len(named) > len(shown) else []
        return f"{', '.join([*shown, *more])}: {self.choice or 'set in the recipe'}"

    def to_json(self) -> JsonObject:
        """Return the entry in head.json and metrics.json."""
        positive = {} if self.positive is None else {"positive": self.positive}
        chosen = {} if self.choice is None else {"chosen": vars(self.choice)}
        return {"thresholds": dict(self.thresholds), **positive, **chosen}

    @classmethod
    def from_json(cls, values: JsonObject) -> "Decision":
        """Read back what :meth:`to_json` returned.

        Raises:
            KeyError: A value is missing.
            ValueError: A value has a wrong type or is not a probability.
        """
        thresholds, chosen = dict(values["thresholds"]), values.get("chosen")
        if not all(isinstance(value, int | float) and 0.0 <= value <= 1.0 for value in thresholds.values()):
            raise ValueError(f"a threshold in {thresholds}")
        choice = None
        if chosen is not None:
            choice = Choice(str(chosen["metric"]), float(chosen["value"]), int(chosen["rows"]))
        return cls({name: float(value) for name, value in thresholds.items()}, values.get("positive"), choice)

    @classmethod
    def restore(cls, names: Sequence[str], facts: JsonObject) -> "Decision":
        """Read the decision of a run with these outputs from head.json.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is wrong.
        """
        read = cls.from_json(facts)
        if sorted(read.thresholds) != sorted(names) or (read.positive is not None and read.positive not in names):
            raise ValueError("a name in the thresholds")
        return cls({name: read.thresholds[name] for name in names}, read.positive, read.choice)

    # Factors, not divisors: an optimized graph multiplies by the reciprocal, which rounds differently.

    @property
    def _factors(self) -> NDArray[np.float32]:
        return np.array([1.0 / max(value, _LEAST) for value in self.thresholds.values()], np.float32)

    @property
    def _cut(self) -> tuple[int, np.float32]:
        """Of two classes, the index of the positive one and its threshold."""
        name = self.positive if self.positive is not None else list(self.thresholds)[-1]
        return list(self.thresholds).index(name), np.float32(self.thresholds[name])

    def decide(self, predicted: Floats) -> NDArray[np.int64]:
        """Return the index of the predicted class, ``int64[...]``, for probabilities ``[..., classes]``."""
        exact = np.asarray(predicted, np.float32)
        if len(self.thresholds) == 2:
            positive, cut = self._cut
            return np.where(exact[..., positive] >= cut, positive, 1 - positive)
        return np.asarray((exact * self._factors).argmax(axis=-1), np.int64)

    def decide_in_graph(self, predicted: Tensor) -> Tensor:
        """Do the same with a tensor in a graph."""
        if len(self.thresholds) == 2:
            positive, cut = self._cut
            return tf.where(predicted[:, positive] >= cut, positive, 1 - positive)
        return tf.argmax(predicted * tf.constant(self._factors), axis=-1)

    def is_tied(self, predicted: Floats, tolerance: float) -> NDArray[np.bool_]:
        """Return ``bool[n]``: whether the decision for a row changes within a tolerance of the probabilities."""
        if len(self.thresholds) == 2:
            positive, cut = self._cut
            return np.asarray(np.abs(predicted[:, positive] - cut) < tolerance)
        scaled, rows = predicted * self._factors, np.arange(len(predicted))
        second, first = np.argsort(scaled, axis=1)[:, -2:].T
        allowed = tolerance * (self._factors[first] + self._factors[second])
        return np.asarray(scaled[rows, first] - scaled[rows, second] < allowed)


# Settings of a recipe.


def check_threshold(config: ThresholdConfig | None, names: Sequence[str], *, classes: bool) -> None:
    """Check the names of classes or labels in ``head.threshold``.

    Args:
        classes: Whether the names are those of classes, of which one is predicted, or of labels.

    Raises:
        ConfigError: A name is unknown or missing.
    """
    if config is None:
        return
    kind = "class" if classes else "label"
    given = {"costs": config.costs, "value": config.value, "positive": {config.positive: 0.0}}
    for key, value in given.items():
        known = value if isinstance(value, dict) else {}
        unknown = [name for name in known if name is not None and name not in names]
        if unknown:
            raise ConfigError(
                f"head.threshold.{key}: there is no {kind} {show_name(unknown[0])}. {did_you_mean(unknown[0], names)}"
            )
    if config.positive is not None and len(names) != 2:
        raise ConfigError(
            f"head.threshold.positive: requires exactly two classes. Received: {len(names)}. Leave it out."
        )
    missing = [name for name in names if config.costs is not None and name not in config.costs]
    if missing:
        raise ConfigError(f"head.threshold.costs: no cost for {some(map(show_name, missing))}. Name every {kind}.")
    if classes and config.value is not None:
        _check_class_values(config.value, config.positive, names)


def _check_class_values(value: float | dict[str, float], positive: str | None, names: Sequence[str]) -> None:
    if len(names) == 2:
        if isinstance(value, dict) and (len(value) != 1 or positive not in (None, *value)):
            raise ConfigError(
                "head.threshold.value: two classes have one threshold, that of the positive class. Received: "
                f"{some(map(show_name, value))}. Name that class alone, or give a number and head.threshold.positive."
            )
        return
    if not isinstance(value, dict):
        raise ConfigError(
            f"head.threshold.value: a single number requires exactly two classes. Received: {len(names)}. "
            "Give one number per class: {a: 0.5, b: 0.2, ...}."
        )
    missing = [name for name in names if name not in value]
    if missing:
        raise ConfigError(f"head.threshold.value: no threshold for {some(map(show_name, missing))}. Name every class.")


def check_validation(config: ThresholdConfig | None, names: Sequence[str], targets: Targets) -> None:
    """Check that the thresholds of classes can be chosen on validation rows.

    Args:
        targets: ``int64[n]``, the classes of the validation rows.

    Raises:
        ConfigError: A class has no validation row.
    """
    if config is None or config.value is not None:
        return
    missing = [name for index, name in enumerate(names) if not (targets == index).any()]
    if missing:
        raise ConfigError(
            f"head.threshold: thresholds are chosen on validation rows, and these classes have none: "
            f"{some(map(show_name, missing))}. Increase data.validation, or set head.threshold.value."
        )


def check_label_validation(config: ThresholdConfig | None, targets: Targets) -> None:
    """Check that there are validation rows if the thresholds of labels are to be chosen.

    Args:
        targets: ``float32[n, labels]``, of the validation rows.

    Raises:
        ConfigError: There are no validation rows.
    """
    if config is not None and config.value is None and not len(targets):
        raise ConfigError(
            "head.threshold: thresholds are chosen on validation rows, and there are none. Increase data.validation, "
            "or set head.threshold.value."
        )


def make_decision(config: ThresholdConfig | None, names: Sequence[str]) -> Decision | None:
    """Return the decision between classes in a recipe; None if it is chosen later, or is the most probable class."""
    if config is None or config.value is None:
        return None
    if isinstance(config.value, dict) and len(names) > 2:
        return Decision({name: config.value[name] for name in names})
    positive = _positive(config, names)
    value = config.value[positive] if isinstance(config.value, dict) else config.value
    return _of_two(names, positive, value, None)


def _positive(config: ThresholdConfig, names: Sequence[str]) -> str:
    if isinstance(config.value, dict):
        return next(iter(config.value))
    return names[-1] if config.positive is None else config.positive


def _of_two(names: Sequence[str], positive: str, value: float, choice: Choice | None) -> Decision:
    return Decision({name: value if name == positive else 1.0 - value for name in names}, positive, choice)


# The search.


def choose_decision(config: ThresholdConfig, names: Sequence[str], predicted: Floats, targets: Targets) -> Decision:
    """Choose the thresholds of classes.

    With more than two classes, each gets the threshold that is best for it against all others. If predicting the most
    probable class does as well on these rows, all thresholds are equal.

    Args:
        predicted: ``float32[n, classes]``.
        targets: ``int64[n]``; each class occurs.
    """
    metric = COST if config.metric is None else config.metric
    costs = config.costs or {}
    weights = np.array([costs.get(name, 1.0) for name in names])[targets]
    columns = [names.index(_positive(config, names))] if len(names) == 2 else range(len(names))
    found = [best_threshold(predicted[:, k], targets == k, metric, weights) for k in columns]

    def measured(decision: Decision) -> float:
        label = columns[0] if len(names) == 2 else None
        return _measure(metric, targets, decision.decide(predicted), weights, positive=label)

    def with_choice(decision: Decision) -> Decision:
        return Decision(decision.thresholds, decision.positive, Choice(metric, measured(decision), len(targets)))

    if len(names) == 2:
        return with_choice(_of_two(names, names[columns[0]], found[0], None))
    equal, own = (Decision(dict(zip(names, values, strict=True))) for values in ([0.5] * len(names), found))
    gain = measured(own) - measured(equal)
    return with_choice(own if (gain < 0 if metric == COST else gain > 0) else equal)


def choose_label_thresholds(
    config: ThresholdConfig, names: Sequence[str], predicted: Floats, targets: Targets
) -> Decision:
    """Choose the threshold of each label; 0.5 for a label that no row has, or that every row has.

    Args:
        config: The recipe's section, with a metric or costs: the cost of missing a label, if a false alarm costs 1.
        predicted: ``float32[n, labels]``.
        targets: ``float32[n, labels]``, 0 or 1.
    """
    metric, costs = COST if config.metric is None else config.metric, config.costs or {}
    thresholds, values = {}, []
    for name, scores, column in zip(names, predicted.T, targets.T, strict=True):
        truth = column > 0.5
        thresholds[name] = 0.5
        if truth.any() and not truth.all():
            weights = np.where(truth, costs.get(name, 1.0), 1.0)
            thresholds[name] = best_threshold(scores, truth, metric, weights)
            said = np.asarray(scores, np.float32) >= np.float32(thresholds[name])
            values.append(_measure(metric, truth, said, weights, positive=1))
    value = float(np.sum(values) if metric == COST else np.mean(values)) if values else float("nan")
    return Decision(thresholds, None, Choice(metric, value, len(targets)) if values else None)


def best_threshold(scores: Floats, truth: NDArray[np.bool_], metric: str, weights: Floats | None = None) -> float:
    """Return the threshold that is best for one class or label against all others.

    Args:
        scores: ``float32[n]``, its probabilities.
        truth: ``bool[n]``, whether each row has it; both values occur.
        metric: One of ``head.threshold.metric``, or ``cost``.
        weights: ``[n]``, the cost of a wrong decision on each row.

    Returns:
        Half-way between two scores; of equally good ones, the nearest to 0.5.
    """
    costs = np.ones(len(scores)) if weights is None or metric != COST else np.asarray(weights, np.float64)
    steps, place = np.unique(np.asarray(scores, np.float32), return_inverse=True)
    gained, lost = (np.bincount(place, costs * there, len(steps)) for there in (truth, ~truth))
    # At each step, rows with at least that score are predicted positive; after the last step, none is.
    true = np.append(np.cumsum(gained[::-1])[::-1], 0.0)
    false = np.append(np.cumsum(lost[::-1])[::-1], 0.0)
    values = _values(metric, true, false, gained.sum() - true, lost.sum() - false)
    upper = np.append(steps, np.float32(1.0))
    lower = np.concatenate([[np.float32(0.0)], steps])
    middle = ((upper.astype(np.float64) + lower) / 2).astype(np.float32)
    middle = np.where(middle > lower, middle, upper)  # there is no float32 between neighbours
    if steps[-1] >= 1.0:
        middle, values = middle[:-1], values[:-1]  # a threshold cannot be above a probability of 1
    best = np.flatnonzero(np.isclose(values, values.max(), rtol=1e-12, atol=1e-12))
    return float(min(middle[best], key=lambda threshold: abs(threshold - 0.5)))


def _values(metric: str, tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """The metric of each decision; higher is better."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric == "f1":
            return 2 * tp / (2 * tp + fp + fn)
        if metric == "balanced_accuracy":
            return (tp / (tp + fn) + tn / (tn + fp)) / 2
        if metric == "matthews_corrcoef":
            scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
            return np.where(scale > 0, (tp * tn - fp * fn) / scale, 0.0)
    return -(fp + fn)  # accuracy, or costs


def _measure(metric: str, truth: NDArray[Any], said: NDArray[Any], weights: Floats, *, positive: int | None) -> float:
    """The metric of decisions, computed by scikit-learn; for costs, their sum."""
    if metric == COST:
        return float((weights * (truth != said)).sum())
    if metric == "f1" and positive is not None:
        return float(f1_score(truth == positive, said == positive, zero_division=0.0))
    if metric == "f1":
        return float(f1_score(truth, said, average="macro", zero_division=0.0))
    measures = {"balanced_accuracy": balanced_accuracy_score, "matthews_corrcoef": matthews_corrcoef}
    return float(measures.get(metric, accuracy_score)(truth, said))
