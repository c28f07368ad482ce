"""The content of a run folder, read back and checked."""

from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer.config.deciding import convert_earlier
from keras_transfer.config.recipe_file import parse_recipe, read_recipe
from keras_transfer.config.records import find_problem
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.targets.base import Target
from keras_transfer.distribution import prepare_backend
from keras_transfer.errors import CheckpointError, first_line
from keras_transfer.frozen.learning_curve import LearningCurve, NoLearningCurve, read_learning_curve
from keras_transfer.heads.evaluation import Report, predict
from keras_transfer.model import with_features
from keras_transfer.networks.batch_norm import fuse_batch_norm
from keras_transfer.networks.keras_file import read_keras_file
from keras_transfer.networks.types import Batches
from keras_transfer.run.folder import (
    CHECKPOINTS,
    DATA,
    HEAD,
    LEARNING_CURVE,
    METRICS,
    MODEL,
    PHASES,
    RECIPE,
    check_recipe_sum,
    check_run_folder,
    damaged,
    read_json,
)
from keras_transfer.run.predictions import PREDICTIONS, Predicted, read_predictions
from keras_transfer.run.records import DataRecord, PhaseRecord, PhasesRecord, check_report
from keras_transfer.storage.sums import check_file
from keras_transfer.tasks import TASKS, Task
from keras_transfer.tasks.records import Floats

WRONG_TYPES = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, StopIteration)
"""What reading a file raises that has other content than a run writes."""


class StoredRun:
    """The files of a finished run as objects, each read when it is first used.

    Raises:
        CheckpointError: It is not a run folder, or its run has not finished.
    """

    has_model: bool = True

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder
        if not self.folder.is_dir():
            raise CheckpointError(
                f"There is no run folder {folder}. Name the folder that `keras-transfer run` printed."
            )
        check_run_folder(self.folder)
        if (self.folder / CHECKPOINTS).is_dir():
            raise CheckpointError(
                f"The run in {folder} has not finished: it is running, or was interrupted. If it was interrupted, give "
                f"its command again with --resume, or: keras-transfer run {self.folder / RECIPE} --out {folder} "
                "--resume"
            )
        missing = [name for name in (RECIPE, DATA, MODEL) if not (self.folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} is not a finished run: it lacks {', '.join(missing)}. Name a run folder.")
        recipe = self.folder / RECIPE
        self.config: RecipeConfig = parse_recipe(convert_earlier(read_recipe(recipe)), known={}, where=str(recipe))
        self.task: Task = TASKS[self.config.task]
        check_recipe_sum(self.folder)
        self.record: dict[str, Any] = read_json(self.folder / DATA, "splits")
        problem = find_problem(DataRecord, self.record)
        if problem is not None:
            raise damaged(self.folder / DATA, problem)
        check_file(self.folder, DATA)
        try:
            self.target: Target = self.task.restore_target(self.config, self.record)
        except (KeyError, TypeError) as error:
            raise damaged(self.folder / DATA, f"it lacks {error.args[0]}") from error

    @cached_property
    def head(self) -> Any:
        """The head, which interprets the model's outputs."""
        file = self.folder / HEAD
        facts = read_json(file) if file.exists() else {}
        try:
            head = self.task.restore_head(self, facts)
        except WRONG_TYPES as error:
            raise damaged(file, f"{error} is missing or has the wrong type") from error
        check_file(self.folder, HEAD)
        return head

    @cached_property
    def model(self) -> keras.Model:
        """The fine-tuned model, from the reader's inputs to predictions; for pre-training, to logits."""
        prepare_backend()
        file = self.folder / MODEL
        model = read_keras_file(file, CheckpointError)
        if not self.task.fits(model, self.target):
            raise damaged(
                file, f"the run has {self.target.headline()}, and the model has outputs of shape {model.output_shape}"
            )
        check_file(self.folder, MODEL)
        fuse_batch_norm(model)
        return model

    @property
    def input_shape(self) -> Any:
        return self.model.input_shape

    def predict_batches(self, batches: Batches) -> Floats:
        return predict(self.model, batches)

    def embed_batches(self, batches: Batches) -> tuple[Floats, Floats] | None:
        """Predict for batches as :meth:`predict_batches` does, and return the features that the head reads, too."""
        if self._embedder is None:
            return None
        predicted, features = self._embedder.predict(batches, verbose=0)
        return np.asarray(predicted, np.float32), np.asarray(features, np.float32)

    @cached_property
    def _embedder(self) -> keras.Model | None:
        return with_features(self.model)

    @cached_property
    def reader(self) -> Reader:
        """Reads examples in the same way as in training."""
        check_file(self.folder, TOKENIZER)
        try:
            return self.task.restore_reader(self)
        except KeyError as error:
            raise damaged(self.folder / DATA, f"it lacks {error.args[0]}") from error

    @property
    def reports(self) -> dict[str, Report]:
        """The reports that the run itself recorded, by split."""
        file = self.folder / METRICS
        metrics = read_json(file)
        try:
            kind = self.task.report_type(self)
            reports = {name: check_report(kind.from_json(name, values)) for name, values in metrics.items()}
        except WRONG_TYPES as error:
            raise damaged(file, f"{first_line(error)} is missing or has the wrong type") from error
        check_file(self.folder, METRICS)
        return reports

    @cached_property
    def phases(self) -> list[PhaseRecord]:
        """What each phase trained; empty for a run of an earlier version."""
        file = self.folder / PHASES
        if not file.exists():
            return []
        values = read_json(file, "phases")
        problem = find_problem(PhasesRecord, values)
        if problem is not None:
            raise damaged(file, problem)
        return PhasesRecord.model_validate(values).phases

    @cached_property
    def predictions(self) -> dict[str, Predicted]:
        """The run's predictions for the rows that it was evaluated on, by split.

        Empty if the run was made by an earlier version, or if there were more than 200 MB of them.
        """
        file = self.folder / PREDICTIONS
        if not file.exists():
            return {}
        check_file(self.folder, PREDICTIONS)
        counts = {name: split["count"] for name, split in self.record["splits"].items()}
        try:
            return read_predictions(file, counts, self.head.prediction_width)
        except (OSError, ValueError) as error:
            raise damaged(file, str(error)) from error

    @property
    def learning_curve(self) -> LearningCurve | NoLearningCurve | None:
        """The estimated gain from more labels, or why it was not measured; None if the recipe has ``report: false``."""
        file = self.folder / LEARNING_CURVE
        if not file.exists():
            return None
        values = read_json(file)
        try:
            curve = read_learning_curve(values)
        except WRONG_TYPES as error:
            raise damaged(file, f"{error} is missing or has the wrong type") from error
        check_file(self.folder, LEARNING_CURVE)
        return curve
