"""Any number of labels."""

import itertools
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from keras_transfer.config.schema import HeadConfig
from keras_transfer.console.text import one_line
from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.calibration import Calibration, add_label_temperatures, fit_label_temperatures, temper_labels
from keras_transfer.heads.coverage import (
    Coverage,
    cover_labels,
    uncertain_labels,
    uncertain_labels_in_graph,
    uncertain_labels_tie,
)
from keras_transfer.heads.coverage_report import SetReport, report_labels
from keras_transfer.heads.epoch_metrics import EpochMetric, LogitF1, MeanAUROC, MeanAveragePrecision, calibrated_loss
from keras_transfer.heads.evaluation import MEAN_AVERAGE_PRECISION, Floats, Report, mean_where_present
from keras_transfer.heads.linear_models import LinearModel, OneVsRest
from keras_transfer.heads.predictions import OPTIONAL, RankedPrediction
from keras_transfer.heads.probabilities import ProbabilityHead
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.heads.target import ABSTAIN, IN_SET, UNCERTAIN
from keras_transfer.heads.thresholds import (
    Choice,
    Decision,
    check_label_validation,
    check_threshold,
    choose_label_thresholds,
)
from keras_transfer.networks.types import Array, JsonObject, Loss, Tensor

_TEMPERATURE = "temperature"


@dataclass(frozen=True)
class LabelReport:
    """Results for one label; ``support`` is its number of rows. If it is 0, the others are None."""

    name: str
    threshold: float
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, kw_only=True)
class MultilabelReport(Report):
    """Results of a multi-label model on a split; its loss is the mean binary cross-entropy over labels, in nats.

    Attributes:
        mean_average_precision: Mean of the labels' average precision, over labels that occur in the split; None if none
            does.
        mean_average_precision_interval: Its 95 % bootstrap interval.
        macro_f1: Mean F1 at the labels' thresholds, over labels that occur in the split.
        micro_f1: F1 over all decisions together.
        labels: A report per label.
        choice: How the labels' thresholds were chosen; None for 0.5, and for thresholds of the recipe.
        coverage: How often the truth about labels is not ruled out, with ``head.coverage``.
    """

    mean_average_precision: float | None
    mean_average_precision_interval: tuple[float, float] | None
    macro_f1: float
    micro_f1: float
    labels: tuple[LabelReport, ...]
    choice: Choice | None = None
    coverage: SetReport | None = None

    @property
    def without_rows(self) -> tuple[str, ...]:
        """The labels that do not occur in the split."""
        return tuple(label.name for label in self.labels if not label.support)

    def figures(self) -> JsonObject:
        labels, interval = [asdict(label) for label in self.labels], self.mean_average_precision_interval
        return {
            "mean_average_precision": self.mean_average_precision,
            "mean_average_precision_interval": interval and list(interval),
            "macro_f1": self.macro_f1,
            "micro_f1": self.micro_f1,
            "without_rows": list(self.without_rows),
            "labels": {label.pop("name"): label for label in labels},
            **({} if self.choice is None else {"thresholds_chosen": asdict(self.choice)}),
            **({} if self.coverage is None else {"coverage": self.coverage.to_json()}),
        }

    @classmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        interval = values["mean_average_precision_interval"]
        return {
            "mean_average_precision": values["mean_average_precision"],
            "mean_average_precision_interval": interval and tuple(interval),
            "macro_f1": values["macro_f1"],
            "micro_f1": values["micro_f1"],
            "labels": tuple(LabelReport(name=name, **figures) for name, figures in values["labels"].items()),
            "choice": Choice(**values["thresholds_chosen"]) if "thresholds_chosen" in values else None,
            "coverage": SetReport.from_json(values["coverage"]) if "coverage" in values else None,
        }


@dataclass(frozen=True)
class MultilabelPrediction(RankedPrediction):
    """A multi-label prediction for one input.

    Attributes:
        labels: Those whose probability reaches their threshold.
        probabilities: Probability of every label, by name.
        abstain: Whether a label is uncertain, or the probability of any decision, that a label is present or absent, is
            below ``min_confidence``; None if neither ``head.coverage`` nor ``min_confidence`` is used.
        prediction_set: The labels that may be present: the predicted and the uncertain ones; None without
            ``head.coverage``.
        uncertain: The labels for which neither answer, present or absent, is ruled out. For the others, the prediction
            is right as often as ``head.coverage`` promises. None without it.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]
    abstain: bool | None = field(default=None, metadata=OPTIONAL)
    prediction_set: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    uncertain: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)

    @property
    def confidence(self) -> float:
        """The lowest probability of a decision: that a label is present, or that it is absent."""
        present = set(self.labels)
        return min(p if name in present else 1.0 - p for name, p in self.probabilities.items())

    def __str__(self) -> str:
        """Labels and their probabilities, and whether the model abstains."""
        labels = ", ".join(f"{one_line(label)} {self.probabilities[label]:.4f}" for label in self.labels)
        return f"{labels or 'no label'}{self.describe_abstention(self.uncertain or ())}"


@dataclass(frozen=True)
class MultilabelHead(ProbabilityHead):
    """Any of several labels: sigmoid, binary cross-entropy, one-vs-rest logistic regression.

    Attributes:
        thresholds: The probability from which each label is predicted.
        choice: How they were chosen on validation rows; None for 0.5, and for thresholds of the recipe.
    """

    thresholds: tuple[float, ...]
    choice: Choice | None = None

    figure = MEAN_AVERAGE_PRECISION
    target = "multilabel"
    has_thresholds = True
    has_coverage = True
    metric = "f1"
    report_type = MultilabelReport
    predictions_output = "probabilities"
    neutral = 0.0

    @classmethod
    def fit(cls, names: tuple[str, ...], config: HeadConfig, targets: Targets) -> Self:
        """Make the head with the thresholds of the recipe, or 0.5.

        Raises:
            ConfigError: ``head.threshold`` has unknown names.
        """
        check_threshold(config.threshold, names, classes=False)
        value = None if config.threshold is None else config.threshold.value
        given = value if isinstance(value, dict) else dict.fromkeys(names, 0.5 if value is None else value)
        return cls(names, config, tuple(given.get(name, 0.5) for name in names))

    @classmethod
    def restore(cls, names: tuple[str, ...], config: HeadConfig, facts: JsonObject) -> Self:
        """Restore the head with its thresholds, its temperatures and the bounds of uncertain labels."""
        read = Decision.restore(names, facts)
        return cls(
            names,
            config,
            tuple(read.thresholds.values()),
            read.choice,
            coverage=Coverage.restore(config.coverage, facts, names),
            calibration=Calibration.from_json(facts, _TEMPERATURE, names),
        )

    @property
    def facts(self) -> JsonObject:
        """The thresholds and the temperatures, by label, and the bounds of uncertain labels."""
        decision = Decision(dict(zip(self.names, self.thresholds, strict=True)), choice=self.choice)
        calibration = {} if self.calibration is None else self.calibration.to_json(_TEMPERATURE, self.names)
        coverage = {} if self.coverage is None else {"coverage": self.coverage.to_json(self.names)}
        return {**decision.to_json(), **calibration, **coverage}

    def check_validation(self, targets: Targets) -> None:
        """Check that there are rows for choosing thresholds, and enough for the coverage."""
        check_label_validation(self.config.threshold, targets)
        super().check_validation(targets)

    def choose_coverage(self, predicted: Floats, targets: Targets) -> Self:
        """Choose the bounds of uncertain labels, if the recipe asks for them."""
        if self.config.coverage is None:
            return self
        return replace(self, coverage=cover_labels(self.config.coverage, predicted, self.present(predicted), targets))

    def choose_thresholds(self, predicted: Floats, targets: Targets) -> Self:
        config = self.config.threshold
        if config is None or config.value is not None:
            return self
        found = choose_label_thresholds(config, self.names, predicted, targets)
        return replace(self, thresholds=tuple(found.thresholds.values()), choice=found.choice)

    def fit_calibration(self, predicted: Floats, targets: Targets, split: str) -> Self:
        return replace(self, calibration=fit_label_temperatures(predicted, targets, split))

    def calibrated(self, predicted: Floats) -> Floats:
        return predicted if self.calibration is None else temper_labels(predicted, self.calibration.values)

    def uncalibrated(self, predicted: Floats) -> Floats:
        """Return the trained model's uncalibrated probabilities."""
        if self.calibration is None:
            return predicted
        return temper_labels(predicted, [1.0 / value for value in self.calibration.values])

    def add_calibration(self, predictions: Tensor) -> Tensor:
        """Divide the logits of each label by its temperature."""
        if self.calibration is None:
            return predictions
        return add_label_temperatures(predictions, self.calibration.values)

    def outcomes(self, predicted: Floats, targets: Targets) -> tuple[Floats, Array]:
        """Return the probability of each label, and whether the row has it."""
        return predicted, targets > 0.5

    def brier_scores(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        """Return the squared error of the probabilities, averaged over labels."""
        return np.asarray(((predicted.astype(np.float64) - targets) ** 2).mean(axis=1))

    def final_layer(self) -> layers.Layer:
        return layers.Activation("sigmoid", dtype="float32")

    def encode(self, targets: Targets) -> NDArray[np.float32]:
        return np.asarray(targets, np.float32)

    def loss(self, *, label_smoothing: float) -> Loss:
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    def epoch_metrics(self) -> tuple[EpochMetric, ...]:
        """Return F1 at thresholds of 0.5, mean average precision, mean area under the ROC curves, and calibrated loss.

        ``macro_f1`` is ``f1`` under its name in the report, which uses the thresholds of the labels.
        """
        outputs = len(self.names)

        def f1(name: str, average: str) -> EpochMetric:
            return EpochMetric(name, "max", lambda: LogitF1("sigmoid", average=average, threshold=0.5, name=name))

        return (
            f1("f1", "macro"),
            f1("macro_f1", "macro"),
            f1("micro_f1", "micro"),
            EpochMetric(
                "mean_average_precision",
                "max",
                lambda: MeanAveragePrecision(outputs, classes=False, name="mean_average_precision"),
            ),
            EpochMetric("auroc", "max", lambda: MeanAUROC(outputs, classes=False, name="auroc")),
            calibrated_loss(outputs, classes=False),
        )

    def linear_model(self) -> LinearModel:
        """Return a logistic regression for each label, with one regularization strength for all."""
        return OneVsRest(len(self.names))

    def label_targets(self) -> Targets:
        return np.eye(len(self.names), dtype=np.float32)

    def row_losses(self, predicted: Floats, targets: Targets) -> NDArray[np.float64]:
        """Return the mean binary cross-entropy of each row, in nats."""
        exact = predicted.astype(np.float64)
        given = np.where(targets > 0.5, exact, 1.0 - exact)
        return -np.log(np.maximum(given, np.finfo(np.float64).eps)).mean(axis=1)

    def score(self, predicted: Floats, targets: Targets, counts: Floats) -> Floats:
        """Return the mean average precision, over labels that occur."""
        return _mean([average_precision(p, t, counts) for p, t in zip(predicted.T, targets.T, strict=True)])

    def report(self, split: str, predicted: Floats, targets: Targets) -> MultilabelReport:
        """Compare probabilities with labels; a label without rows or predictions has an F1 of 0."""
        said, truth = self.present(predicted), targets > 0.5
        figures = precision_recall_fscore_support(truth, said, average=None, zero_division=0.0)
        precision, recall, f1, support = (np.asarray(figure) for figure in figures)
        *_, micro_f1, _ = precision_recall_fscore_support(truth, said, average="micro", zero_division=0.0)
        interval = bootstrap(lambda counts: self.score(predicted, targets, counts), len(targets))
        once = np.ones((1, len(targets)))
        averages = [float(average_precision(p, t, once)[0]) for p, t in zip(predicted.T, targets.T, strict=True)]
        return MultilabelReport(
            split=split,
            n=len(targets),
            loss=float(self.row_losses(predicted, targets).mean()),
            mean_average_precision=self.score_once(predicted, targets) if truth.any() else None,
            mean_average_precision_interval=interval if truth.any() else None,
            macro_f1=mean_where_present(f1, support > 0),
            micro_f1=float(micro_f1),
            labels=tuple(
                LabelReport(
                    name=name,
                    threshold=self.thresholds[i],
                    average_precision=averages[i] if support[i] else None,
                    precision=float(precision[i]) if support[i] else None,
                    recall=float(recall[i]) if support[i] else None,
                    f1=float(f1[i]) if support[i] else None,
                    support=int(support[i]),
                )
                for i, name in enumerate(self.names)
            ),
            choice=self.choice,
            calibration=self.measure_calibration(predicted, targets),
            coverage=None
            if self.coverage is None
            else report_labels(
                self.coverage, self.names, said, uncertain_labels(self.coverage, predicted, said), targets
            ),
        )

    def present(self, predicted: Floats) -> NDArray[np.bool_]:
        """Return which labels reach their thresholds, ``bool[..., labels]``, for probabilities of that shape."""
        return np.asarray(predicted, np.float32) >= np.array(self.thresholds, np.float32)

    def explained_outputs(self, predicted: Floats, targets: Targets | None) -> list[tuple[int, ...]]:
        """Return the label with the largest loss; without targets, the most probable one."""
        wrong = predicted if targets is None else np.abs(predicted - targets)
        return [(int(label),) for label in wrong.argmax(axis=1)]

    def margins(self, predicted: Floats) -> NDArray[np.float64]:
        """Return the smallest distance of a probability from the threshold of its label."""
        return np.asarray(np.abs(predicted.astype(np.float64) - np.array(self.thresholds)).min(axis=1))

    def to_prediction(self, name: str, row: Floats) -> MultilabelPrediction:
        """Return a record with the labels that reach their thresholds, and with the uncertain ones."""
        present = self.present(row)
        probabilities = dict(zip(self.names, row.astype(float).tolist(), strict=True))
        prediction = MultilabelPrediction(name, self._select(present), probabilities)
        if self.coverage is None:
            return prediction
        uncertain = uncertain_labels(self.coverage, row, present)
        return replace(
            prediction,
            abstain=bool(uncertain.any()),
            prediction_set=self._select(present | uncertain),
            uncertain=self._select(uncertain),
        )

    def _select(self, there: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(itertools.compress(self.names, there))

    def serving_outputs(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return ``probabilities``, ``present: bool[batch, labels]`` and ``names: string[batch, labels]``.

        With ``head.coverage`` also ``in_set`` and ``uncertain``, ``bool[batch, labels]``, and ``abstain: bool[batch]``.
        """
        present = predicted >= tf.constant(self.thresholds, tf.float32)
        outputs = {"probabilities": predicted, "present": present, "names": self.repeat_names(predicted)}
        if self.coverage is None:
            return outputs
        uncertain = uncertain_labels_in_graph(self.coverage, predicted, present)
        return {
            **outputs,
            IN_SET: present | uncertain,
            UNCERTAIN: uncertain,
            ABSTAIN: tf.reduce_any(uncertain, axis=-1),
        }

    def is_tied(self, predicted: Floats, tolerance: float) -> NDArray[np.bool_]:
        """A label within the tolerance of its threshold or bound may fall on either side."""
        tied = np.asarray((np.abs(predicted - np.array(self.thresholds)) < tolerance).any(axis=1))
        if self.coverage is None:
            return tied
        return tied | uncertain_labels_tie(self.coverage, predicted, self.present(predicted), tolerance)


def average_precision(scores: Floats, truth: Floats, counts: Floats) -> Floats:
    """Return the average precision of resamples of some rows: the mean of the precision at each row with the label.

    Args:
        scores: ``[n]``; rows with equal scores are ranked together, as in scikit-learn.
        truth: ``[n]``, 0 or 1.
        counts: ``[resamples, n]``, how often each row counts.

    Returns:
        ``[resamples]``; NaN if no row has the label.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # For each row, the last row with the same score.
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    taken = counts[:, order]
    found = taken * truth[order]
    precision = np.cumsum(found, axis=1)[:, last] / np.maximum(np.cumsum(taken, axis=1)[:, last], 1.0)
    with np.errstate(invalid="ignore"):
        return (found * precision).sum(axis=1) / found.sum(axis=1)


def _mean(columns: list[Floats]) -> Floats:
    """The mean of the values that are not NaN."""
    values = np.stack(columns)
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
