"""What is passed to tasks: Python objects, a trained model, its evaluation, and a finished run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.backbones import Backbone
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.base import Target
from keras_transfer.heads import Head
from keras_transfer.heads.evaluation import Report
from keras_transfer.model import TransferModel
from keras_transfer.networks.types import Batches

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Given:
    """Python objects that replace names in a recipe file.

    Attributes:
        data: Sources, by their names in the recipe.
        backbone: The network.
        augmentation: A change of training examples: a function of an example and a seed.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    backbone: Backbone | None = None
    augmentation: Callable[[Any, Any], Any] | None = None


@dataclass(frozen=True)
class TrainedModel:
    """A model after its last phase, with everything that is needed to evaluate it.

    Attributes:
        config: The recipe.
        splits: Prepared by the reader.
        reader: Makes batches of them.
        model: The trained model.
        predict: From a split to ``float32[rows, outputs]`` in the order of its rows. Cached features are used, and
            several processes share the work: all of them have to call it. A second argument is another predictor for
            the same batches.
        held_out: Predictions for the training rows while they were held out, ``float32[rows, outputs]``: of a head that
            was solved, or of networks that were fine-tuned without them because there are few rows and none for
            validation; else None.
        untrained: What :meth:`Task.predict_untrained` returned before the first phase.
    """

    config: RecipeConfig
    splits: Splits
    reader: Reader
    model: TransferModel
    predict: Callable[..., Floats]
    held_out: Floats | None = None
    untrained: Any = None

    @property
    def evaluated(self) -> list[Split]:
        """The splits for which there are reports: validation and test rows, if there are any."""
        return [split for split in (self.splits.validation, self.splits.test) if len(split)]


@dataclass(frozen=True)
class Evaluation:
    """How good a trained model is.

    Attributes:
        head: The head with what is chosen on validation rows, such as thresholds.
        reports: One per split, test rows last.
        predicted: ``float32[rows, outputs]`` by the name of the split, if the task predicts targets.
    """

    head: Head
    reports: tuple[Report, ...]
    predicted: Mapping[str, Floats] = field(default_factory=dict)


class FinishedRun(Protocol):
    """What a task sees of a finished run: :class:`keras_transfer.Run`, or a model that a run exported.

    An exported model has no :attr:`model`: code that only needs predictions should call :meth:`predict_batches`.
    """

    @property
    def folder(self) -> Path:
        """The run folder; for an exported model, a folder with the files that the reader saves into a run folder."""

    @property
    def config(self) -> Any:
        """The recipe, of the task's own config class."""

    @property
    def record(self) -> Mapping[str, Any]:
        """The content of data.json; for an exported model, without the rows."""

    @property
    def target(self) -> Target:
        """The classes, labels or numbers."""

    @property
    def head(self) -> Any:
        """The head, as :meth:`Task.restore_head` makes it."""

    @property
    def has_model(self) -> bool:
        """Whether :attr:`model` is available; an exported model has none."""

    @property
    def model(self) -> keras.Model:
        """From the reader's inputs to predictions; an exported model raises an error."""

    @property
    def input_shape(self) -> Any:
        """The shape of the model's inputs, or shapes by name; None for a size that differs from batch to batch."""

    def predict_batches(self, batches: Batches) -> Floats:
        """Predict for batches of the reader's inputs, ``float32[rows, outputs]`` in their order."""

    def embed_batches(self, batches: Batches) -> tuple[Floats, Floats] | None:
        """Do the same, and also return the features that the head reads, ``float32[rows, dim]``, or None."""

    @property
    def reader(self) -> Reader:
        """The reader, as :meth:`Task.restore_reader` makes it."""
