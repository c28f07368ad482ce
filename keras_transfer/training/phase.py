"""One phase: set ``trainable``, compile, fit. ``trainable`` is set nowhere else."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import keras

from keras_transfer.config.training import TrainingConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.distribution import ONE_DEVICE, Distribution, chosen_jit
from keras_transfer.errors import PolicyError
from keras_transfer.heads import LOGITS
from keras_transfer.heads.solver import SolvedHead
from keras_transfer.model import TransferModel
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.lora import find_adapters
from keras_transfer.networks.stages import Stage
from keras_transfer.networks.types import Batches, Callback, FloatArray, Model, Optimizer, Variable
from keras_transfer.trackers.records import EpochEnded, PhaseEnded, PhaseStarted
from keras_transfer.training.accumulation import AccumulatingOptimizer, count_updates
from keras_transfer.training.callbacks import Averages, BestWeights, EarlyStopping, NanGuard, TrainedWeights
from keras_transfer.training.checkpointing import CheckpointedPhase, Checkpointer, Checkpoints, Stateful
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts
from keras_transfer.training.monitors import find_monitors
from keras_transfer.training.observers import Observers, PhaseTracking, UserCallbacks
from keras_transfer.training.optimizer import StagedAdamW, build_optimizer, rate_factors
from keras_transfer.training.policies import Phase


def set_trainable(stages: Sequence[Stage], phase: Phase) -> list[Variable]:
    """Make a phase's weights trainable and freeze the others; models that were compiled before must be compiled again.

    Keras runs a BatchNorm layer whose ``trainable`` is False on its stored statistics, also in training.

    Args:
        stages: The backbone's stages. If the phase trains adapters, they have already been added.
        phase: The stages and weights to train, and the mode of their BatchNorm layers.

    Returns:
        The variables of trained stages that are updated without a gradient, such as statistics of BatchNorm.
    """
    statistics: list[Variable] = []
    for stage in stages:
        for layer in stage.layers:
            layer.trainable = False
        if stage.index not in phase.stages:
            continue
        if phase.lora_rank is not None:
            for factor in (factor for adapter in find_adapters([stage]) for factor in adapter.factors):
                factor.trainable = True
        else:
            statistics += _train_stage(stage, phase)
    return statistics


def _train_stage(stage: Stage, phase: Phase) -> list[Variable]:
    inner = [part for layer in stage.layers for part in parts(layer)]
    # A layer comes before nested layers, whose flags take precedence.
    for part in inner:
        part.trainable = phase.batch_norm == "adapt" or not isinstance(part, keras.layers.BatchNormalization)
    # Statistics can be told from weights by their layers only while no weight is frozen individually.
    weights = [(part, list(part.trainable_weights)) for part in inner]
    frozen = {id(weight) for part in inner if not part.trainable for weight in part.weights}
    statistics = {id(weight): weight for part in inner for weight in part.non_trainable_weights}
    for part, own in weights:
        for weight in own:
            weight.trainable = _is_chosen(part, weight, phase)
    return [weight for key, weight in statistics.items() if key not in frozen]


_LAYER_NORMS = (keras.layers.LayerNormalization, keras.layers.RMSNormalization)


def _is_chosen(layer: keras.layers.Layer, weight: Variable, phase: Phase) -> bool:
    if phase.weights == "batch_norm":
        return isinstance(layer, keras.layers.BatchNormalization)
    if phase.weights == "layer_norm":
        return isinstance(layer, _LAYER_NORMS)
    return phase.weights == "all" or weight.name in ("bias", "beta")


def set_batch_norm_memory(stages: Sequence[Stage], steps: int) -> None:
    """Let the statistics of adapting BatchNorm layers span the last tenth of a phase.

    Keras' momentum of 0.99 remembers some hundred steps. On a few hundred images that is several epochs, and the
    stored statistics lag behind the weights; in a long phase a shorter memory would only add noise.
    """
    momentum = min(max(1.0 - 10.0 / steps, 0.9), 0.99)
    for layer in (layer for stage in stages for layer in stage.layers):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            layer.momentum = momentum


@dataclass(frozen=True)
class PhaseSummary:
    """Which weights a phase trains."""

    phase: Phase
    stages: tuple[str, ...]
    trained: int
    total: int


def summarize(model: TransferModel, phases: Sequence[Phase]) -> list[PhaseSummary]:
    """Count the weights that each phase will train.

    Args:
        model: The model; its ``trainable`` flags are left as the last phase sets them.

    Returns:
        One summary per phase.

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
                f"policy.name={phase.name} has nothing to train: {model.backbone.name} has no such weights that "
                f"policy.batch_norm={phase.batch_norm} lets train. Use another policy, such as last_stages."
            )
        trained = sum(math.prod(weight.shape) for weight in model.trainer.trainable_weights)
        summaries.append(PhaseSummary(phase, names, trained, model.trainer.count_params()))
    return summaries


@contextlib.contextmanager
def restored(variables: Sequence[Variable]) -> Iterator[None]:
    """Restore the current values of variables exactly when the block ends.

    Args:
        variables: The variables of a model include its seed states; its weights do not.
    """
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


@dataclass(frozen=True)
class AppliedPhase:
    """A model that is compiled for a phase.

    Attributes:
        trainer: Compiled; its ``trainable`` flags are the phase's.
        optimizer: The built optimizer. The trainer's own optimizer may be a wrapper that accumulates gradients, and
            under mixed_float16 one that scales the loss.
        changing: The variables that training changes: weights that train, and statistics.
    """

    trainer: Model
    optimizer: Optimizer
    changing: tuple[Variable, ...]


def apply_phase(
    model: TransferModel,
    phase: Phase,
    *,
    config: TrainingConfig,
    steps: int,
    trainer: Model | None = None,
    custom: CustomParts = BUILT_IN,
) -> AppliedPhase:
    """Make a phase's weights trainable, freeze the others, and compile the model.

    Args:
        model: Its ``trainable`` flags change.
        steps: Number of steps of the whole phase; the schedule of the learning rate spans their updates.
        trainer: The model to compile: the model's ``trainer``, the default, or the part of it after the frozen stages.

    Raises:
        ConfigError: The recipe names a metric that does not exist.
    """
    trainer = model.trainer if trainer is None else trainer
    statistics = set_trainable(model.backbone.stages, phase)
    set_batch_norm_memory(model.backbone.stages, steps)
    variables = trainer.trainable_variables
    pretrained = {id(weight) for weight in model.backbone.network.weights}  # a head may be tied to some of them
    optimizer, every = custom.make_optimizer(phase.rate), config.accumulate_steps
    if optimizer is None:
        optimizer = build_optimizer(
            config,
            rate=phase.rate,
            steps=count_updates(steps, every),
            variables=variables,
            factors=rate_factors(model, phase, variables),
            new_variables=[weight for weight in model.top.trainable_variables if id(weight) not in pretrained],
        )
    else:
        optimizer.build(variables)
    updating = optimizer
    if every > 1:
        updating = AccumulatingOptimizer(optimizer, steps=every, batches=steps)
        updating.build(variables)
    trainer.compile(
        optimizer=updating,
        loss=custom.make_loss(model.head, config),
        metrics=custom.make_metrics(model.head, find_monitors(config, model.head, custom).metric_names),
        jit_compile=chosen_jit(),
    )
    new = [*model.pooling.non_trainable_weights, *model.top.non_trainable_weights]
    statistics += [weight for weight in new if id(weight) not in pretrained]
    return AppliedPhase(trainer, optimizer, (*variables, *statistics))


@dataclass(frozen=True)
class Inputs:
    """What a phase trains, and its data.

    Attributes:
        trainer: The model's ``trainer``, or the part of it after the frozen stages.
        batches: All remaining batches of the phase: inputs of the trainer, encoded targets, weights. With several
            processes, the slices of this process.
        validation: Batches of (inputs of the trainer, encoded targets), or None.
    """

    trainer: Model
    batches: Batches
    validation: Batches | None


@dataclass(frozen=True)
class RunState:
    """State that is shared by all phases.

    Attributes:
        checkpoints: The run's checkpoints, or None.
        distribution: The devices and processes that share the run.
    """

    best: BestWeights
    observers: Observers = field(default_factory=Observers)
    checkpoints: Checkpoints | None = None
    distribution: Distribution = ONE_DEVICE
    custom: CustomParts = BUILT_IN


@dataclass(frozen=True)
class PlannedPhase:
    """A phase and its place in a run.

    Attributes:
        started: What trackers receive about the phase: its place in the run, and its steps per epoch.
        earlier: The optimizer of the previous phase: weights that continue to train keep their slots.
    """

    phase: Phase
    config: TrainingConfig
    started: PhaseStarted
    earlier: Optimizer | None = None


def train_phase(model: TransferModel, planned: PlannedPhase, inputs: Inputs, state: RunState) -> Optimizer:
    """Train a phase, from its start or from the run's last checkpoint.

    Raises:
        TrainingError: The loss became NaN or infinite; the model then holds the last good weights.
        RunInterrupted: The process received SIGTERM, and a checkpoint was written.
    """
    phase, steps = planned.phase, planned.started.steps
    applied = apply_phase(
        model,
        phase,
        config=planned.config,
        steps=phase.epochs * steps,
        trainer=inputs.trainer,
        custom=state.custom,
    )
    # An optimizer from Python starts every phase with a new state.
    if isinstance(applied.optimizer, StagedAdamW) and isinstance(planned.earlier, StagedAdamW):
        applied.optimizer.carry_over(planned.earlier)
    callbacks = _make_callbacks(model, planned, applied, state)
    first_epoch = 0
    if state.checkpoints is not None:
        checkpointer = _make_checkpointer(model, planned, inputs, callbacks, state.checkpoints)
        first_epoch = checkpointer.begin()
        callbacks["checkpointer"] = checkpointer
    if first_epoch < phase.epochs:
        _fit(planned, inputs, callbacks, state, first_epoch)
    return applied.optimizer


def _make_callbacks(
    model: TransferModel, planned: PlannedPhase, applied: AppliedPhase, state: RunState
) -> dict[str, Callback]:
    """Callbacks by name, in the order in which they are called; checkpoints store states under these names."""
    weights = TrainedWeights(applied.changing, applied.optimizer)
    state.best.watch(weights)
    callbacks: dict[str, Callback] = {}
    if applied.optimizer.use_ema:
        callbacks["averages"] = Averages(applied.optimizer)
    callbacks["nan_guard"] = NanGuard(weights)  # its copies are the source of the best weights
    callbacks["best_weights"] = state.best
    # The user's callbacks may add metrics, which early stopping and trackers are to see.
    callbacks["callbacks"] = state.observers.callbacks
    monitor = find_monitors(planned.config, model.head, state.custom).early_stopping
    if monitor is not None and planned.config.early_stopping is not None:
        callbacks["early_stopping"] = EarlyStopping(monitor, patience=planned.config.early_stopping.patience)
    callbacks["epoch_seconds"] = PhaseTracking(state.observers.trackers, planned.started)
    return callbacks


def _make_checkpointer(
    model: TransferModel,
    planned: PlannedPhase,
    inputs: Inputs,
    callbacks: Mapping[str, Callback],
    checkpoints: Checkpoints,
) -> Checkpointer:
    averages = callbacks.get("averages")
    phase = CheckpointedPhase(
        number=planned.started.number - 1,
        epochs=planned.phase.epochs,
        steps=planned.started.steps,
        trainer=inputs.trainer,
        trained=_indices(model.trainer.variables, inputs.trainer.trainable_variables),
        targets=inputs.batches.element_spec[1],
        parts={name: callback for name, callback in callbacks.items() if isinstance(callback, Stateful)},
        before_leaving=averages.swap if isinstance(averages, Averages) else lambda: None,
    )
    checkpointer = Checkpointer(checkpoints, phase)
    for callback in callbacks.values():
        if isinstance(callback, UserCallbacks | PhaseTracking):
            callback.skips = checkpointer.skips
    return checkpointer


def _fit(
    planned: PlannedPhase, inputs: Inputs, callbacks: Mapping[str, Callback], state: RunState, first_epoch: int
) -> None:
    feed = state.distribution.feed
    with state.checkpoints.interruption.at_a_step() if state.checkpoints else contextlib.nullcontext():
        inputs.trainer.fit(
            feed(inputs.batches),
            epochs=planned.phase.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=planned.started.steps,
            validation_data=None if inputs.validation is None else feed(inputs.validation),
            callbacks=list(callbacks.values()),
            shuffle=False,  # the batches are already in their order
            verbose=0,
        )


def _indices(variables: Sequence[Variable], chosen: Sequence[Variable]) -> list[int]:
    """The positions of variables among others: their names may differ from process to process."""
    indices = {id(variable): index for index, variable in enumerate(variables)}
    return [indices[id(variable)] for variable in chosen]


@dataclass(frozen=True)
class SolvedPhase:
    """A head that was solved, for :func:`solve_phase`.

    Attributes:
        rows: Pooled features and targets: of the training rows under ``""``, of validation rows under ``"val_"``.
    """

    head: SolvedHead
    rows: Mapping[str, tuple[FloatArray, Targets]]
    seconds: float
    config: TrainingConfig
    started: PhaseStarted


def solve_phase(model: TransferModel, phase: Phase, solved: SolvedPhase, state: RunState) -> None:
    """Set the model's head to a solved head, unless an earlier phase was better."""
    set_trainable(model.backbone.stages, phase)
    layer, head = model.top.get_layer(LOGITS), solved.head
    weights = TrainedWeights(layer.weights)
    state.best.watch(weights)
    layer.set_weights([head.kernel, head.bias])
    weights.take()
    names = find_monitors(solved.config, model.head, state.custom).metric_names
    logs: dict[str, float] = {}
    for prefix, (features, targets) in solved.rows.items():
        raw = features @ head.kernel + head.bias
        values = model.head.measure(raw, targets, state.custom.make_metrics(model.head, names))
        logs |= {f"{prefix}{name}": value for name, value in values.items()}
    state.best.on_epoch_end(0, logs)
    state.best.on_train_end()
    details: dict[str, str | float] = {"strength": head.strength}
    if head.uses_hints:
        details["label_texts"] = "used"
    trackers, started = state.observers.trackers, solved.started
    trackers.phase_started(started)
    trackers.epoch_ended(EpochEnded(started, 1, trackers.run_epochs + 1, logs, solved.seconds, details))
    trackers.phase_ended(PhaseEnded(started, 1))
