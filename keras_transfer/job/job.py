"""A recipe with its data and weights loaded: its model, its batches and its phases, ready for training.

If stages next to the input are frozen, they are run once and their output is cached (frozen/cache.py); training and
evaluation then start after them.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.policies import AutoPolicyConfig
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.config.unused import without_unused
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.distribution import ONE_DEVICE, Distribution
from keras_transfer.errors import CheckpointError, ConfigError, DataError, TrainingError, list_lines
from keras_transfer.frozen.baseline import Baseline, measure_baseline
from keras_transfer.heads import TargetHead
from keras_transfer.heads.solver import MOST_FOLDS, Folds, draw_folds
from keras_transfer.job.batches import BatchMaker
from keras_transfer.job.judging import FOLDS, MOST_ROWS, add_gains, predict_held_out
from keras_transfer.job.phases import find_scope, plan_phases
from keras_transfer.model import TransferModel
from keras_transfer.networks.types import Batches, Optimizer
from keras_transfer.tasks import Evaluation, Task, TrainedModel
from keras_transfer.trackers.records import PhaseStarted
from keras_transfer.training.callbacks import BestWeights
from keras_transfer.training.checkpointing import Checkpoints, Position, Stopwatch, Variables
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts
from keras_transfer.training.lr_finder import RangeTest, run_range_test
from keras_transfer.training.monitors import find_monitors
from keras_transfer.training.observers import Observers
from keras_transfer.training.phase import (
    PlannedPhase,
    RunState,
    SolvedPhase,
    apply_phase,
    restored,
    solve_phase,
    train_phase,
)
from keras_transfer.training.policies import Phase, candidate_section


@dataclass(frozen=True)
class Trained:
    """The result of training, apart from the weights.

    Attributes:
        baseline: The solved head, if the job measured it.
        seconds: Duration of all phases, including the baseline.
        held_out: ``float32[rows, outputs]`` for training rows by networks that were fine-tuned without them; None if
            they are not needed.
        untrained: What the task computed before the first phase; see :meth:`Task.predict_untrained`.
    """

    baseline: Baseline | None
    seconds: float
    held_out: NDArray[np.float32] | None = None
    untrained: Any = None


def _names_lost_examples(method: Callable[..., Any]) -> Callable[..., Any]:
    """If a method of a job fails because examples can no longer be read, raise an error that names them."""

    @functools.wraps(method)
    def call(job: "Job", *arguments: Any, **options: Any) -> Any:
        try:
            return method(job, *arguments, **options)
        except (tf.errors.OpError, OSError) as error:
            damaged = job.batches.cache.find_damage()
            if damaged:
                raise TrainingError(
                    f"Cached features can no longer be read:\n{list_lines(damaged)}\n"
                    "Run again: they will be computed again."
                ) from error
            lost = [line for split in job.splits for line in job.reader.find_lost(split)]
            if not lost:
                raise
            raise DataError(
                f"{len(lost)} examples that could be read before training can no longer be read:\n{list_lines(lost)}\n"
                "Restore them, or remove them from the data, and run again."
            ) from error

    return call


@dataclass(frozen=True)
class Job:
    """A recipe that is ready for training: ``recipe.prepare()`` returns it.

    ``recipe.fit()`` trains it phase by phase. For a custom training loop, :meth:`apply` prepares the model for a phase,
    and :meth:`training_batches`, :attr:`validation_batches` and :attr:`test_batches` are its data.

    Attributes:
        task: The task of the recipe.
        config: The recipe.
        splits: The splits, scanned and prepared by the reader.
        loaded: The same rows before the reader: images, texts or recordings.
        record: The content of data.json.
        reader: Makes batches of the splits.
        model: The untrained model; ``model.trainer`` is the Keras model from batches to raw outputs (logits, or
            standardized numbers), ``model.predictor`` the same layers to predictions.
        phases: The phases of training.
        measured: A baseline that has already been measured.
        distribution: The devices and processes that share the job.
        label_texts: An example per output that describes it in words, or None.
        custom: Loss, metrics and optimizer given from Python.

    Example:
        >>> job = ImageClassification("images/", policy="full").prepare()  # doctest: +SKIP
        >>> for phase in job.phases:  # doctest: +SKIP
        ...     model = job.apply(phase)
        ...     model.fit(job.training_batches(range(phase.epochs)), validation_data=job.validation_batches)
    """

    task: Task
    config: RecipeConfig
    splits: Splits
    loaded: Splits
    record: dict[str, Any]
    reader: Reader
    model: TransferModel
    phases: tuple[Phase, ...]
    measured: Baseline | None = None
    distribution: Distribution = ONE_DEVICE
    label_texts: Split | None = None
    custom: CustomParts = BUILT_IN

    # For a custom training loop.

    @_names_lost_examples
    def apply(self, phase: Phase) -> keras.Model:
        """Prepare the model for a phase: solve the head if the phase does, set what trains, and compile.

        Args:
            phase: One of :attr:`phases`, in their order.

        Returns:
            The compiled model. It takes :meth:`training_batches`. A phase with ``solve`` needs no further training.
        """
        if phase.solve and self.baseline is not None:
            self.baseline.put_on(self.model)
        trainer = self.model.freeze(phase.frozen_stages(self._stages))
        steps = phase.epochs * self.batches.steps
        config, custom = self.config.training, self.custom
        return apply_phase(self.model, phase, config=config, steps=steps, trainer=trainer, custom=custom).trainer

    def training_batches(self, epochs: range = range(1)) -> Batches:
        """Return a dataset of all batches of several epochs: (inputs, encoded targets, weights).

        Args:
            epochs: Their numbers, on which order and augmentation depend; by default the first.
        """
        return self.batches.example_inputs(self.phases[-1], epochs).batches

    @property
    def steps_per_epoch(self) -> int:
        """The number of training batches in an epoch."""
        return self.batches.steps

    @property
    def validation_batches(self) -> Batches | None:
        """A dataset of the validation rows, (inputs, encoded targets); None if there are none."""
        return self.batches.evaluation_batches(self.splits.validation) if len(self.splits.validation) else None

    @property
    def test_batches(self) -> Batches | None:
        """A dataset of the test rows, (inputs, encoded targets); None if there are none."""
        return self.batches.evaluation_batches(self.splits.test) if len(self.splits.test) else None

    # The same job with other settings.

    def with_learning_rate(self, learning_rate: float) -> "Job":
        """Return the same job with a value of training.learning_rate."""
        training = self.config.training.model_copy(update={"learning_rate": learning_rate})
        return replace(self, config=self.config.model_copy(update={"training": training}), measured=self.baseline)

    def with_policy(self, policy: str) -> "Job":
        """Return the same job with one of the candidate policies of ``auto``."""
        section = candidate_section(cast(AutoPolicyConfig, self.config.policy), policy)
        config = without_unused(self.config.model_copy(update={"policy": section}))
        return replace(self, config=config, phases=plan_phases(config, self.model, self.splits, self.custom))

    # Training.

    @_names_lost_examples
    def find_learning_rate(self) -> RangeTest:
        """Try learning rates on the phase that trains longest, the last of several; the weights do not change.

        If a solved head precedes that phase, the test starts from it. Other phases before it are skipped.

        Returns:
            The curve, which suggests a value of training.learning_rate.

        Raises:
            ConfigError: No phase has a learning rate.
            TrainingError: Loss or features are NaN or infinite.
        """
        longest = max(
            (index for index, phase in enumerate(self.phases) if not phase.solve),
            key=lambda index: (self.phases[index].epochs, index),
            default=None,
        )
        if longest is None:
            raise ConfigError(
                f"policy.name={self.config.policy.name} only solves the head, so there is no learning rate to find. "
                "Set policy.head_solver=sgd, or a policy that trains stages, such as last_stages."
            )
        phase, first_epoch = self.phases[longest], sum(phase.epochs for phase in self.phases[:longest])
        inputs = self.batches.inputs(phase, range(first_epoch, first_epoch + phase.epochs))
        baseline = self.baseline if any(phase.solve for phase in self.phases[:longest]) else None
        return run_range_test(
            self.model,
            phase,
            config=self.config.training,
            inputs=inputs,
            head=baseline.head if baseline else None,
            custom=self.custom,
        )

    @_names_lost_examples
    def train(self, observers: Observers | None = None, checkpoints: Checkpoints | None = None) -> Trained:
        """Run all remaining phases.

        Args:
            observers: Trackers, which receive each epoch, and the user's callbacks; by default none.
            checkpoints: The run's checkpoints; for a resumed job, ``measured`` is the baseline of the run.

        Returns:
            What :meth:`evaluate` needs.

        Raises:
            TrainingError: Loss or features became NaN or infinite; the last good weights are in the model.
            RunInterrupted: The process received SIGTERM.
        """
        keeps_best = self.config.training.keeps_best(len(self.splits.validation))
        monitor = find_monitors(self.config.training, self.model.head, self.custom).keep
        best = BestWeights(monitor if keeps_best else None)
        state = RunState(best, observers or Observers(), checkpoints, self.distribution, self.custom)
        if checkpoints is not None and checkpoints.resumes:
            self._check_position(checkpoints.position)
            baseline = self.measured
            held_out, untrained = checkpoints.state_of("held_out"), checkpoints.state_of("untrained")
        else:
            baseline = self._with_curve(self.baseline)
            held_out = self._hold_out(baseline)
            untrained = self.task.predict_untrained(self._describe_model(frozen=self._stages))
        watch, start = Stopwatch(), Position()
        if checkpoints is not None:
            start = checkpoints.position
            checkpoints.add("weights", Variables("weights", self.model.trainer.variables))
            checkpoints.add("custom", self.custom)
            checkpoints.add("best_weights", best)
            checkpoints.add("callbacks", state.observers.callbacks)
            checkpoints.add("training_seconds", watch)
            checkpoints.hold("baseline", baseline and baseline.to_state())
            checkpoints.hold("held_out", held_out)
            checkpoints.hold("untrained", untrained)
        first_epoch, optimizer, last = 0, None, len(self.phases) - 1
        for number, phase in enumerate(self.phases):
            epochs = range(first_epoch, first_epoch + phase.epochs)
            first_epoch = epochs.stop
            # A phase that has ended is entered again if the next phase takes over its optimizer.
            if number < start.phase or start == Position(last, phase.epochs):
                continue
            if phase.solve and baseline is not None:
                self._put_on(baseline, number, state)
                if checkpoints is not None and number == last:
                    checkpoints.save(Position(number, phase.epochs))
            else:
                optimizer = self._train_phase(number, epochs, state, optimizer)
        return Trained(baseline, watch.seconds + (baseline.seconds if baseline else 0.0), held_out, untrained)

    def _hold_out(self, baseline: Baseline | None) -> NDArray[np.float32] | None:
        """Predictions of training rows that calibrate a network without validation rows, if there are few rows."""
        *before, phase = self.phases
        train, solves = self.splits.train, [earlier.solve for earlier in before] == [True]
        if len(self.splits.validation) or len(train) > MOST_ROWS or phase.solve or (before and not solves):
            return None
        if not isinstance(self.model.head, TargetHead) or self.custom.names or self.distribution.processes > 1:
            return None
        folds = draw_folds(self._strata, self.config.seed, train.groups, most=FOLDS)
        start = sum(earlier.epochs for earlier in before)
        epochs = range(start, start + phase.epochs)
        return predict_held_out(self.batches, phase, epochs, folds, baseline if solves else None) if folds else None

    def _with_curve(self, baseline: Baseline | None) -> Baseline | None:
        """Measure the learning curve while features are those of the pretrained network."""
        if baseline is None or not self.config.report or not self.distribution.is_chief:
            return baseline
        return baseline.with_curve(
            cast(TargetHead, self.model.head),
            self.splits,
            weights=self.batches.weights(self.splits.train),
            strata=self._strata,
            seed=self.config.seed,
        )

    def _check_position(self, start: Position) -> None:
        """Refuse a checkpoint of another plan, which would silently skip phases."""
        count = len(self.phases)
        if (
            start.phase < count
            and start.epoch <= self.phases[start.phase].epochs
            and start.step <= self.batches.steps
            and not (self.phases[start.phase].solve and self.measured and start.epoch < self.phases[start.phase].epochs)
        ):
            return
        raise CheckpointError(
            f"The checkpoint does not fit the run: it was written in phase {start.phase + 1}, epoch {start.epoch}, "
            f"step {start.step}, but the run has {count} phases of "
            f"{', '.join(str(phase.epochs) for phase in self.phases)} epochs with {self.batches.steps} "
            "steps each. Start the run again in another --out."
        )

    def _started(self, number: int, steps: int) -> PhaseStarted:
        phase = self.phases[number]
        return PhaseStarted(phase.name, number + 1, len(self.phases), phase.epochs, steps)

    def _put_on(self, baseline: Baseline, number: int, state: RunState) -> None:
        rows = {"": (baseline.features["train"], self.splits.train.targets)}
        if len(self.splits.validation):
            rows["val_"] = (baseline.features["validation"], self.splits.validation.targets)
        started = self._started(number, 0)
        solved = SolvedPhase(baseline.head, rows, baseline.seconds, self.config.training, started)
        solve_phase(self.model, self.phases[number], solved, state)

    def _train_phase(self, number: int, epochs: range, state: RunState, earlier: Optimizer | None) -> Optimizer:
        phase, steps = self.phases[number], self.batches.steps
        start = state.checkpoints.position if state.checkpoints else Position()
        skip = start.epoch * steps + start.step if number == start.phase else 0
        scaling = self.config.distribution.learning_rate_scaling
        scaled = replace(phase, rate=phase.rate * self.distribution.rate_factor(scaling))
        planned = PlannedPhase(scaled, self.config.training, self._started(number, steps), earlier)
        return train_phase(self.model, planned, self.batches.inputs(phase, epochs, skip), state)

    @_names_lost_examples
    def evaluate(self, trained: Trained) -> Evaluation:
        """Evaluate the model on validation and test rows.

        Args:
            trained: The result of :meth:`train`.

        Returns:
            The head with what is chosen on validation rows, and a report per split. If stages were trained in addition
            to a solved head, each report has the gain.
        """
        frozen = min(phase.frozen_stages(self._stages) for phase in self.phases)
        is_solved = trained.baseline is not None and all(phase.solve for phase in self.phases)
        held_out = trained.baseline.head.held_out if trained.baseline and is_solved else trained.held_out
        model = replace(self._describe_model(frozen), held_out=held_out, untrained=trained.untrained)
        evaluation = self.task.evaluate_trained(model)
        if trained.baseline is None or is_solved:
            return evaluation
        return add_gains(evaluation, model.evaluated, trained.baseline, seconds=trained.seconds)

    def _describe_model(self, frozen: int) -> TrainedModel:
        """The model for a task to evaluate; no phase has trained the first stages."""
        return TrainedModel(
            self.config, self.splits, self.reader, self.model, predict=functools.partial(self.batches.predict, frozen)
        )

    # Computed once.

    @cached_property
    def batches(self) -> BatchMaker:
        """Makes the batches of the phases."""
        return BatchMaker(self.config, self.splits, self.reader, self.model, self.distribution)

    @cached_property
    def folds(self) -> Folds:
        """Folds of the training rows, for cross-validation; groups stay together."""
        return draw_folds(self._strata, self.config.seed, self.splits.train.groups)

    @property
    def _strata(self) -> list[str]:
        targets = self.splits.train.targets
        return self.splits.target.strata(targets, least=MOST_FOLDS, most=len(targets))

    @cached_property
    def baseline(self) -> Baseline | None:
        """The solved head on the pretrained network, if the job needs it."""
        if self.measured is not None or not self._needs_baseline:
            return self.measured
        baseline = measure_baseline(
            self.model,
            self.splits,
            self.batches.cache,
            weights=self.batches.weights(self.splits.train),
            folds=self.folds,
            label_texts=self.label_texts,
            distribution=self.distribution,
        )
        return self._predict_whole(baseline)

    def _predict_whole(self, baseline: Baseline) -> Baseline:
        """The baseline evaluated like the model: cached features do not cover examples that are cut."""
        held_out = (self.splits.validation, self.splits.test)
        cut = [split for split in held_out if len(split) and self.reader.cuts(split)]
        if not cut:
            return baseline
        with restored(self.model.top.variables):
            baseline.put_on(self.model)
            predicted = {split.name: self.batches.predict(0, split) for split in cut}
        return replace(baseline, predicted={**baseline.predicted, **predicted})

    @property
    def _needs_baseline(self) -> bool:
        return any(phase.solve for phase in self.phases) or (
            len(self.phases) > 1 and find_scope(self.config, self.model, self.splits, self.custom).solves_head
        )

    @property
    def _stages(self) -> int:
        return len(self.model.backbone.stages)
