"""What tasks that predict targets share: one class, several labels, or numbers for each example."""

from abc import ABC
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.images.load import is_elsewhere
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Split, Splits, load_splits, read_split
from keras_transfer.data.targets.base import Target
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.explain import Explanation, open_model
from keras_transfer.explain.records import Explained
from keras_transfer.heads import Prediction, TargetHead, make_head, restore_head
from keras_transfer.heads.calibration import check_finite
from keras_transfer.heads.evaluation import Report
from keras_transfer.model import TransferModel, build_model
from keras_transfer.tasks.base import Task, embed_examples, predict_examples
from keras_transfer.tasks.earlier_runs import find_known
from keras_transfer.tasks.records import Evaluation, FinishedRun, TrainedModel


class LabelledTask(Task, ABC):
    """A task whose sources have ``data.target`` for each example."""

    def load_splits(self, config: Any, given: Mapping[str, Any]) -> Splits:
        data = config.data.with_validation() if config.needs_validation else config.data
        return load_splits(data, seed=config.seed, given=given, known=find_known(config))

    def reload_splits(self, config: Any, record: Mapping[str, Any]) -> Splits:
        return load_splits(config.data, seed=config.seed, recorded=record)

    def read_split(self, config: Any, name: str, target: Target, given: Mapping[str, Any]) -> Split:
        return read_split(name, name, config.data, target, given)

    def restore_target(self, config: Any, record: Mapping[str, Any]) -> Target:
        kind = TARGETS[config.data.target]
        return kind(tuple(record[kind.names_key]))


class TargetTask(LabelledTask, ABC):
    """A task that predicts ``data.target`` of each example, by a head for it."""

    def build_model(self, config: Any, backbone: Any, splits: Splits, reader: Reader) -> TransferModel:
        head = make_head(config, splits.target.names, splits.train.targets)
        head.check_validation(splits.validation.targets)
        return build_model(backbone, head, flips=reader.flips)

    def evaluate_trained(self, trained: TrainedModel) -> Evaluation:
        predicted = {split.name: trained.predict(split) for split in trained.evaluated}
        for name, rows in predicted.items():
            check_finite(rows, name)
        head, splits = cast(TargetHead, trained.model.head), trained.splits
        # There are more training rows than validation rows.
        if trained.held_out is not None:
            head = head.fit_calibration(trained.held_out, splits.train.targets, "train")
        if len(splits.validation):
            head = head.calibrate(predicted["validation"], splits.validation.targets)
        predicted = {name: np.asarray(head.calibrated(rows), np.float32) for name, rows in predicted.items()}
        reports = [head.report(split.name, predicted[split.name], split.targets) for split in trained.evaluated]
        return Evaluation(head, tuple(reports), predicted)

    def restore_head(self, run: FinishedRun, facts: dict[str, Any]) -> Any:
        return restore_head(run.config, run.target.names, facts)

    def fits(self, model: keras.Model, target: Target) -> bool:
        return bool(model.output_shape == (None, len(target.names)))

    def report_type(self, run: FinishedRun) -> type[Report]:
        return run.head.report_type

    def evaluate(self, run: FinishedRun, split: Split) -> Report:
        predicted = predict_examples(run, split.examples)
        check_finite(predicted, split.name)
        return run.head.report(split.name, predicted, split.targets)

    def predict(self, run: FinishedRun, examples: Examples) -> Sequence[Prediction]:
        predicted = predict_examples(run, examples)
        return [run.head.to_prediction(name, row) for name, row in zip(examples.names, predicted, strict=True)]

    def embed(self, run: FinishedRun, examples: Examples) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        return embed_examples(run, examples)


class HeatMapTask(TargetTask, ABC):
    """A task whose network sees images, or recordings as images: heat maps show the evidence for an output."""

    explain_examples: ClassVar[Callable[..., Sequence[Explained]]]
    """Such as :func:`keras_transfer.explain.images.explain_images`."""

    def known_names(self, values: Mapping[str, Any]) -> Mapping[str, Iterable[str]]:
        """Return the names of backbones, unless the recipe names a preset, a file or an object."""
        backbone = values.get("backbone")
        if isinstance(backbone, Mapping) and is_elsewhere(backbone.get("name")):
            return {}
        return {"backbone.name": BACKBONES}

    def explain(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Explanation]:
        return [one.to_explanation(name, named) for name, named, one in self.compute_maps(run, examples, outputs)]

    def compute_maps(
        self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]
    ) -> Iterable[tuple[str, tuple[str, ...], Explained]]:
        """Return the name of each example, the names of its outputs, and their heat maps."""
        names, signed, opened = run.target.names, run.head.evidence_has_sign, open_model(run.model)
        explained = self.explain_examples(opened, run.reader, examples, outputs, len(names), signed=signed)
        named = [tuple(names[output] for output in row) for row in outputs]
        return zip(examples.names, named, explained, strict=True)
