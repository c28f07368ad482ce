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

from keras_transfer.choice import (
    Choice,
    Fold,
    Speed,
    Trial,
    Work,
    choose,
    count_folds,
    cross_validate,
    estimate_seconds,
    find_affordable,
    try_on,
)
from keras_transfer.config import RecipeConfig
from keras_transfer.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from keras_transfer.data.splits import Split, Splits
from keras_transfer.errors import ConfigError
from keras_transfer.evaluation import Report, make_report, measure_gain, predict
from keras_transfer.features import FeatureCache
from keras_transfer.lr_finder import RangeTest, run_range_test
from keras_transfer.model import TransferModel, flip_axes
from keras_transfer.optimizers import StagedAdamW
from keras_transfer.policies import Phase, Scope, plan
from keras_transfer.progress import track
from keras_transfer.solver import MOST_PRODUCTS, SolvedHead, draw_folds, solve_head
from keras_transfer.training import WeightKeeper, solve_phase, train_phase

_Floats = NDArray[np.float32]
_PREDICT_BATCH = 256
_TIMED_ROWS = 64


def find_scope(config: RecipeConfig, model: TransferModel, splits: Splits) -> Scope:
    """Return what a policy has to divide.

    Args:
        config: ``policy.head_solver`` says whether a head that trains alone is solved, or leaves it to the size of the
            problem.
        model: With its head.
        splits: With the training rows.
    """
    products = len(splits.class_names) * model.top.input_shape[1] * len(splits.train)
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
        splits: Scanned.
        skipped: A line for each broken picture that was left out.
        model: Not yet trained.
        phases: What is to be done.
        measured: A baseline that was measured already.
    """

    config: RecipeConfig
    splits: Splits
    skipped: tuple[str, ...]
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
        trainer, batches, _ = self._inputs(phase, range(first_epoch, first_epoch + phase.epochs))
        baseline = self._baseline if any(phase.solve for phase in self.phases[:longest]) else None
        return run_range_test(
            self.model,
            phase,
            config=self.config.training,
            trainer=trainer,
            batches=batches,
            head=baseline.head if baseline else None,
        )

    def estimate(self) -> dict[str, float]:
        """Estimate how long each policy takes that ``auto`` chooses from, on these data and this machine.

        Returns:
            Seconds by policy.

        Raises:
            PolicyError: policy.budget_seconds does not allow for a single pass over the pictures.
        """
        config, splits = self.config, self.splits
        few = splits.train.select(range(min(len(splits.train), _TIMED_ROWS)))
        reading, network, start = self._cache.time(self.model, self._stages, few)
        frozen_stages = self._candidate("last_stages").phases[-1].frozen_stages(self._stages)
        _, frozen, _ = self._cache.time(self.model, frozen_stages, few)
        work = Work(
            rows=len(splits.train),
            validated=len(splits.validation),
            judged=(len(splits.validation) + len(splits.test)) * len(flip_axes(config.augmentation)),
            epochs=config.training.epochs,
            views=min(config.cache.views, config.training.epochs),
        )
        folds = {policy: len(self._folds(policy)) for policy in ("last_stages", "lp_ft")}
        estimates = estimate_seconds(work, Speed(reading, network, min(frozen, network), start), folds)
        find_affordable(estimates, config.policy.budget_seconds)
        return estimates

    def choose_policy(self) -> tuple["Job", Choice]:
        """Settle what ``policy.name: auto`` stands for.

        Returns:
            The same job with the policy that was chosen, and why it was.

        Raises:
            PolicyError: policy.budget_seconds does not allow for a single pass over the pictures.
            TrainingError: Features are no numbers.
        """
        estimates, budget = self.estimate(), self.config.policy.budget_seconds
        trials = self._try(find_affordable(estimates, budget))
        choice = choose(trials, estimates, budget, examples=np.bincount(self.splits.train.labels))
        return replace(self._candidate(choice.policy), measured=self._baseline), choice

    def with_learning_rate(self, learning_rate: float) -> "Job":
        """Return the same job with this as its training.learning_rate."""
        training = self.config.training.model_copy(update={"learning_rate": learning_rate})
        return replace(self, config=self.config.model_copy(update={"training": training}), measured=self._baseline)

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
        baseline = self._baseline
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

    def judge(self, trained: Trained) -> list[Report]:
        """Compare predictions for validation and test rows with the truth.

        Args:
            trained: What :meth:`train` gave.

        Returns:
            A report a split; where stages were trained beside a solved head, it says what that bought.
        """
        reports = []
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

    def _candidate(self, policy: str) -> "Job":
        """The same job with one of the policies that ``auto`` chooses from."""
        section = self.config.policy.model_copy(update={"name": policy, "budget_seconds": None})
        config = self.config.model_copy(update={"policy": section})
        return replace(self, config=config, phases=plan(section, find_scope(config, self.model, self.splits)))

    def _folds(self, policy: str) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        labels = self.splits.train.labels
        folds = draw_folds(labels, self.config.seed)
        return folds[: count_folds(len(labels), policy, len(folds))]

    def _try(self, policies: Sequence[str]) -> list[Trial]:
        """What cross-validation says of some candidates, the head among them; empty where it can say nothing."""
        tried = [policy for policy in policies if policy != "head" and self._folds(policy)]
        if self._baseline is None or self._baseline.head.held_out is None or not tried:
            return []
        # All are judged by the same rows: those of the folds that the slowest of them gets.
        folds = self._folds(tried[-1])
        rows = np.concatenate([held_out for _, held_out in folds])
        labels = self.splits.train.labels[rows]
        trials = [try_on("head", self._baseline.head.held_out[rows], labels)]
        for policy in tried:
            candidate = self._candidate(policy)
            phase = candidate.phases[-1]
            inputs = track((candidate._fold(self._baseline, *fold) for fold in folds), f"trying {policy}", len(folds))
            steps = phase.epochs * max(self._steps(len(learned)) for learned, _ in folds)
            predicted = cross_validate(self.model, phase, inputs, config=self.config.training, steps=steps)
            trials.append(try_on(policy, predicted, labels))
        return trials

    def _fold(self, baseline: Baseline, rows: NDArray[np.int64], held_out: NDArray[np.int64]) -> Fold:
        """What the last phase trains in a fold, on what, and the head that it begins with."""
        train, classes = self.splits.train, len(self.splits.class_names)
        job = replace(self, splits=replace(self.splits, train=train.fold(rows), validation=train.fold(held_out)))
        learned, phase, head = job.splits.train, self.phases[-1], None
        if self.phases[0].solve:
            weights = learned.weights * self._class_weights[learned.labels]
            features, strength = baseline.features["train"][rows], baseline.head.strength
            head = solve_head(features, learned.labels, weights, classes=classes, seed=0, strength=strength)
        return Fold(*job._inputs(phase, range(phase.epochs)), head)

    def _steps(self, rows: int) -> int:
        return steps_per_epoch(rows, self.config.training.batch_size)

    @property
    def _needs_baseline(self) -> bool:
        return any(phase.solve for phase in self.phases) or (
            len(self.phases) > 1 and find_scope(self.config, self.model, self.splits).solves_head
        )

    @cached_property
    def _baseline(self) -> Baseline | None:
        return self.measured or (self._measure_baseline() if self._needs_baseline else None)

    @cached_property
    def _cache(self) -> FeatureCache:
        config = self.config
        return FeatureCache(config.cache, data=config.data, augmentation=config.augmentation, seed=config.seed)

    def _measure_baseline(self) -> Baseline:
        started = time.perf_counter()
        train, classes = self.splits.train, len(self.splits.class_names)
        features = {"train": self._cache.pooled(self.model, train)[0]}
        weights = train.weights * self._class_weights[train.labels]
        head = solve_head(features["train"], train.labels, weights, classes=classes, seed=self.config.seed)
        seconds = time.perf_counter() - started
        predicted = {}
        for split in (self.splits.validation, self.splits.test):
            if len(split):
                # The head is judged as the model will be, over the same flips.
                views = self._cache.pooled(self.model, split, flips=True)
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
        trainer, batches, validation = self._inputs(phase, epochs)
        return train_phase(
            self.model,
            phase,
            config=self.config.training,
            trainer=trainer,
            batches=batches,
            steps=self._steps(len(self.splits.train)),
            validation=validation,
            keeper=keeper,
            history=history,
            earlier=earlier,
        )

    def _inputs(self, phase: Phase, epochs: range) -> tuple[keras.Model, Any, Any]:
        """What is trained, its batches, and validation batches or None."""
        return self._kept_inputs(phase, epochs) or self._whole_inputs(phase, epochs)

    def _whole_inputs(self, phase: Phase, epochs: range) -> tuple[keras.Model, Any, Any]:
        """The whole trainer, and pictures for it."""
        trainer = self.model.freeze(phase.frozen_stages(self._stages))
        validation = self.splits.validation
        batches = training_batches(
            self.splits.train,
            classes=len(self.splits.class_names),
            class_weights=self._class_weights,
            size=self.model.backbone.image_size,
            resize=self.config.data.resize,
            augmentation=self.config.augmentation,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            epochs=len(epochs),
            first_epoch=epochs.start,
        )
        return trainer, batches, self._evaluation_batches(validation) if len(validation) else None

    def _kept_inputs(self, phase: Phase, epochs: range) -> tuple[keras.Model, Any, Any] | None:
        """The part of the trainer behind the frozen stages, and features for it, where those can be kept."""
        frozen = phase.frozen_stages(self._stages)
        training, splits = self.config.training, self.splits
        if not self._cache.serves(frozen):
            return None
        features = self._cache.training(self.model, frozen, splits.train, epochs)
        if features is None:
            return None
        batches = features.batches(
            self._one_hot(splits.train),
            splits.train.weights * self._class_weights[splits.train.labels],
            batch_size=training.batch_size,
            seed=self.config.seed,
            epochs=epochs,
        )
        validation = None
        if len(splits.validation):
            held_out = self._cache.evaluation(self.model, frozen, splits.validation)
            if held_out is None:
                return None
            validation = held_out.evaluation_batches(self._one_hot(splits.validation), batch_size=training.batch_size)
        return self.model.split(frozen)[1], batches, validation

    def _predict(self, split: Split) -> _Floats:
        frozen = min(phase.frozen_stages(self._stages) for phase in self.phases)
        features = None
        if frozen and self.config.cache.views:
            features = self._cache.evaluation(self.model, frozen, split, flips=True)
        if features is None:
            return predict(self.model.predictor, self._evaluation_batches(split))
        _, rest = self.model.split(frozen)
        targets = self._one_hot(split)
        batches = [
            features.evaluation_batches(targets, batch_size=_PREDICT_BATCH, view=view)
            for view in range(len(features.arrays[0]))
        ]
        return np.mean([softmax(predict(rest, view), axis=1) for view in batches], axis=0, dtype=np.float32)

    def _evaluation_batches(self, split: Split) -> Any:
        return evaluation_batches(
            split,
            classes=len(self.splits.class_names),
            size=self.model.backbone.image_size,
            resize=self.config.data.resize,
            batch_size=self.config.training.batch_size,
        )

    def _one_hot(self, split: Split) -> _Floats:
        return np.eye(len(self.splits.class_names), dtype=np.float32)[split.labels]

    @cached_property
    def _class_weights(self) -> _Floats:
        classes = len(self.splits.class_names)
        if self.config.training.class_weights == "none":
            return np.ones(classes, np.float32)
        weights = compute_class_weight("balanced", classes=np.arange(classes), y=self.splits.train.labels)
        return np.asarray(weights, np.float32)
