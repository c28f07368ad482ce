"""A recipe whose data and weights are at hand: runs its phases and judges the result.

Where stages next to the input are frozen, they are run once and what they put out is kept (features.py); training and
evaluation then begin behind them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.utils.class_weight import compute_class_weight

from keras_transfer.config import RecipeConfig
from keras_transfer.data.reader import Reader, steps_per_epoch
from keras_transfer.data.splits import Split, Splits
from keras_transfer.errors import ConfigError
from keras_transfer.evaluation import MaskedReport, Report, evaluate_masked, make_report, measure_gain, predict
from keras_transfer.features import FeatureCache
from keras_transfer.lr_finder import RangeTest, run_range_test
from keras_transfer.model import TransferModel
from keras_transfer.optimizers import StagedAdamW
from keras_transfer.policies import Phase, Scope, plan
from keras_transfer.solver import MOST_PRODUCTS, SolvedHead, solve_head
from keras_transfer.training import WeightKeeper, solve_phase, train_phase

_Floats = NDArray[np.float32]
_PREDICT_BATCH = 256


def find_scope(config: RecipeConfig, model: TransferModel, splits: Splits) -> Scope:
    """Return what a policy has to divide.

    Args:
        config: ``policy.head_solver`` says whether a head that trains alone is solved, or leaves it to the size of the
            problem.
        model: With its head.
        splits: With the training rows.
    """
    products = len(splits.class_names) * model.top.input_shape[-1] * len(splits.train)
    can = model.head.is_linear and not config.training.label_smoothing and products <= MOST_PRODUCTS
    solves = can if config.policy.head_solver == "auto" else config.policy.head_solver == "solve"
    return Scope(len(model.backbone.stages), config.training.epochs, solves_head=solves)


@dataclass(frozen=True)
class Baseline:
    """The solved head on the network as it came, before anything was fine-tuned.

    Attributes:
        head: The solution.
        features: Pooled features of the training and the validation rows.
        predicted: ``int64[n]`` classes of the rows of each split that the run is judged by.
        seconds: What features of training rows and solution took.
    """

    head: SolvedHead
    features: dict[str, _Floats]
    predicted: dict[str, NDArray[np.int64]]
    seconds: float


@dataclass(frozen=True)
class Trained:
    """What is left of training beside the weights.

    Attributes:
        baseline: Where it was measured.
        seconds: What all phases took, the baseline included.
    """

    baseline: Baseline | None
    seconds: float


@dataclass(frozen=True)
class Job:
    """A recipe that nothing stands against any more.

    Attributes:
        config: The recipe.
        splits: Scanned, and prepared by the reader.
        record: What data.json is to hold.
        reader: Makes batches of the splits.
        model: Not yet trained.
        phases: What is to be done.
        measured: A baseline that was measured already.
    """

    config: RecipeConfig
    splits: Splits
    record: dict[str, Any]
    reader: Reader
    model: TransferModel
    phases: tuple[Phase, ...]
    measured: Baseline | None = None

    def find_learning_rate(self) -> RangeTest:
        """Try learning rates on the phase that trains longest, the last of several; the weights stay as they are.

        Where a solved head comes before that phase, the test begins with it. Other phases before it are left out.

        Returns:
            The curve, which suggests a value of training.learning_rate.

        Raises:
            ConfigError: No phase has a learning rate.
            TrainingError: Loss or features are no numbers.
        """
        longest = max(
            (index for index, phase in enumerate(self.phases) if not phase.solve),
            key=lambda index: (self.phases[index].epochs, index),
            default=None,
        )
        if longest is None:
            raise ConfigError(
                f"policy.name={self.config.policy.name} solves the head and trains nothing: there is no learning rate "
                "to find. Set policy.head_solver=sgd, or a policy that trains stages, such as last_stages."
            )
        phase, first_epoch = self.phases[longest], sum(phase.epochs for phase in self.phases[:longest])
        trainer, batches, _ = self.inputs(phase, range(first_epoch, first_epoch + phase.epochs))
        baseline = self.baseline if any(phase.solve for phase in self.phases[:longest]) else None
        return run_range_test(
            self.model,
            phase,
            config=self.config.training,
            trainer=trainer,
            batches=batches,
            head=baseline.head if baseline else None,
        )

    def with_learning_rate(self, learning_rate: float) -> "Job":
        """Return the same job with this as its training.learning_rate."""
        training = self.config.training.model_copy(update={"learning_rate": learning_rate})
        return replace(self, config=self.config.model_copy(update={"training": training}), measured=self.baseline)

    def with_policy(self, policy: str) -> "Job":
        """Return the same job with another policy."""
        section = self.config.policy.model_copy(update={"name": policy, "budget_seconds": None})
        config = self.config.model_copy(update={"policy": section})
        phases = plan(section, find_scope(config, self.model, self.splits))
        return replace(self, config=config, phases=phases, measured=self.measured)

    def train(self, history: Path) -> Trained:
        """Run all phases.

        Args:
            history: The file that takes a line an epoch.

        Returns:
            What :meth:`judge` needs.

        Raises:
            TrainingError: Loss or features became something that is no number; the last good weights are in the model.
        """
        keeper = WeightKeeper(self.config.training.keep, self.model.trainer)
        baseline = self.baseline
        started = time.perf_counter()
        first_epoch, optimizer = 0, None
        for phase in self.phases:
            epochs = range(first_epoch, first_epoch + phase.epochs)
            if phase.solve and baseline is not None:
                self._put_on(baseline, phase, keeper, history)
            else:
                optimizer = self._train_phase(phase, epochs, keeper, history, optimizer)
            first_epoch = epochs.stop
        return Trained(baseline, time.perf_counter() - started + (baseline.seconds if baseline else 0.0))

    def judge(self, trained: Trained) -> Sequence[Report | MaskedReport]:
        """Compare predictions for validation and test rows with the truth.

        Args:
            trained: What :meth:`train` gave.

        Returns:
            A report a split; where stages were trained beside a solved head, it says what that bought.
        """
        reports: list[Report | MaskedReport] = []
        for split in (self.splits.validation, self.splits.test):
            if not len(split):
                continue
            probabilities = self._predict(split)
            report = make_report(split.name, probabilities, split.labels, self.splits.class_names)
            if trained.baseline is not None and not all(phase.solve for phase in self.phases):
                gain = measure_gain(
                    probabilities.argmax(axis=1) == split.labels,
                    trained.baseline.predicted[split.name] == split.labels,
                    head_seconds=trained.baseline.seconds,
                    seconds=trained.seconds,
                )
                report = replace(report, gain=gain)
            reports.append(report)
        return reports

    @property
    def _stages(self) -> int:
        return len(self.model.backbone.stages)

    @property
    def _needs_baseline(self) -> bool:
        return any(phase.solve for phase in self.phases) or (
            len(self.phases) > 1 and find_scope(self.config, self.model, self.splits).solves_head
        )

    @cached_property
    def baseline(self) -> Baseline | None:
        """The solved head on the network as it came, where the job needs it."""
        return self.measured or (self._measure_baseline() if self._needs_baseline else None)

    @cached_property
    def cache(self) -> FeatureCache:
        """What frozen stages put out."""
        return FeatureCache(self.config.cache, self.reader)

    def _measure_baseline(self) -> Baseline:
        started = time.perf_counter()
        train, classes = self.splits.train, len(self.splits.class_names)
        features = {"train": self.cache.pooled(self.model, train)[0]}
        head = solve_head(features["train"], train.labels, self._weights(train), classes=classes, seed=self.config.seed)
        seconds = time.perf_counter() - started
        predicted = {}
        for split in (self.splits.validation, self.splits.test):
            if len(split):
                # The head is judged as the model will be, over the same flips.
                views = self.cache.pooled(self.model, split, flips=True)
                features[split.name] = views[0]
                each = [softmax(view @ head.kernel + head.bias, axis=1) for view in views]
                predicted[split.name] = np.mean(each, axis=0).argmax(axis=1)
        return Baseline(head, features, predicted, seconds)

    def _put_on(self, baseline: Baseline, phase: Phase, keeper: WeightKeeper, history: Path) -> None:
        rows = {"": (baseline.features["train"], self.splits.train.labels)}
        if len(self.splits.validation):
            rows["val_"] = (baseline.features["validation"], self.splits.validation.labels)
        solve_phase(
            self.model, phase, baseline.head, rows=rows, seconds=baseline.seconds, keeper=keeper, history=history
        )

    def _train_phase(
        self, phase: Phase, epochs: range, keeper: WeightKeeper, history: Path, earlier: StagedAdamW | None
    ) -> StagedAdamW:
        trainer, batches, validation = self.inputs(phase, epochs)
        return train_phase(
            self.model,
            phase,
            config=self.config.training,
            trainer=trainer,
            batches=batches,
            steps=steps_per_epoch(len(self.splits.train), self.config.training.batch_size),
            validation=validation,
            keeper=keeper,
            history=history,
            earlier=earlier,
        )

    def inputs(self, phase: Phase, epochs: range) -> tuple[keras.Model, Any, Any]:
        """Return what is trained, its batches, and batches of the validation rows or None.

        Args:
            phase: Says which stages are frozen.
            epochs: Their numbers.
        """
        return self._kept_inputs(phase, epochs) or self._whole_inputs(phase, epochs)

    def _whole_inputs(self, phase: Phase, epochs: range) -> tuple[keras.Model, Any, Any]:
        """The whole trainer, and examples for it."""
        train, validation = self.splits.train, self.splits.validation
        batches = self.reader.training_batches(
            train,
            self._one_hot(train),
            self._weights(train),
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            epochs=epochs,
        )
        trainer = self.model.freeze(phase.frozen_stages(self._stages))
        return trainer, batches, self._evaluation_batches(validation) if len(validation) else None

    def _kept_inputs(self, phase: Phase, epochs: range) -> tuple[keras.Model, Any, Any] | None:
        """The part of the trainer behind the frozen stages, and features for it, where those can be kept."""
        frozen = phase.frozen_stages(self._stages)
        training, splits = self.config.training, self.splits
        if not self.cache.serves(frozen):
            return None
        features = self.cache.training(self.model, frozen, splits.train, epochs)
        if features is None:
            return None
        batches = features.batches(
            self._one_hot(splits.train),
            self._weights(splits.train),
            batch_size=training.batch_size,
            seed=self.config.seed,
            epochs=epochs,
        )
        validation = None
        if len(splits.validation):
            held_out = self.cache.evaluation(self.model, frozen, splits.validation)
            if held_out is None:
                return None
            validation = held_out.evaluation_batches(self._one_hot(splits.validation), batch_size=training.batch_size)
        return self.model.split(frozen)[1], batches, validation

    def _predict(self, split: Split) -> _Floats:
        frozen = min(phase.frozen_stages(self._stages) for phase in self.phases)
        features = None
        if frozen and self.config.cache.views:
            features = self.cache.evaluation(self.model, frozen, split, flips=True)
        if features is None:
            order = self._evaluation_order(split, self.config.training.batch_size)
            return predict(self.model.predictor, self._evaluation_batches(split), order)
        _, rest = self.model.split(frozen)
        targets, order = self._one_hot(split), self._evaluation_order(split, _PREDICT_BATCH)
        batches = [
            features.evaluation_batches(targets, batch_size=_PREDICT_BATCH, view=view)
            for view in range(len(features.arrays[0]))
        ]
        return np.mean([softmax(predict(rest, view, order), axis=1) for view in batches], axis=0, dtype=np.float32)

    def _evaluation_order(self, split: Split, batch_size: int) -> NDArray[np.int64]:
        return np.concatenate(self.reader.evaluation_order(split, batch_size=batch_size))

    def _evaluation_batches(self, split: Split) -> Any:
        return self.reader.evaluation_batches(split, self._one_hot(split), batch_size=self.config.training.batch_size)

    def _weights(self, split: Split) -> _Floats:
        return split.weights * self.class_weights[split.labels]

    def _one_hot(self, split: Split) -> _Floats:
        return np.eye(len(self.splits.class_names), dtype=np.float32)[split.labels]

    @cached_property
    def class_weights(self) -> _Floats:
        """``float32[classes]``, how much a training row of each counts."""
        classes = len(self.splits.class_names)
        if self.config.training.class_weights == "none":
            return np.ones(classes, np.float32)
        weights = compute_class_weight("balanced", classes=np.arange(classes), y=self.splits.train.labels)
        return np.asarray(weights, np.float32)


class PretrainingJob(Job):
    """A job without labels: the network learns to find masked tokens again."""

    def judge(self, trained: Trained) -> Sequence[MaskedReport]:
        """Mask tokens of validation and test rows, and see which are found.

        Args:
            trained: What :meth:`train` gave.

        Returns:
            A report a split.
        """
        batch_size = self.config.training.batch_size
        return [
            evaluate_masked(
                self.model.predictor,
                self.reader.evaluation_batches(split, batch_size=batch_size),
                split=split.name,
                n=len(split),
            )
            for split in (self.splits.validation, self.splits.test)
            if len(split)
        ]
