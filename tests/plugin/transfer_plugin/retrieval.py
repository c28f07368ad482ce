"""A task that is not classification: find the training images that are most like an image.

The network learns embeddings by the supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362). The embeddings
of the training images, the gallery, travel in head.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from pydantic import Field

from keras_transfer import (
    Evaluation,
    Figure,
    FinishedRun,
    ImageClassificationConfig,
    ImageClassificationTask,
    ImageHeadConfig,
    Prediction,
    Report,
    Split,
    Splits,
    TargetHead,
    Task,
    TrainedModel,
    TransferModel,
    build_model,
    predict_examples,
)

_TEMPERATURE = 0.2


class RetrievalHeadConfig(ImageHeadConfig):
    """The layers from features to embeddings."""

    width: int = Field(default=8, ge=2, description="numbers per embedding")


class RetrievalConfig(ImageClassificationConfig):
    """Images in; for each, the most similar training images out."""

    task: Literal["retrieval"]  # type: ignore[assignment]
    head: RetrievalHeadConfig = RetrievalHeadConfig()


@dataclass(frozen=True)
class Match(Prediction):
    """The training image that is most like an input.

    Attributes:
        found: Its name.
        label: Its class.
        similarity: The cosine of the two embeddings.
    """

    found: str
    label: str
    similarity: float

    def __str__(self) -> str:
        """Return name, class and similarity."""
        return f"{self.found}\t{self.label}\t{self.similarity:.4f}"


@dataclass(frozen=True, kw_only=True)
class RetrievalReport(Report):
    """How often the most similar training image is of the same class.

    Attributes:
        recall_at_1: That share of the rows. The loss is its complement.
    """

    recall_at_1: float

    def figures(self) -> dict[str, Any]:
        """Return what metrics.json holds."""
        return {"recall_at_1": self.recall_at_1}

    @classmethod
    def read_figures(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the fields again."""
        return {"recall_at_1": values["recall_at_1"]}


class ContrastiveLoss(keras.losses.Loss):
    """Draws embeddings of one class together, and those of other classes apart."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return ``float32[batch]``."""
        similar = ops.matmul(y_pred, ops.transpose(y_pred)) / _TEMPERATURE
        other = 1.0 - ops.eye(ops.shape(y_pred)[0])
        same = ops.matmul(y_true, ops.transpose(y_true)) * other
        likely = similar - ops.log(ops.sum(ops.exp(similar) * other, axis=1, keepdims=True) + 1e-9)
        return -ops.sum(likely * same, axis=1) / ops.maximum(ops.sum(same, axis=1), 1.0)


@dataclass(frozen=True)
class RetrievalHead(TargetHead):
    """Embeddings of length 1, and the gallery that they are compared to.

    Attributes:
        gallery: Embeddings of the training images, ``[images, width]``; empty until the model is trained.
        images: Their names.
        labels: Their classes, as indices.
    """

    gallery: Sequence[Sequence[float]] = ()
    images: Sequence[str] = ()
    labels: Sequence[int] = ()

    figure: ClassVar[Figure] = Figure("recall_at_1", "{:.1%} found", "points", is_error=False)
    metric: ClassVar[str] = "loss"
    report_type: ClassVar[type[Report]] = RetrievalReport
    predictions_output: ClassVar[str] = "embedding"

    @property
    def prediction_width(self) -> int:
        """Return the width of embeddings."""
        return int(self.config.width)

    @property
    def is_solvable(self) -> bool:
        """No linear problem has this loss."""
        return False

    @property
    def facts(self) -> dict[str, Any]:
        """Return the gallery."""
        return {"gallery": self.gallery, "images": self.images, "labels": self.labels} if self.gallery else {}

    @classmethod
    def restore(cls, names: tuple[str, ...], config: Any, facts: dict[str, Any]) -> Self:
        """Make the head with its gallery again."""
        return cls(names, config, facts["gallery"], facts["images"], facts["labels"])

    def read_out(self, pooled: Any) -> Any:
        """Return embeddings of length 1."""
        x = layers.Dense(self.config.width, dtype="float32", name=self.last_layer)(pooled)
        return layers.UnitNormalization(dtype="float32", name="head_unit")(x)

    def final_layer(self) -> layers.Layer:
        """Return the identity."""
        return layers.Identity(dtype="float32", name="head_embedding")

    def encode(self, targets: Any) -> Any:
        """Return classes one-hot."""
        return np.eye(len(self.names), dtype=np.float32)[targets]

    def loss(self, *, label_smoothing: float) -> keras.losses.Loss:
        """Return the contrastive loss."""
        return ContrastiveLoss()

    def epoch_metrics(self) -> tuple[Any, ...]:
        """Only the loss is reported."""
        return ()

    def linear_model(self) -> Any:
        """There is none."""
        raise TypeError("retrieval has no linear model")

    def nearest(self, predicted: Any) -> tuple[Any, Any]:
        """Return the index in the gallery and the similarity of each embedding's nearest neighbour."""
        similar = np.asarray(predicted) @ np.asarray(self.gallery, np.float32).T
        return similar.argmax(axis=1), similar.max(axis=1)

    def row_losses(self, predicted: Any, targets: Any) -> Any:
        """Return 1 for a row whose nearest neighbour is of another class."""
        found, _ = self.nearest(predicted)
        return (np.asarray(self.labels)[found] != targets).astype(np.float64)

    def score(self, predicted: Any, targets: Any, counts: Any) -> Any:
        """Return recall at 1."""
        return counts @ (1.0 - self.row_losses(predicted, targets)) / counts.sum(axis=1)

    def report(self, split: str, predicted: Any, targets: Any) -> RetrievalReport:
        """Look up each row in the gallery."""
        loss = float(self.row_losses(predicted, targets).mean())
        return RetrievalReport(split=split, n=len(targets), loss=loss, recall_at_1=1.0 - loss)

    def to_prediction(self, name: str, row: Any) -> Match:
        """Name the nearest training image."""
        (found,), (similarity,) = self.nearest(row[None])
        return Match(name, self.images[found], self.names[self.labels[found]], float(similarity))

    def serving_outputs(self, predicted: Any) -> dict[str, Any]:
        """Return ``embedding``, and ``found: string[batch]``, the name of the nearest training image."""
        similar = tf.matmul(predicted, tf.constant(self.gallery, tf.float32), transpose_b=True)
        return {"embedding": predicted, "found": tf.gather(tf.constant(self.images), tf.argmax(similar, axis=1))}

    def allowance(self, tolerance: float) -> Any:
        """Return how far each number of an embedding may differ."""
        return np.full(self.config.width, tolerance)

    def is_tied(self, predicted: Any, tolerance: float) -> Any:
        """Return for which rows two training images are about equally near."""
        similar = np.sort(np.asarray(predicted) @ np.asarray(self.gallery, np.float32).T, axis=1)
        return similar[:, -1] - similar[:, -2] < 10 * tolerance


class Retrieval(ImageClassificationTask):
    """Find similar images. Images are read, scanned and augmented as for classification."""

    name = "retrieval"
    config_class = RetrievalConfig
    # Heat maps are evidence for a class, and embeddings have none.
    explain, show = Task.explain, Task.show

    def build_model(self, config: Any, backbone: Any, splits: Splits, reader: Any) -> TransferModel:
        """Put the embedding on the network."""
        return build_model(backbone, RetrievalHead(splits.target.names, config.head), flips=reader.flips)

    def evaluate_trained(self, trained: TrainedModel) -> Evaluation:
        """Embed the training images, and look up validation and test rows among them."""
        train = trained.splits.train
        head: Any = replace(
            trained.model.head,
            gallery=trained.predict(train).astype(float).round(6).tolist(),
            images=list(train.examples.names),
            labels=np.asarray(train.targets).tolist(),
        )
        predicted = {split.name: trained.predict(split) for split in trained.evaluated}
        reports = [head.report(split.name, predicted[split.name], split.targets) for split in trained.evaluated]
        return Evaluation(head, tuple(reports), predicted)

    def restore_head(self, run: Any, facts: dict[str, Any]) -> RetrievalHead:
        """Make the head with its gallery again."""
        return RetrievalHead.restore(run.target.names, run.config.head, facts)

    def fits(self, model: keras.Model, target: Any) -> bool:
        """Return whether the model gives embeddings."""
        return len(model.output_shape) == 2

    def report_type(self, run: FinishedRun) -> type[Report]:
        """Return the class of reports."""
        return RetrievalReport

    def evaluate(self, run: FinishedRun, split: Split) -> Report:
        """Look up the rows in the gallery."""
        return run.head.report(split.name, predict_examples(run, split.examples), split.targets)


RETRIEVAL = Retrieval()
