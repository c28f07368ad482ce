"""One class out of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from keras_transfer.config.schema import HeadConfig
from keras_transfer.console.text import one_line
from keras_transfer.data.tables.tables import some
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import ConfigError
from keras_transfer.heads.calibration import Calibration, add_class_temperature, fit_class_temperature, temper_classes
from keras_transfer.heads.coverage import Coverage, class_sets, class_sets_in_graph, class_sets_tie, cover_classes
from keras_transfer.heads.coverage_report import SetReport, report_class_sets
from keras_transfer.heads.epoch_metrics import EpochMetric, LogitF1, MeanAUROC, calibrated_loss
from keras_transfer.heads.evaluation import ACCURACY, Floats, Report, mean_where_present
from keras_transfer.heads.linear_models import LinearModel, Multinomial
from keras_transfer.heads.predictions import OPTIONAL, RankedPrediction
from keras_transfer.heads.probabilities import ProbabilityHead
from keras_transfer.heads.resampling import wilson_interval
from keras_transfer.heads.target import ABSTAIN, IN_SET, LABEL_INDEX
from keras_transfer.heads.thresholds import Decision, check_threshold, check_validation, choose_decision, make_decision
from keras_transfer.networks.types import Array, JsonObject, Loss, Tensor
from keras_transfer.registry import did_you_mean

_TEMPERATURE = "temperature"


@dataclass(frozen=True)
class ClassReport:
    """Results for one class; ``support`` is its number of rows. If it is 0, the others are None."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, kw_only=True)
class ClassificationReport(Report):
    """Results of a classifier on a split; its loss is the mean cross-entropy, in nats.

    Attributes:
        accuracy: Share of rows whose predicted class is the true one.
        accuracy_interval: 95 % Wilson score interval of the accuracy (Wilson 1927).
        macro_f1: Mean F1 of the classes that occur in the split.
        auroc: Area under the ROC curve of the second class, for two classes; else None.
        classes: A report per class.
        confusion: ``confusion[i][j]`` rows of class i were predicted as class j.
        decision: The thresholds that predictions used; None if the most probable class was predicted.
        coverage: How often prediction sets contain the true class, with ``head.coverage``.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    auroc: float | None
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    decision: Decision | None = None
    coverage: SetReport | None = None

    @property
    def without_rows(self) -> tuple[str, ...]:
        """The classes that do not occur in the split."""
        return tuple(one.name for one in self.classes if not one.support)

    def figures(self) -> JsonObject:
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "macro_f1": self.macro_f1,
            "auroc": self.auroc,
            "without_rows": list(self.without_rows),
            "classes": {
                c.name: {"precision": c.precision, "recall": c.recall, "f1": c.f1, "support": c.support}
                for c in self.classes
            },
            "confusion": [list(row) for row in self.confusion],
            **({} if self.decision is None else {"decision": self.decision.to_json()}),
            **({} if self.coverage is None else {"coverage": self.coverage.to_json()}),
        }

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        return {
            "accuracy": values["accuracy"],
            "accuracy_interval": tuple(values["accuracy_interval"]),
            "macro_f1": values["macro_f1"],
            "auroc": values["auroc"],
            "classes": tuple(ClassReport(name, **figures) for name, figures in values["classes"].items()),
            "confusion": tuple(tuple(row) for row in values["confusion"]),
            "decision": Decision.from_json(values["decision"]) if "decision" in values else None,
            "coverage": SetReport.from_json(values["coverage"]) if "coverage" in values else None,
        }


@dataclass(frozen=True)
class ClassPrediction(RankedPrediction):
    """A classifier's prediction for one input.

    Attributes:
        label: The predicted class: the most probable one, unless the run has thresholds.
        score: Its probability.
        probabilities: Probability of every class, by name.
        abstain: Whether the set has more than one class, or the score is below ``min_confidence``; None without both of
            them.
        prediction_set: The set that contains the true class as often as ``head.coverage`` promises, the most probable
            class first; None without ``head.coverage``.
    """

    label: str
    score: float
    probabilities: dict[str, float]
    abstain: bool | None = field(default=None, metadata=OPTIONAL)
    prediction_set: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)

    @property
    def confidence(self) -> float:
        return self.score

    def __str__(self) -> str:
        """Class and probability, and whether the model abstains."""
        several = self.prediction_set if self.prediction_set and len(self.prediction_set) > 1 else ()
        return f"{one_line(self.label)}\t{self.score:.4f}{self.describe_abstention(several)}"


def check_class_weights(weights: Mapping[str, float], names: Sequence[str]) -> None:
    """Check that every class has a weight, and that no other name has one.

    Args:
        weights: The recipe's ``training.class_weights``.

    Raises:
        ConfigError: A weight is missing or superfluous; the message has the names.
    """
    missing = [name for name in names if name not in weights]
    unknown = [f"there is no class {name!r}. {did_you_mean(name, names)}" for name in weights if name not in names]
    problems = [f"no weight for {some(map(repr, missing))}.", *unknown] if missing else unknown
    if problems:
        raise ConfigError(
            f"training.class_weights: {' '.join(problems)} Give every class of the data a weight, 1.0 for no change."
        )


@dataclass(frozen=True)
class ClassificationHead(ProbabilityHead):
    """One class out of several, at least two: softmax, cross-entropy, multinomial logistic regression.

    Attributes:
        decision: The thresholds that decide between classes; None for the most probable class.
    """

    decision: Decision | None = None

    figure = ACCURACY
    target = "class"
    has_thresholds = True
    has_coverage = True
    metric = "accuracy"
    report_type = ClassificationReport
    predictions_output = "probabilities"
    neutral = 0.0

    @classmethod
    def fit(cls, names: tuple[str, ...], config: HeadConfig, targets: Targets) -> Self:
        """Make the head with the thresholds of the recipe.

        Raises:
            ConfigError: The names in ``head.threshold`` are not those of the classes.
        """
        check_threshold(config.threshold, names, classes=True)
        return cls(names, config, decision=make_decision(config.threshold, names))

    @classmethod
    def restore(cls, names: tuple[str, ...], config: HeadConfig, facts: JsonObject) -> Self:
        """Restore the head with its thresholds, its temperature and the bound of its prediction sets."""
        return cls(
            names,
            config,
            decision=Decision.restore(names, facts) if config.threshold else None,
            coverage=Coverage.restore(config.coverage, facts),
            calibration=Calibration.from_json(facts, _TEMPERATURE, None),
        )

    @property
    def facts(self) -> JsonObject:
        """The thresholds, by class, the temperature, and the bound of prediction sets."""
        decision = {} if self.decision is None else self.decision.to_json()
        calibration = {} if self.calibration is None else self.calibration.to_json(_TEMPERATURE, None)
        coverage = {} if self.coverage is None else {"coverage": self.coverage.to_json()}
        return {**decision, **calibration, **coverage}

    def check_validation(self, targets: Targets) -> None:
        """Check that each class has rows for choosing its threshold, and that there are enough rows for sets."""
        check_validation(self.config.threshold, self.names, targets)
        super().check_validation(targets)

    def choose_coverage(self, predicted: Floats, targets: Targets) -> Self:
        """Choose the bound of prediction sets, if the recipe asks for it."""
        if self.config.coverage is None:
            return self
        return replace(self, coverage=cover_classes(self.config.coverage, predicted, self.decide(predicted), targets))

    def choose_thresholds(self, predicted: Floats, targets: Targets) -> Self:
        config = self.config.threshold
        if config is None or config.value is not None:
            return self
        return replace(self, decision=choose_decision(config, self.names, predicted, targets))

    def fit_calibration(self, predicted: Floats, targets: Targets, split: str) -> Self:
        return replace(self, calibration=fit_class_temperature(predicted, targets, split))

    def calibrated(self, predicted: Floats) -> Floats:
        return predicted if self.calibration is None else temper_classes(predicted, self.calibration.values[0])

    def uncalibrated(self, predicted: Floats) -> Floats:
        """Return the trained model's uncalibrated probabilities."""
        return predicted if self.calibration is None else temper_classes(predicted, 1.0 / self.calibration.values[0])

    def add_calibration(self, predictions: Tensor) -> Tensor:
        """Divide logits by the temperature."""
        if self.calibration is None:
            return predictions
        return add_class_temperature(predictions, self.calibration.values[0])

    def outcomes(self, predicted: Floats, targets: Targets) -> tuple[Floats, Array]:
        """Return the largest probability, and whether its class is the true one; thresholds do not matter."""
        return predicted.max(axis=1)[:, None], (predicted.argmax(axis=1) == targets)[:, None]

    def brier_scores(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        """Return squared errors of the probabilities: their sum over classes, halved for two classes (Brier 1950)."""
        squares = ((predicted.astype(np.float64) - self.encode(targets)) ** 2).sum(axis=1)
        return squares / 2 if len(self.names) == 2 else squares

    def decide(self, predicted: Floats) -> NDArray[np.int64]:
        """Return the index of the predicted class, ``int64[...]``, for probabilities ``[..., classes]``."""
        if self.decision is None:
            return np.asarray(predicted.argmax(axis=-1), np.int64)
        return self.decision.decide(predicted)

    def final_layer(self) -> layers.Layer:
        return layers.Softmax(dtype="float32")

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        return np.eye(len(self.names), dtype=np.float32)[targets]

    def loss(self, *, label_smoothing: float) -> Loss:
        """Return the loss of logits against one-hot targets."""
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return accuracy, mean F1 of the classes, mean area under their ROC curves, and the calibrated loss."""
        outputs = len(self.names)
        return (
            EpochMetric("accuracy", "max", lambda: keras.metrics.CategoricalAccuracy(name="accuracy")),
            EpochMetric("macro_f1", "max", lambda: LogitF1("softmax", average="macro", name="macro_f1")),
            EpochMetric("auroc", "max", lambda: MeanAUROC(outputs, classes=True, name="auroc")),
            calibrated_loss(outputs, classes=True),
        )

    def class_weights(self, targets: Targets, weights: str | Mapping[str, float]) -> NDArray[np.float32]:
        """Return the weight of each row's class, ``float32[n]``.

        Args:
            targets: Targets of the rows.
            weights: ``none``, ``balanced`` or a weight for each class: the recipe's ``training.class_weights``.

        Raises:
            ConfigError: A class has no weight, or a weight has no class.
        """
        if isinstance(weights, str):
            if weights == "none":
                return np.ones(len(targets), np.float32)
            balanced = compute_class_weight("balanced", classes=np.arange(len(self.names)), y=targets)
            return np.asarray(balanced, np.float32)[targets]
        check_class_weights(weights, self.names)
        return np.array([weights[name] for name in self.names], np.float32)[targets]

    def linear_model(self) -> LinearModel:
        """Return multinomial logistic regression."""
        return Multinomial(len(self.names))

    def label_targets(self) -> Targets:
        return np.arange(len(self.names))

    def row_losses(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        """Return the cross-entropy of each row, in nats."""
        exact = predicted.astype(np.float64)
        given = exact[np.arange(len(targets)), targets] / exact.sum(axis=1)
        return -np.log(np.maximum(given, np.finfo(np.float64).eps))

    def score(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        right = self.decide(predicted) == targets
        return counts @ right / counts.sum(axis=1)

    def report(self, split: str, predicted: Floats, targets: Targets) -> ClassificationReport:
        """Compare probabilities with classes; a class without a prediction scores 0, one without rows has no score."""
        indices = np.arange(len(self.names))
        chosen = self.decide(predicted)
        right = int((chosen == targets).sum())
        figures = precision_recall_fscore_support(targets, chosen, labels=indices, zero_division=0.0)
        precision, recall, f1, support = (np.asarray(figure) for figure in figures)
        both = len(self.names) == 2 and len(np.unique(targets)) == 2
        return ClassificationReport(
            split=split,
            n=len(targets),
            loss=float(self.row_losses(predicted, targets).mean()),
            accuracy=right / len(targets),
            accuracy_interval=wilson_interval(right, len(targets)),
            macro_f1=mean_where_present(f1, support > 0),
            auroc=float(roc_auc_score(targets, predicted[:, 1].astype(np.float64))) if both else None,
            classes=tuple(
                ClassReport(
                    name=name,
                    precision=float(precision[i]) if support[i] else None,
                    recall=float(recall[i]) if support[i] else None,
                    f1=float(f1[i]) if support[i] else None,
                    support=int(support[i]),
                )
                for i, name in enumerate(self.names)
            ),
            confusion=tuple(tuple(row) for row in confusion_matrix(targets, chosen, labels=indices).tolist()),
            decision=self.decision,
            calibration=self.measure_calibration(predicted, targets),
            coverage=None
            if self.coverage is None
            else report_class_sets(self.coverage, self._sets(predicted), targets),
        )

    def explained_outputs(self, predicted: Floats, targets: Targets | None) -> list[tuple[int, ...]]:
        """Return the predicted class and the true one, or the next most probable one if that is the same or unknown."""
        chosen = self.decide(predicted)
        order = np.argsort(-predicted, axis=1, kind="stable")
        others = np.where(order[:, 0] == chosen, order[:, 1], order[:, 0])
        if targets is not None:
            others = np.where(targets == chosen, others, targets)
        return [(int(first), int(second)) for first, second in zip(chosen, others, strict=True)]

    def _sets(self, predicted: Floats) -> NDArray[np.bool_]:
        """Which classes are in the set, for a head with ``head.coverage``."""
        if self.coverage is None:
            raise ValueError("no sets were chosen")
        return class_sets(self.coverage, predicted, self.decide(predicted))

    def margins(self, predicted: Floats) -> NDArray[np.float64]:
        """Return the difference of the two largest probabilities."""
        ordered = np.sort(predicted.astype(np.float64), axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])

    def to_prediction(self, name: str, row: Floats) -> ClassPrediction:
        """Return a record with the predicted class, and with the classes of the set."""
        best = int(self.decide(row))
        probabilities = dict(zip(self.names, row.astype(float).tolist(), strict=True))
        prediction = ClassPrediction(name, self.names[best], float(row[best]), probabilities)
        if self.coverage is None:
            return prediction
        inside = self._sets(row)
        order = [int(index) for index in np.argsort(-row, kind="stable") if inside[index]]
        return replace(prediction, abstain=len(order) > 1, prediction_set=tuple(self.names[index] for index in order))

    def serving_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return ``probabilities``, ``label``, its probability ``score: float32[batch]``, and ``names``.

        With ``head.coverage`` also ``in_set: bool[batch, classes]``, in the order of ``names``, and
        ``abstain: bool[batch]``.
        """
        chosen = self._decide_in_graph(predicted)
        outputs = {
            "probabilities": predicted,
            "label": tf.gather(tf.constant(self.names), chosen),
            "score": tf.gather(predicted, chosen, batch_dims=1),
            "names": self.repeat_names(predicted),
        }
        if self.coverage is None:
            return outputs
        inside = class_sets_in_graph(self.coverage, predicted, chosen)
        return {**outputs, IN_SET: inside, ABSTAIN: tf.math.count_nonzero(inside, axis=-1) > 1}

    def tensor_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return the same without strings, and ``label_index: int32[batch]`` in place of ``label``."""
        index = tf.cast(self._decide_in_graph(predicted), tf.int32)
        return {**super().tensor_outputs(predicted), LABEL_INDEX: index}

    def _decide_in_graph(self, predicted: Tensor) -> Tensor:
        return tf.argmax(predicted, axis=-1) if self.decision is None else self.decision.decide_in_graph(predicted)

    def is_tied(self, predicted: Floats, tolerance: float) -> NDArray[np.bool_]:
        """Classes that tie within the tolerance may be swapped; a class near the bound may be in the set or not."""
        if self.decision is not None:
            tied = self.decision.is_tied(predicted, tolerance)
        else:
            ordered = np.sort(predicted, axis=1)
            tied = ordered[:, -1] - ordered[:, -2] < tolerance
        if self.coverage is None:
            return tied
        return tied | class_sets_tie(self.coverage, predicted, self.decide(predicted), tolerance)
