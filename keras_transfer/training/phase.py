"""One phase: set what trains, compile, fit. The only place where ``trainable`` is set."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.config import TrainingConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.distribution import ONE_DEVICE, Distribution, chosen_jit
from keras_transfer.errors import PolicyError
from keras_transfer.heads import LOGITS
from keras_transfer.heads.solver import SolvedHead
from keras_transfer.model import TransferModel
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.lora import find_adapters
from keras_transfer.networks.stages import Stage
from keras_transfer.trackers import EpochEnded, PhaseEnded, PhaseStarted
from keras_transfer.training.callbacks import WeightKeeper
from keras_transfer.training.checkpointing import Checkpointer, Checkpoints, EarlyStopping
from keras_transfer.training.observers import Observers, PhaseTracking
from keras_transfer.training.optimizer import StagedAdamW, build_optimizer
from keras_transfer.training.policies import Phase


def set_trainable(stages: Sequence[Stage], phase: Phase) -> None:
    """Let a phase's weights train and freeze the others; what was compiled before must be compiled again.

    Keras runs a BatchNorm layer whose ``trainable`` is False on its stored statistics, also in training.

    Args:
        stages: Of the backbone. Where the phase trains adapters, they are there already.
        phase: Says which stages train, which of their weights, and what becomes of their BatchNorm layers.
    """
    for stage in stages:
        for layer in stage.layers:
            layer.trainable = False
        if stage.index not in phase.stages:
            continue
        if phase.lora_rank is not None:
            for factor in (factor for adapter in find_adapters([stage]) for factor in adapter.factors):
                factor.trainable = True
            continue
        # A layer comes before those inside it, which have the last word.
        for part in (part for layer in stage.layers for part in parts(layer)):
            part.trainable = phase.batch_norm == "adapt" or not isinstance(part, keras.layers.BatchNormalization)
            for weight in part.trainable_weights:
                weight.trainable = _is_chosen(part, weight, phase)


_LAYER_NORMS = (keras.layers.LayerNormalization, keras.layers.RMSNormalization)


def _is_chosen(layer: keras.layers.Layer, weight: keras.Variable, phase: Phase) -> bool:
    if phase.weights == "batch_norm":
        return isinstance(layer, keras.layers.BatchNormalization)
    if phase.weights == "layer_norm":
        return isinstance(layer, _LAYER_NORMS)
    return phase.weights == "all" or weight.name in ("bias", "beta")


def rate_factors(model: TransferModel, phase: Phase, variables: Sequence[keras.Variable]) -> list[float]:
    """Return each variable's factor on the learning rate: 1 in the head, less from stage to stage towards the input.

    Howard and Ruder 2018 (arXiv 1801.06146) divide by 2.6 a layer.

    Args:
        model: Says where a variable lies.
        phase: Says how much less.
        variables: What trains.
    """
    depth = {
        id(weight): len(model.backbone.stages) - stage.index
        for stage in model.backbone.stages
        for weight in stage.weights
    }
    return [phase.stage_decay ** depth.get(id(variable), 0) for variable in variables]


def set_batch_norm_memory(stages: Sequence[Stage], steps: int) -> None:
    """Let the statistics of adapting BatchNorm layers span the last tenth of a phase.

    Keras' momentum of 0.99 remembers some hundred steps. On a few hundred images that is several epochs, and the
    stored statistics lag behind the weights; in a long phase a shorter memory would only add noise.

    Args:
        stages: Of the backbone.
        steps: Of the phase.
    """
    momentum = min(max(1.0 - 10.0 / steps, 0.9), 0.99)
    for layer in (layer for stage in stages for layer in stage.layers):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            layer.momentum = momentum


@dataclass(frozen=True)
class PhaseSummary:
    """What a phase trains.

    Attributes:
        phase: The phase.
        stages: Names of the backbone's stages that train.
        trained: How many numbers train.
        total: How many there are.
    """

    phase: Phase
    stages: tuple[str, ...]
    trained: int
    total: int


def summarize(model: TransferModel, phases: Sequence[Phase]) -> list[PhaseSummary]:
    """Count what each phase will train.

    Args:
        model: The model; its ``trainable`` flags are left as the last phase sets them.
        phases: In order.

    Returns:
        A summary a phase.

    Raises:
        PolicyError: A phase that should train weights of the backbone would train none.
    """
    summaries = []
    for phase in phases:
        set_trainable(model.backbone.stages, phase)
        chosen = [model.backbone.stages[index] for index in phase.stages]
        names = tuple(stage.name for stage in chosen)
        if chosen and not any(weight.trainable for stage in chosen for weight in stage.weights):
            raise PolicyError(
                f"policy.name={phase.name} would train nothing: {model.backbone.name} has no such weights that "
                f"policy.batch_norm={phase.batch_norm} lets train. Use another policy, such as last_stages."
            )
        trained = sum(math.prod(weight.shape) for weight in model.trainer.trainable_weights)
        summaries.append(PhaseSummary(phase, names, trained, model.trainer.count_params()))
    return summaries


@contextlib.contextmanager
def restored(variables: Sequence[Any]) -> Iterator[None]:
    """Put back, bit for bit, what variables hold now.

    Args:
        variables: Those of a model include the states of its seeds, which its weights do not.

    Yields:
        Nothing.
    """
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def compile_phase(
    model: TransferModel, phase: Phase, *, config: TrainingConfig, trainer: keras.Model, steps: int
) -> StagedAdamW:
    """Let a phase's weights train, and give them an optimizer.

    Args:
        model: Its ``trainable`` flags change.
        phase: Says what trains.
        config: Says how.
        trainer: Is compiled: the model's ``trainer``, or the part of it that begins where the frozen stages end.
        steps: Of the whole phase.

    Returns:
        The optimizer.
    """
    set_trainable(model.backbone.stages, phase)
    set_batch_norm_memory(model.backbone.stages, steps)
    variables = trainer.trainable_variables
    pretrained = {id(weight) for weight in model.backbone.network.weights}  # a head may be tied to some
    optimizer = build_optimizer(
        config,
        rate=phase.rate,
        steps=steps,
        variables=variables,
        factors=rate_factors(model, phase, variables),
        new_variables=[weight for weight in model.top.trainable_variables if id(weight) not in pretrained],
    )
    trainer.compile(
        optimizer=optimizer,
        loss=model.head.loss(label_smoothing=config.label_smoothing),
        metrics=model.head.metrics(),
        jit_compile=chosen_jit(),
    )
    return optimizer


@dataclass(frozen=True)
class Inputs:
    """What a phase trains, and on what.

    Attributes:
        trainer: The model's ``trainer``, or the part of it that begins where the frozen stages end.
        batches: A dataset of all batches of the phase, less those that were done before the run was resumed: what the
            trainer takes, encoded targets, weights. With several processes, of this one's slices.
        validation: A dataset of (what the trainer takes, encoded targets), or None.
    """

    trainer: keras.Model
    batches: Any
    validation: Any


@dataclass(frozen=True)
class Course:
    """What goes on from phase to phase.

    Attributes:
        keeper: Carries the best weights.
        observers: Trackers and the user's callbacks.
        checkpoints: The run's, or None.
        distribution: The devices and processes that share the run.
    """

    keeper: WeightKeeper
    observers: Observers = field(default_factory=Observers)
    checkpoints: Checkpoints | None = None
    distribution: Distribution = ONE_DEVICE


def train_phase(
    model: TransferModel,
    phase: Phase,
    inputs: Inputs,
    course: Course,
    *,
    config: TrainingConfig,
    started: PhaseStarted,
    earlier: StagedAdamW | None = None,
) -> StagedAdamW:
    """Run one phase, or what is left of it.

    Args:
        model: Its weights change.
        phase: What trains, for how long.
        inputs: On what.
        course: Of the run.
        config: How.
        started: What trackers receive of the phase: its place in the run, and its steps per epoch.
        earlier: The optimizer of the phase before: weights that go on training keep their slots.

    Returns:
        The optimizer.

    Raises:
        TrainingError: The loss became something that is no number; the model then holds the last good weights.
        RunInterrupted: SIGTERM came, and a checkpoint was taken.
    """
    trainer, keeper, checkpoints = inputs.trainer, course.keeper, course.checkpoints
    optimizer = compile_phase(model, phase, config=config, trainer=trainer, steps=phase.epochs * started.steps)
    if earlier is not None:
        optimizer.carry_over(earlier)
    keeper.begin_phase(optimizer)
    user, tracking = course.observers.callbacks, PhaseTracking(course.observers.trackers, started)
    # The user's callbacks may add metrics, which early stopping and trackers are to see.
    states: dict[str, Any] = {"keeper": keeper, "callbacks": user}
    if config.early_stopping is not None:
        stop = config.early_stopping
        mode = "min" if stop.metric.endswith("loss") or model.head.figure.is_error else "max"
        states["early_stopping"] = EarlyStopping(monitor=stop.metric, patience=stop.patience, mode=mode)
    states["epoch_seconds"] = tracking
    callbacks, first_epoch = [*states.values()], 0
    if checkpoints is not None:
        checkpointer = Checkpointer(
            checkpoints,
            started.number - 1,
            epochs=phase.epochs,
            steps=started.steps,
            trainer=trainer,
            trained=_places(model.trainer.variables, trainer.trainable_variables),
            targets=inputs.batches.element_spec[1],
            parts=states,
            before_leaving=keeper.on_test_end,
        )
        callbacks.append(checkpointer)
        user.skips = tracking.skips = checkpointer.skips
        first_epoch = checkpointer.begin()
    if first_epoch == phase.epochs:
        return optimizer
    with checkpoints.interruption.at_a_step() if checkpoints else contextlib.nullcontext():
        trainer.fit(
            course.distribution.feed(inputs.batches),
            epochs=phase.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=started.steps,
            validation_data=None if inputs.validation is None else course.distribution.feed(inputs.validation),
            callbacks=callbacks,
            shuffle=False,  # the batches are in their order already
            verbose=0,
        )
    return optimizer


def _places(variables: Sequence[Any], chosen: Sequence[Any]) -> list[int]:
    """Where variables stand among others: their names may differ from process to process."""
    places = {id(variable): place for place, variable in enumerate(variables)}
    return [places[id(variable)] for variable in chosen]


def solve_phase(
    model: TransferModel,
    phase: Phase,
    head: SolvedHead,
    *,
    rows: Mapping[str, tuple[NDArray[np.float32], Targets]],
    seconds: float,
    course: Course,
    started: PhaseStarted,
) -> None:
    """Put a solved head on.

    Args:
        model: The weights of its head change.
        phase: The phase.
        head: What was solved.
        rows: Pooled features and targets of the training rows under ``""``, of validation rows under ``"val_"``.
        seconds: What features and solution took.
        course: Of the run.
        started: What trackers receive of the phase.
    """
    set_trainable(model.backbone.stages, phase)
    model.top.get_layer(LOGITS).set_weights([head.kernel, head.bias])
    logs: dict[str, float] = {}
    for prefix, (features, targets) in rows.items():
        figures = model.head.measure(features @ head.kernel + head.bias, targets)
        logs |= {f"{prefix}{name}": value for name, value in figures.items()}
    course.keeper.on_epoch_end(0, logs)
    details: dict[str, str | float] = {"strength": head.strength}
    if head.uses_hints:
        details["label_texts"] = "used"
    trackers, metrics = course.observers.trackers, {name: float(value) for name, value in logs.items()}
    trackers.phase_started(started)
    trackers.epoch_ended(EpochEnded(started, 1, trackers.run_epochs + 1, metrics, seconds, details))
    trackers.phase_ended(PhaseEnded(started, 1))
