"""Evaluation of models: predictions for a split, and metrics of them with intervals."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.heads.reliability import CalibrationReport
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.networks.types import Batches, JsonObject, Model

Floats = NDArray[np.floating[Any]]

NOTHING = -1.0
"""Fills up rows of predictions that are shorter than others."""

Score = Callable[[Floats, Floats], Floats]
"""From predictions ``[n, outputs]``, and how often each row counts ``[resamples, n]``, to a figure ``[resamples]``."""


@dataclass(frozen=True)
class Figure:
    """A metric by which models are compared.

    Attributes:
        name: Its name in metrics.json.
        words: Format of a value, with the metric's name.
        unit: Unit of a difference.
        is_error: Whether lower is better.
        is_share: Whether differences are given in hundredths; by default whether it is not an error.
    """

    name: str
    words: str
    unit: str
    is_error: bool
    is_share: bool | None = None

    @property
    def in_hundredths(self) -> bool:
        """Whether differences are given in hundredths."""
        return not self.is_error if self.is_share is None else self.is_share

    def describe(self, value: float) -> str:
        """Describe a value in words."""
        return self.words.format(value)

    def describe_difference(self, difference: float, interval: tuple[float, float], *, level: float = 0.95) -> str:
        """Describe the difference of two models in words, with an interval of a level."""
        low, high = interval
        words = f"{100 * level:.0f} % interval"
        if not self.in_hundredths:
            return f"{difference:+.3g} {self.unit} ({words} {low:+.3g} to {high:+.3g})"
        return f"{100 * difference:+.1f} {self.unit} ({words} {100 * low:+.1f} to {100 * high:+.1f})"

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another one."""
        return value < other if self.is_error else value > other


ACCURACY = Figure("accuracy", "{:.1%} right", "points", is_error=False)
MEAN_AVERAGE_PRECISION = Figure(
    "mean_average_precision", "mean average precision {:.3f}", "points of mean average precision", is_error=False
)
MEAN_ABSOLUTE_ERROR = Figure("mae", "mean absolute error {:.4g}", "in mean absolute error", is_error=True)
WORD_ERROR_RATE = Figure("wer", "word error rate {:.1%}", "points", is_error=True, is_share=True)
CHARACTER_ERROR_RATE = Figure("cer", "character error rate {:.1%}", "points", is_error=True, is_share=True)
FIGURES = {
    figure.name: figure
    for figure in (ACCURACY, MEAN_AVERAGE_PRECISION, MEAN_ABSOLUTE_ERROR, WORD_ERROR_RATE, CHARACTER_ERROR_RATE)
}


@dataclass(frozen=True)
class Gain:
    """The gain of fine-tuning over a solved head on the pretrained network, on the same rows.

    Attributes:
        figure: The metric that was compared.
        head_value: The value of the solved head alone.
        difference: The fine-tuned model's value minus ``head_value``.
        interval: 95 % interval of the difference: percentiles of a paired bootstrap over the rows.
        head_seconds: Time for computing features and solving.
        seconds: Duration of all phases.
    """

    figure: Figure
    head_value: float
    difference: float
    interval: tuple[float, float]
    head_seconds: float
    seconds: float

    @property
    def is_measurable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval[0] > 0 or self.interval[1] < 0

    def __str__(self) -> str:
        difference = self.figure.describe_difference(self.difference, self.interval)
        times = self.seconds / max(self.head_seconds, 1e-3)
        cheaper = f"the head alone is {times:.0f} times cheaper to train" if times >= 1.5 else "it costs as much"
        if not self.is_measurable:
            return f"no measurable gain, {difference}: {cheaper}"
        verdict = "better than" if self.figure.is_better(self.difference, 0.0) else "WORSE than"
        return f"{verdict} the solved head alone ({self.head_value:.4f}), {difference}; {cheaper}"

    def to_json(self) -> JsonObject:
        """Return the entry in metrics.json; the name of the metric is part of a key."""
        return {
            f"head_{self.figure.name}": self.head_value,
            "difference": self.difference,
            "interval": list(self.interval),
            "head_seconds": self.head_seconds,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, values: JsonObject) -> "Gain":
        """Read back what :meth:`to_json` returned."""
        figure = next(figure for figure in FIGURES.values() if f"head_{figure.name}" in values)
        rest = {key: values[key] for key in ("difference", "head_seconds", "seconds")}
        low, high = values["interval"]
        return cls(figure=figure, head_value=values[f"head_{figure.name}"], interval=(low, high), **rest)


def measure_gain(
    figure: Figure,
    score: Score,
    predicted: Floats,
    head_predicted: Floats,
    *,
    head_seconds: float,
    seconds: float,
    head_score: Score | None = None,
) -> Gain:
    """Compare two models on the same rows.

    Args:
        predicted: ``float32[n, outputs]`` of the fine-tuned model.
        head_score: Computes the score of the solved head, if it uses its own thresholds.

    Returns:
        The gain. The bootstrap is seeded: the same rows give the same interval.
    """
    once = np.ones((1, len(predicted)))
    head_score = head_score or score
    value, head_value = float(score(predicted, once)[0]), float(head_score(head_predicted, once)[0])
    return Gain(
        figure=figure,
        head_value=head_value,
        difference=value - head_value,
        interval=bootstrap(
            lambda counts: score(predicted, counts) - head_score(head_predicted, counts), len(predicted)
        ),
        head_seconds=head_seconds,
        seconds=seconds,
    )


@dataclass(frozen=True)
class Improvement:
    """The improvement by training: the trained model compared with the same model before training, on the same rows.

    Attributes:
        figure: The metric that was compared.
        before: The value of the model before training.
        difference: The trained model's value minus ``before``.
        interval: 95 % interval of the difference: percentiles of a paired bootstrap.
    """

    figure: Figure
    before: float
    difference: float
    interval: tuple[float, float]

    @property
    def is_measurable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval[0] > 0 or self.interval[1] < 0

    def __str__(self) -> str:
        difference = self.figure.describe_difference(self.difference, self.interval)
        values = f"{self.figure.describe(self.before + self.difference)}, {self.before:.1%} before: {difference}"
        if not self.is_measurable:
            return f"{values}, no measurable difference"
        return values if self.figure.is_better(self.difference, 0.0) else f"{values}, WORSE than before"

    def to_json(self) -> JsonObject:
        """Return the entry in metrics.json."""
        return {"before": self.before, "difference": self.difference, "interval": list(self.interval)}

    @classmethod
    def from_json(cls, figure: Figure, values: JsonObject) -> "Improvement":
        """Read back what :meth:`to_json` returned."""
        low, high = values["interval"]
        return cls(figure, float(values["before"]), float(values["difference"]), (float(low), float(high)))


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
    """Results of a model on a split; each kind of target has further metrics.

    Attributes:
        split: The name of the split.
        n: Number of rows.
        loss: Mean of the training objective.
        gain: The gain over the solved head, if it was measured.
        calibration: How well calibrated predictions are; None if the head does not measure it.
    """

    split: str
    n: int
    loss: float
    gain: Gain | None = None
    calibration: CalibrationReport | None = None

    @property
    def improvements(self) -> tuple[Improvement, ...]:
        """The improvements by training, the most important metric first; empty if they were not measured."""
        return ()

    @abstractmethod
    def figures(self) -> JsonObject:
        """Return the metrics of this kind of target for metrics.json."""

    @classmethod
    @abstractmethod
    def read_figures(cls, values: JsonObject) -> JsonObject:
        """Return the fields from what :meth:`figures` returned."""

    def to_json(self) -> JsonObject:
        """Return the entry of this split in metrics.json."""
        gain = {"gain": self.gain.to_json()} if self.gain else {}
        calibration = {"calibration": self.calibration.to_json()} if self.calibration else {}
        return {"n": self.n, "loss": self.loss, **self.figures(), **calibration, **gain}

    @classmethod
    def from_json(cls, split: str, values: JsonObject) -> Self:
        """Read back what :meth:`to_json` returned."""
        gain = Gain.from_json(values["gain"]) if "gain" in values else None
        measured = CalibrationReport.from_json(values["calibration"]) if "calibration" in values else None
        figures = cls.read_figures(values)
        return cls(split=split, n=values["n"], loss=values["loss"], gain=gain, calibration=measured, **figures)


def stack_rows(parts: Sequence[Floats]) -> NDArray[np.float32]:
    """Concatenate predictions of several batches; shorter rows are padded with :data:`NOTHING`.

    Args:
        parts: ``float32[rows, outputs]`` each.
    """
    width = max((part.shape[1] for part in parts), default=0)
    filled = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=NOTHING) for part in parts]
    return np.concatenate([np.zeros((0, width), np.float32), *filled]).astype(np.float32)


def mean_where_present(values: Floats, present: NDArray[np.bool_]) -> float:
    """Return the mean of metrics over the classes or labels that occur; 0 if none does.

    This is what scikit-learn returns with ``average="macro"`` and ``labels`` set to the classes of ``y_true``.
    """
    return float(values[present].mean()) if present.any() else 0.0


def predict(model: Model, batches: Batches) -> NDArray[np.float32]:
    """Run a model over a dataset.

    Returns:
        ``float32[n, outputs]``, in the order of the dataset. If the length of outputs differs from batch to batch, rows
        are padded with :data:`NOTHING`; of several outputs, vectors with one number per row come first.
    """
    if isinstance(model.output_shape, tuple) and model.output_shape[-1] is not None:
        return np.asarray(model.predict(batches, verbose=0), np.float32)
    inputs = (batch[0] if isinstance(batch, tuple) else batch for batch in batches.as_numpy_iterator())
    return stack_rows([put_side_by_side(model.predict_on_batch(batch)) for batch in inputs])


def put_side_by_side(outputs: Any) -> NDArray[np.float32]:
    """Concatenate the outputs of a model for a batch, ``float32[rows, outputs]``."""
    arrays = [np.asarray(output, np.float32) for output in keras.tree.flatten(outputs)]
    columns = [array[:, None] if array.ndim == 1 else array for array in sorted(arrays, key=lambda array: array.ndim)]
    return np.concatenate(columns, axis=1)
