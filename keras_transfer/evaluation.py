"""How good a model is: predictions over a split, and the report they make."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, roc_auc_score

from keras_transfer.heads import MaskedAccuracy, MaskedCrossentropyMean


@dataclass(frozen=True)
class ClassReport:
    """How one class fared; ``support`` is its number of rows."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Gain:
    """What fine-tuning bought over a solved head on the pretrained network, on the same rows.

    Attributes:
        head_accuracy: Of the solved head alone.
        difference: Accuracy of the fine-tuned model less that.
        interval: 95 % interval of the difference: percentiles of a paired bootstrap over the rows.
        head_seconds: What features and solution took.
        seconds: What all phases took.
    """

    head_accuracy: float
    difference: float
    interval: tuple[float, float]
    head_seconds: float
    seconds: float

    @property
    def is_measurable(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval[0] > 0 or self.interval[1] < 0

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        difference = f"{100 * self.difference:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
        times = self.seconds / max(self.head_seconds, 1e-3)
        cheaper = f"the head alone is {times:.0f} times cheaper to train" if times >= 1.5 else "it costs as much"
        if not self.is_measurable:
            return f"no measurable gain, {difference}: {cheaper}"
        verdict = "better than" if self.difference > 0 else "WORSE than"
        return f"{verdict} the solved head alone ({self.head_accuracy:.4f}), {difference}; {cheaper}"


_RESAMPLES = 10_000


def measure_gain(
    right: NDArray[np.bool_], head_right: NDArray[np.bool_], *, head_seconds: float, seconds: float
) -> Gain:
    """Compare two models on the same rows.

    Args:
        right: ``bool[n]``, whether the fine-tuned model is right.
        head_right: ``bool[n]``, whether the solved head is.
        head_seconds: What features and solution took.
        seconds: What all phases took.

    Returns:
        The gain. The bootstrap is seeded: the same rows give the same interval.
    """
    n = len(right)
    won, lost = int((right & ~head_right).sum()), int((head_right & ~right).sum())
    draws = np.random.default_rng(0).multinomial(n, [won / n, lost / n, (n - won - lost) / n], size=_RESAMPLES)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / n, [2.5, 97.5])
    return Gain(
        head_accuracy=float(head_right.mean()),
        difference=(won - lost) / n,
        interval=(float(low), float(high)),
        head_seconds=head_seconds,
        seconds=seconds,
    )


@dataclass(frozen=True)
class Report:
    """How a model does on a split.

    Attributes:
        split: The split's name.
        n: How many rows.
        loss: Mean cross-entropy, in nats.
        accuracy: Share of rows whose most probable class is the true one.
        accuracy_interval: 95 % Wilson score interval of the accuracy (Wilson 1927).
        macro_f1: Mean of the classes' F1.
        auroc: Area under the ROC curve of the second class, for two classes; else None.
        classes: A report a class.
        confusion: ``confusion[i][j]`` rows of class i were taken for class j.
        gain: Over the solved head, where that was measured.
    """

    split: str
    n: int
    loss: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    auroc: float | None
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    gain: Gain | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json records of this split."""
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "loss": self.loss,
            "n": self.n,
            "macro_f1": self.macro_f1,
            "auroc": self.auroc,
            "classes": {
                c.name: {"precision": c.precision, "recall": c.recall, "f1": c.f1, "support": c.support}
                for c in self.classes
            },
            "confusion": [list(row) for row in self.confusion],
            **({"gain": asdict(self.gain)} if self.gain else {}),
        }

    @classmethod
    def from_json(cls, split: str, values: dict[str, Any]) -> "Report":
        """Read back what :meth:`to_json` gave."""
        classes = tuple(ClassReport(name, **figures) for name, figures in values["classes"].items())
        return cls(
            split=split,
            n=values["n"],
            loss=values["loss"],
            accuracy=values["accuracy"],
            accuracy_interval=tuple(values["accuracy_interval"]),
            macro_f1=values["macro_f1"],
            auroc=values["auroc"],
            classes=classes,
            confusion=tuple(tuple(row) for row in values["confusion"]),
            gain=Gain(**{**gain, "interval": tuple(gain["interval"])}) if (gain := values.get("gain")) else None,
        )


def predict(model: keras.Model, batches: Any, order: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Run a model over a dataset.

    Args:
        model: From inputs to probabilities.
        batches: Inputs, or tuples that begin with them.
        order: ``int64[n]``, which row comes at which place of the dataset; None for the rows' own order.

    Returns:
        ``float32[n, classes]``, in the order of the rows.
    """
    predicted = np.asarray(model.predict(batches, verbose=0), np.float32)
    if order is None:
        return predicted
    rows = np.empty_like(predicted)
    rows[order] = predicted
    return rows


def make_report(
    split: str, probabilities: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]
) -> Report:
    """Compare predictions with the truth.

    Args:
        split: The split's name.
        probabilities: ``float32[n, classes]``.
        labels: ``int64[n]``.
        class_names: In the order of the model's outputs.

    Returns:
        The report. A class without a row or a prediction scores 0.
    """
    indices = np.arange(len(class_names))
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    interval = binomtest(right, len(labels)).proportion_ci(method="wilson")
    figures = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=0.0)
    precision, recall, f1, support = (np.asarray(figure) for figure in figures)
    exact = probabilities.astype(np.float64)
    both = len(class_names) == 2 and len(np.unique(labels)) == 2
    return Report(
        split=split,
        n=len(labels),
        loss=float(log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=indices)),
        accuracy=right / len(labels),
        accuracy_interval=(float(interval.low), float(interval.high)),
        macro_f1=float(f1.mean()),
        auroc=float(roc_auc_score(labels, exact[:, 1])) if both else None,
        classes=tuple(
            ClassReport(name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, name in enumerate(class_names)
        ),
        confusion=tuple(tuple(row) for row in confusion_matrix(labels, predicted, labels=indices).tolist()),
    )


@dataclass(frozen=True)
class MaskedReport:
    """How well a network finds masked tokens again.

    Attributes:
        split: The split's name.
        n: How many rows.
        masked: How many tokens were masked in them; the same ones every time.
        loss: Mean cross-entropy over those, in nats.
        accuracy: Share of those that the network found again.
    """

    split: str
    n: int
    masked: int
    loss: float
    accuracy: float

    @property
    def perplexity(self) -> float:
        """From how many tokens the network as good as chose, at each masked one."""
        return float(np.exp(self.loss))

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json records of this split."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "perplexity": self.perplexity,
            "n": self.n,
            "masked": self.masked,
        }

    @classmethod
    def from_json(cls, split: str, values: dict[str, Any]) -> "MaskedReport":
        """Read back what :meth:`to_json` gave."""
        return cls(split, **{key: values[key] for key in ("n", "masked", "loss", "accuracy")})


def evaluate_masked(model: keras.Model, batches: Any, *, split: str, n: int) -> MaskedReport:
    """Run a masked language model over a dataset.

    Args:
        model: From inputs to logits, ``float32[batch, masked, vocabulary]``.
        batches: Inputs, and what was masked, ``int32[batch, masked]``, -1 where nothing was.
        split: The split's name.
        n: How many rows it has.

    Returns:
        The report.
    """
    loss, accuracy = MaskedCrossentropyMean(), MaskedAccuracy()
    masked = 0
    for inputs, answers in batches:
        logits = model.predict_on_batch(inputs)
        loss.update_state(answers, logits)
        accuracy.update_state(answers, logits)
        masked += int((np.asarray(answers) >= 0).sum())
    return MaskedReport(split, n, masked, float(loss.result()), float(accuracy.result()))
