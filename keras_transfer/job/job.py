"""A recipe whose data and weights are at hand: runs its phases and judges the result.

Where stages next to the input are frozen, they are run once and what they put out is kept (features.py); training and
evaluation then begin behind them.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config import AutoPolicyConfig, RecipeConfig
from keras_transfer.data.readers.base import Reader, steps_per_epoch
from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.distribution import ONE_DEVICE, Distribution
from keras_transfer.errors import ConfigError, DataError, list_lines
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.heads import Head, TargetHead
from keras_transfer.heads.evaluation import Report, measure_gain, predict
from keras_transfer.heads.solver import MOST_FOLDS, MOST_HINTED_ROWS, MOST_PRODUCTS, Folds, draw_folds
from keras_transfer.model import TransferModel
from keras_transfer.trackers import PhaseStarted
from keras_transfer.training.callbacks import WeightKeeper
from keras_transfer.training.checkpointing import Checkpoints, Position, Stopwatch, Variables
from keras_transfer.training.lr_finder import RangeTest, run_range_test
from keras_transfer.training.observers import Observers
from keras_transfer.training.optimizer import StagedAdamW
from keras_transfer.training.phase import Course, Inputs, solve_phase, train_phase
from keras_transfer.training.policies import Phase, Scope, candidate_section, plan

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
    products = len(model.head.names) * model.top.input_shape[-1] * len(splits.train)
    can = model.head.is_solvable and not config.training.label_smoothing and products <= MOST_PRODUCTS
    solver = getattr(config.policy, "head_solver", "auto")
    solves = can if solver == "auto" else solver == "solve"
    return Scope(len(model.backbone.stages), config.training.epochs, solves_head=solves)


@dataclass(frozen=True)
class Trained:
    """What is left of training beside the weights.

    Attributes:
        baseline: Where it was measured.
        seconds: What all phases took, the baseline included.
    """

    baseline: Baseline | None
    seconds: float


def _names_lost_examples(method: Callable[..., Any]) -> Callable[..., Any]:
    """Say which examples cannot be read any more where a method of a job fails of that."""

    @functools.wraps(method)
    def call(job: "Job", *arguments: Any) -> Any:
        try:
            return method(job, *arguments)
        except (tf.errors.OpError, OSError) as error:
            lost = [line for split in job.splits for line in job.reader.find_lost(split)]
            if not lost:
                raise
            raise DataError(
                f"{len(lost)} examples cannot be read any more, which could be before training:\n{list_lines(lost)}\n"
                "Put them back, or remove them, and run again."
            ) from error

    return call


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
        distribution: The devices and processes that share the job.
    """

    config: RecipeConfig
    splits: Splits
    record: dict[str, Any]
    reader: Reader
    model: TransferModel
    phases: tuple[Phase, ...]
    measured: Baseline | None = None
    distribution: Distribution = ONE_DEVICE
    label_texts: Split | None = None

    @_names_lost_examples
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
        inputs = self.inputs(phase, range(first_epoch, first_epoch + phase.epochs))
        baseline = self.baseline if any(phase.solve for phase in self.phases[:longest]) else None
        return run_range_test(
            self.model,
            phase,
            config=self.config.training,
            trainer=inputs.trainer,
            batches=inputs.batches,
            head=baseline.head if baseline else None,
        )

    def with_learning_rate(self, learning_rate: float) -> "Job":
        """Return the same job with this as its training.learning_rate."""
        training = self.config.training.model_copy(update={"learning_rate": learning_rate})
        return replace(self, config=self.config.model_copy(update={"training": training}), measured=self.baseline)

    def with_policy(self, policy: str) -> "Job":
        """Return the same job with a policy that ``auto`` chooses from."""
        section = candidate_section(cast(AutoPolicyConfig, self.config.policy), policy)
        config = self.config.model_copy(update={"policy": section})
        phases = plan(section, find_scope(config, self.model, self.splits))
        return replace(self, config=config, phases=phases, measured=self.measured)

    @_names_lost_examples
    def train(self, observers: Observers | None = None, checkpoints: Checkpoints | None = None) -> Trained:
        """Run all phases, or what is left of them.

        Args:
            observers: Trackers, which receive each epoch, and the user's callbacks; by default none.
            checkpoints: The run's; a job that is resumed has ``measured`` what the run had.

        Returns:
            What :meth:`judge` needs.

        Raises:
            TrainingError: Loss or features became something that is no number; the last good weights are in the model.
            RunInterrupted: SIGTERM came.
        """
        keeper = WeightKeeper(self.config.training.keep, self.model.trainer)
        course = Course(keeper, observers or Observers(), checkpoints, self.distribution)
        resumes = checkpoints is not None and checkpoints.resumes
        baseline = self.measured if resumes else self.baseline
        watch, start = Stopwatch(), Position()
        if checkpoints is not None:
            start = checkpoints.position
            checkpoints.add("weights", Variables("weights", self.model.trainer.variables))
            checkpoints.add("keeper", keeper)
            checkpoints.add("callbacks", course.observers.callbacks)
            checkpoints.add("training_seconds", watch)
            checkpoints.hold("baseline", baseline and baseline.to_state())
        first_epoch, optimizer, last = 0, None, len(self.phases) - 1
        for number, phase in enumerate(self.phases):
            epochs = range(first_epoch, first_epoch + phase.epochs)
            first_epoch = epochs.stop
            # A phase that is over is entered once more where another one comes that takes on its optimizer.
            if number < start.phase or start == Position(last, phase.epochs):
                continue
            if phase.solve and baseline is not None:
                self._put_on(baseline, number, course)
                if checkpoints is not None and number == last:
                    checkpoints.save(Position(number, phase.epochs))
            else:
                optimizer = self._train_phase(number, epochs, course, optimizer)
        return Trained(baseline, watch.seconds + (baseline.seconds if baseline else 0.0))

    @_names_lost_examples
    def judge(self, trained: Trained) -> tuple[Head, Sequence[Report]]:
        """Compare predictions for validation and test rows with the truth.

        Args:
            trained: What :meth:`train` gave.

        Returns:
            The head, with what is chosen on validation rows, and a report a split; where stages were trained beside a
            solved head, it says what that bought.
        """
        splits = [split for split in (self.splits.validation, self.splits.test) if len(split)]
        predicted = {split.name: self._predict(split) for split in splits}
        head = self.head
        if len(self.splits.validation):
            head = head.calibrate(predicted["validation"], self.splits.validation.targets)
        return head, [self._report(head, split, predicted[split.name], trained) for split in splits]

    def _report(self, head: TargetHead, split: Split, predicted: _Floats, trained: Trained) -> Report:
        report = head.report(split.name, predicted, split.targets)
        if trained.baseline is None or all(phase.solve for phase in self.phases):
            return report
        gain = measure_gain(
            head.figure,
            lambda rows, counts: head.score(rows, split.targets, counts),
            predicted,
            trained.baseline.predicted[split.name],
            head_seconds=trained.baseline.seconds,
            seconds=trained.seconds,
        )
        return replace(report, gain=gain)

    @cached_property
    def folds(self) -> Folds:
        """Of the training rows, for cross-validation."""
        targets = self.splits.train.targets
        strata = self.splits.target.strata(targets, least=MOST_FOLDS, most=len(targets))
        return draw_folds(strata, self.config.seed)

    @property
    def head(self) -> TargetHead:
        """Pre-training, whose head is another, has a job of its own."""
        return cast(TargetHead, self.model.head)

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
        return FeatureCache(self.config.cache, self.reader, self.distribution)

    def _measure_baseline(self) -> Baseline:
        started = time.perf_counter()
        train = self.splits.train
        features = {"train": self.cache.pooled(self.model, train)[0]}
        labels = self._label_features()
        head = None
        if self.distribution.is_chief:
            head = self.head.solve(features["train"], train.targets, self._weights(train), self.folds, labels)
        head = self.distribution.broadcast(head)
        seconds = time.perf_counter() - started
        predicted = {}
        for split in (self.splits.validation, self.splits.test):
            if len(split):
                # The head is judged as the model will be, over the same flips.
                views = self.cache.pooled(self.model, split, flips=True)
                features[split.name] = views[0]
                each = [self.model.head.predictions(view @ head.kernel + head.bias) for view in views]
                predicted[split.name] = np.mean(each, axis=0)
        return Baseline(head, features, predicted, seconds)

    def _label_features(self) -> _Floats | None:
        """What the outputs are called, in the network's words, where there are few rows to learn from."""
        labels = self.label_texts
        if labels is None or len(self.splits.train) > MOST_HINTED_ROWS * len(labels):
            return None
        return self.cache.pooled(self.model, labels)[0]

    def _started(self, number: int, steps: int) -> PhaseStarted:
        phase = self.phases[number]
        return PhaseStarted(phase.name, number + 1, len(self.phases), phase.epochs, steps)

    def _put_on(self, baseline: Baseline, number: int, course: Course) -> None:
        rows = {"": (baseline.features["train"], self.splits.train.targets)}
        if len(self.splits.validation):
            rows["val_"] = (baseline.features["validation"], self.splits.validation.targets)
        solve_phase(
            self.model,
            self.phases[number],
            baseline.head,
            rows=rows,
            seconds=baseline.seconds,
            course=course,
            started=self._started(number, 0),
        )

    def _train_phase(self, number: int, epochs: range, course: Course, earlier: StagedAdamW | None) -> StagedAdamW:
        phase, steps = self.phases[number], steps_per_epoch(len(self.splits.train), self.config.training.batch_size)
        start = course.checkpoints.position if course.checkpoints else Position()
        skip = start.epoch * steps + start.step if number == start.phase else 0
        scaling = self.config.distribution.learning_rate_scaling
        return train_phase(
            self.model,
            replace(phase, rate=phase.rate * self.distribution.rate_factor(scaling)),
            self.inputs(phase, epochs, skip),
            course,
            config=self.config.training,
            started=self._started(number, steps),
            earlier=earlier,
        )

    def inputs(self, phase: Phase, epochs: range, skip: int = 0) -> Inputs:
        """Return what is trained, its batches, and batches of the validation rows.

        Args:
            phase: Says which stages are frozen.
            epochs: Their numbers.
            skip: How many batches are left out at the beginning.
        """
        return self._kept_inputs(phase, epochs, skip) or self._whole_inputs(phase, epochs, skip)

    def _whole_inputs(self, phase: Phase, epochs: range, skip: int) -> Inputs:
        """The whole trainer, and examples for it."""
        train, validation = self.splits.train, self.splits.validation
        batches = self.reader.training_batches(
            train,
            self._encode(train),
            self._weights(train),
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            epochs=epochs,
            skip=skip,
            share=self.distribution.share,
        )
        trainer = self.model.freeze(phase.frozen_stages(self._stages))
        held_out = self._evaluation_batches(validation, self.distribution.share) if len(validation) else None
        return Inputs(trainer, batches, held_out)

    def _kept_inputs(self, phase: Phase, epochs: range, skip: int) -> Inputs | None:
        """The part of the trainer behind the frozen stages, and features for it, where those can be kept."""
        frozen = phase.frozen_stages(self._stages)
        training, splits = self.config.training, self.splits
        if not self.cache.serves(frozen):
            return None
        features = self.cache.training(self.model, frozen, splits.train, epochs)
        if features is None:
            return None
        batches = features.batches(
            self._encode(splits.train),
            self._weights(splits.train),
            batch_size=training.batch_size,
            seed=self.config.seed,
            epochs=epochs,
            skip=skip,
            share=self.distribution.share,
        )
        validation = None
        if len(splits.validation):
            held_out = self.cache.evaluation(self.model, frozen, splits.validation)
            if held_out is None:
                return None
            validation = held_out.evaluation_batches(
                self._encode(splits.validation), batch_size=training.batch_size, share=self.distribution.share
            )
        return Inputs(self.model.tail(frozen), batches, validation)

    def _predict(self, split: Split) -> _Floats:
        frozen = min(phase.frozen_stages(self._stages) for phase in self.phases)
        features = None
        if frozen and self.config.cache.views:
            features = self.cache.evaluation(self.model, frozen, split, flips=True)
        share = self.distribution.rows
        if features is None:
            batches = self._evaluation_batches(split, share)
            return self._join(predict(self.model.predictor, batches), split, self.config.training.batch_size)
        tail = self.model.tail(frozen)
        targets, each = self._encode(split), []
        for view in range(len(features.arrays[0])):
            batches = features.evaluation_batches(targets, batch_size=_PREDICT_BATCH, view=view, share=share)
            raw = self._join(predict(tail, batches), split, _PREDICT_BATCH)
            each.append(self.model.head.predictions(raw))
        return np.mean(each, axis=0, dtype=np.float32)

    def _join(self, predicted: _Floats, split: Split, batch_size: int) -> _Floats:
        """What every process predicted for its rows, in the order of the rows."""
        batches = self.reader.evaluation_order(split, batch_size=batch_size)
        mine = np.concatenate(self.distribution.rows.divide_evaluation(batches))
        everybody = self.distribution.gather((mine, predicted))
        rows, outputs = (np.concatenate(parts) for parts in zip(*everybody, strict=True))
        joined = np.empty_like(outputs)
        joined[rows] = outputs
        return joined

    def _evaluation_batches(self, split: Split, share: Share = WHOLE) -> Any:
        size = self.config.training.batch_size
        return self.reader.evaluation_batches(split, self._encode(split), batch_size=size, share=share)

    def _weights(self, split: Split) -> _Floats:
        return split.weights * self.model.head.class_weights(split.targets, self.config.training.class_weights)

    def _encode(self, split: Split) -> _Floats:
        return self.model.head.encode(split.targets)
