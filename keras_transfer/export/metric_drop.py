"""Check of a quantized artifact: by how much the run's metric drops.

Its predictions cannot match the model's up to rounding. So the metric is computed on labelled rows that the model was
not trained on, before and after, with an interval of the difference on the same rows.
"""

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, FiniteFloat

from keras_transfer.config.records import Count, Record, find_problem
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ExportError
from keras_transfer.export.base import Exporter, Served
from keras_transfer.export.proof import compare, predictions_in, run_on_samples, run_probe, to_tensors
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import FIGURES, Figure, Floats
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.networks.types import Batches, JsonObject

# Eight bits are 256 steps between the smallest and the largest prediction.
_STEP = 1 / 256
_BATCH, _PART_BYTES = 32, 300_000_000
# Of a difference of two shares.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class LabelledRows:
    """The data that quantization needs in addition to the model.

    Attributes:
        proof: Examples that the model was not trained on, for checking the artifact.
        calibration: Examples with which the converter determines ranges; None if it needs none.
    """

    proof: Split
    calibration: Split | None = None


class _Facts(Record):
    quantize: str
    metric: str
    split: str
    rows: Count
    before: FiniteFloat
    after: FiniteFloat
    drop: FiniteFloat
    interval: Annotated[list[FiniteFloat | None], Field(min_length=2, max_length=2)]
    max_drop: FiniteFloat


@dataclass(frozen=True)
class MetricDrop:
    """The result of checking a quantized artifact: the drop of the metric on labelled rows.

    Attributes:
        quantize: The number format, such as ``int8``.
        figure: The metric that models are compared by.
        split: The rows' split, or the source that was given.
        examples: How many rows there were.
        before: The metric of the model.
        after: The metric of the artifact, for the same rows.
        drop: By how much it dropped: for accuracy and mean average precision, the difference; for numbers, the increase
            of the mean absolute error in standard deviations of the training rows. Less than 0 if the artifact is
            better.
        interval: 95 % interval of ``drop``: percentiles of a paired bootstrap over the rows.
        max_drop: The largest drop that was allowed.
        client: The result of checking ``serve.py``; empty for a format that has none.
    """

    quantize: str
    figure: Figure
    split: str
    examples: int
    before: float
    after: float
    drop: float
    interval: tuple[float, float]
    max_drop: float
    client: str = ""

    def __str__(self) -> str:
        found = (
            f"{self.quantize}, verified in a fresh process on {self.examples:,} rows ({self.split}): "
            f"{self.describe()}, allowed {self._in_units(-self.max_drop):+.3g}"
        )
        return f"{found}; {self.client}" if self.client else found

    def describe(self) -> str:
        """Return the metric before and after, and its change with an interval, in words."""
        low, high = (self._in_units(-bound) for bound in reversed(self.interval))
        unit = "points" if self.figure.in_hundredths else "standard deviations"
        return (
            f"{self.figure.describe(self.before)} before, {self.figure.describe(self.after)} after: "
            f"{self._in_units(-self.drop):+.3g} {unit}, 95 % interval {low:+.3g} to {high:+.3g}"
        )

    def _in_units(self, value: float) -> float:
        # Avoid -0.
        return 100 * value + 0.0 if self.figure.in_hundredths else value + 0.0

    def to_json(self) -> JsonObject:
        """Return it as plain data."""
        return {
            "quantize": self.quantize,
            "metric": self.figure.name,
            "split": self.split,
            "rows": self.examples,
            "before": self.before,
            "after": self.after,
            "drop": self.drop,
            "interval": [bound if math.isfinite(bound) else None for bound in self.interval],
            "max_drop": self.max_drop,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self | None:
        """Read back what :meth:`to_json` returned; None if it is something else."""
        if find_problem(_Facts, values) is not None or values["metric"] not in FIGURES:
            return None
        low, high = (math.nan if bound is None else float(bound) for bound in values["interval"])
        keys = ("quantize", "split", "before", "after", "drop", "max_drop")
        return cls(
            figure=FIGURES[values["metric"]],
            examples=values["rows"],
            interval=(low, high),
            **{key: values[key] for key in keys},
        )


def prove_quantized(exporter: Exporter, served: Served, artifact: Path, *, samples: Path, rows: Split) -> MetricDrop:
    """Check in a fresh process that the metric of a quantized artifact drops by no more than is allowed.

    Args:
        exporter: The exporter; its settings include ``quantize`` and ``max_drop``.
        artifact: The folder of the artifact; files for the check are written next to it.
        samples: A folder of raw examples, as the reader writes them. The artifact's other outputs for them have to be
            consistent with its predictions.
        rows: Labelled examples that the model was not trained on.

    Raises:
        ExportError: The artifact cannot be run, is inconsistent, or its metric drops by more.
    """
    head = served.head
    before, after = _predict_rows(exporter, served, artifact, rows)
    lost = [row for row in range(len(after)) if not np.isfinite(after[row]).all()]
    if lost:
        raise ExportError(
            f"The {exporter.title} with quantize: {exporter.quantize} predicts NaN or infinite values for "
            f"{len(lost):,} of {len(after):,} {rows.name} rows. Leave quantize out. Nothing was exported."
        )
    answers = run_on_samples(exporter, served.reader, artifact, samples)
    own = predictions_in(exporter, answers, head, (len(list(samples.iterdir())), *before.shape[1:]))
    compare(exporter, answers, own, head, _STEP)
    drop = measure_drop(exporter, head, before, after, rows)
    if drop.drop > drop.max_drop + _ROUNDING:
        raise ExportError(
            f"The {exporter.title} with quantize: {exporter.quantize} loses more than max_drop: {drop.max_drop:g} on "
            f"{drop.examples:,} rows ({drop.split}): {drop.describe()}. Raise max_drop (--max-drop), or leave quantize "
            "out. Nothing was exported."
        )
    return drop


def measure_drop(exporter: Exporter, head: TargetHead, before: Floats, after: Floats, rows: Split) -> MetricDrop:
    """Compare predictions of a quantized artifact with those of the model.

    Args:
        exporter: Its settings include ``quantize`` and ``max_drop``.
        before: ``float32[n, outputs]`` of the model.
    """
    targets = rows.targets

    def difference(counts: Floats) -> Floats:
        return head.quality(before, targets, counts) - head.quality(after, targets, counts)

    return MetricDrop(
        quantize=str(exporter.quantize),
        figure=head.figure,
        split=rows.name,
        examples=len(targets),
        before=head.score_once(before, targets),
        after=head.score_once(after, targets),
        drop=float(difference(np.ones((1, len(targets))))[0]),
        interval=bootstrap(difference, len(targets)),
        max_drop=exporter.settings.max_drop,
    )


def write_calibration(reader: Reader, rows: Split, folder: Path) -> None:
    """Write examples for a converter, which :meth:`Served.calibration_batches` reads: without augmentation."""
    folder.mkdir()
    split = reader.prepare(rows)
    batches = reader.evaluation_batches(split, batch_size=_BATCH, view=reader.predictor_view)
    for number, inputs in enumerate(batches):
        np.savez(folder / f"{number:06}.npz", allow_pickle=False, **to_tensors(reader, inputs))


def _predict_rows(exporter: Exporter, served: Served, artifact: Path, rows: Split) -> tuple[Floats, Floats]:
    """The predictions of the model and of the artifact for rows, in their order."""
    reader, head = served.reader, served.head
    split = reader.prepare(rows)
    view = reader.predictor_view
    order = np.concatenate(reader.evaluation_order(split, batch_size=_BATCH, view=view))
    batches = reader.evaluation_batches(split, batch_size=_BATCH, view=view)
    folder = artifact.parent / "rows"
    before, after = [], []
    for predicted in _predict_in_parts(served, batches, folder):
        answers = run_probe(exporter, reader.tensor_inputs, artifact, folder, head.predictions_output)
        before.append(predicted)
        after.append(predictions_in(exporter, answers, head, predicted.shape))
    back = np.argsort(order)
    return np.concatenate(before)[back], np.concatenate(after)[back]


def _predict_in_parts(served: Served, batches: Batches, folder: Path) -> Iterator[Floats]:
    """Write batches to a folder up to a size, and return the model's predictions for them."""
    predicted: list[Floats] = []
    size = 0
    for inputs in batches:
        if not predicted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        tensors = to_tensors(served.reader, inputs)
        np.savez(folder / f"{len(predicted):06}.npz", allow_pickle=False, **tensors)
        predicted.append(np.asarray(served.model.predict_on_batch(inputs), np.float32))
        size += sum(array.nbytes for array in tensors.values())
        if size > _PART_BYTES:
            yield np.concatenate(predicted)
            predicted, size = [], 0
    if predicted:
        yield np.concatenate(predicted)
