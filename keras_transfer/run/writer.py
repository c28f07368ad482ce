"""Writes the folder of a run, file by file, while the run proceeds."""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.config.recipe_file import write_recipe
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.data.checks.findings import Finding, write_findings
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Splits
from keras_transfer.errors import CheckpointError, TransferWarning
from keras_transfer.frozen.learning_curve import LearningCurve, NoLearningCurve
from keras_transfer.heads import Head
from keras_transfer.model import TransferModel
from keras_transfer.networks.keras_file import write_keras_file
from keras_transfer.networks.lora import adapter_weights, merge_adapters
from keras_transfer.run import folder as names
from keras_transfer.run.predictions import MOST_BYTES, PREDICTIONS, Predicted, write_predictions
from keras_transfer.run.records import PhaseRecord, PhasesRecord
from keras_transfer.storage.atomic import FolderLock, whole
from keras_transfer.tasks import Evaluation
from keras_transfer.training.phase import PhaseSummary

_SAMPLE_COUNT = 16


class RunWriter:
    """The only writer of a run folder, except for checkpoints and exports.

    Args:
        folder: The run folder; it may not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(
        self,
        lock: FolderLock,
        *,
        config: RecipeConfig,
        environment: Mapping[str, Any],
        record: Mapping[str, Any],
        head: Head,
        reader: Reader,
        splits: Splits,
    ) -> None:
        """Make the folder, and write what is known before training.

        Args:
            splits: A few of their examples are stored, so that an export can be verified wherever the folder is moved.

        Raises:
            CheckpointError: The folder cannot be made, or another process writes it.
        """
        try:
            (self.folder / names.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            lock.take()
            write_recipe(config, self.folder / names.RECIPE)
            names.write_json(self.folder / names.ENVIRONMENT, environment)
            names.write_json(self.folder / names.DATA, record)
            self.write_head(head)
            self._keep_samples(splits, reader)
            reader.save(self.folder)
        except OSError as error:
            raise CheckpointError(
                f"The output folder {self.folder} cannot be made: {error.strerror}. Choose another --out."
            ) from error

    def write_phases(self, phases: Sequence[PhaseSummary], stages: int) -> None:
        """Write what each phase trains."""
        written = [
            PhaseRecord(
                name=summary.phase.name,
                epochs=summary.phase.epochs,
                solve=summary.phase.solve,
                stages=list(summary.stages),
                stage_count=stages,
                trained=summary.trained,
                total=summary.total,
            )
            for summary in phases
        ]
        names.write_json(self.folder / names.PHASES, PhasesRecord(phases=written).model_dump())

    def write_head(self, head: Head) -> None:
        """Write what a head needs in addition to the model: thresholds of labels, mean and scale of numbers."""
        if head.facts:
            names.write_json(self.folder / names.HEAD, head.facts)

    def _keep_samples(self, splits: Splits, reader: Reader) -> None:
        rows = next(split for split in (splits.test, splits.validation, splits.train) if len(split))
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE_COUNT, len(rows))).astype(int))
        samples = self.folder / names.SAMPLES
        shutil.rmtree(samples, ignore_errors=True)
        samples.mkdir()
        reader.write_samples(rows, chosen, samples)

    def merge_adapters(self, model: TransferModel) -> None:
        """Merge adapters into the model, as it will be evaluated and served, and also store them separately."""
        adapters = adapter_weights(model.backbone.stages)
        if adapters:
            with whole(self.folder / names.ADAPTERS) as file:
                np.savez(file, allow_pickle=False, **adapters)
            merge_adapters(model.backbone.stages)

    def write_model(self, model: TransferModel) -> None:
        """Write the model as it will be served."""
        write_keras_file(model.predictor, self.folder / names.MODEL)

    def write_evaluation(self, evaluation: Evaluation, splits: Splits) -> dict[str, Any]:
        """Write the head with what was chosen on validation rows, and predictions and reports."""
        self.write_head(evaluation.head)
        targets = {split.name: split.targets for split in splits}
        predicted = {name: Predicted(rows, targets[name]) for name, rows in evaluation.predicted.items()}
        if not write_predictions(self.folder, predicted) and predicted:
            warnings.warn(
                f"{PREDICTIONS} is left out: it would be larger than {MOST_BYTES // 1_000_000} MB.",
                TransferWarning,
                stacklevel=2,
            )
        metrics = {report.split: report.to_json() for report in evaluation.reports}
        names.write_json(self.folder / names.METRICS, metrics)
        return metrics

    def write_findings(self, findings: Sequence[Finding]) -> None:
        """Write what the run found in its data: training labels that look wrong, and examples in two splits."""
        write_findings(self.folder / names.FINDINGS, findings)

    def write_learning_curve(self, curve: LearningCurve | NoLearningCurve) -> None:
        """Write the estimated gain from more labels, or why it was not measured."""
        names.write_json(self.folder / names.LEARNING_CURVE, curve.to_json())

    def seal(self) -> None:
        """Write the checksums of the files on which predictions depend: none of them changes any more."""
        names.seal(self.folder)

    def write_choice(self, choice: Mapping[str, Any], seconds: float) -> None:
        """Record what ``policy: auto`` chose, and how long the run took."""
        names.write_json(self.folder / names.CHOICE, {**choice, "seconds": seconds})
