"""The content and the schedule of a run's checkpoints, and how training continues from one exactly."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from keras_transfer.config.schema import CheckpointConfig
from keras_transfer.distribution import ONE_DEVICE, Distribution, builds_with_a_batch, sync_variables
from keras_transfer.errors import CheckpointError
from keras_transfer.networks.types import Array, Model, Tensor, Variable
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.training.interruption import Interruption


@dataclass(frozen=True)
class Position:
    """The progress of a run.

    Attributes:
        phase: Index of the current phase.
        epoch: Number of its completed epochs; all of them if it has ended, even if it was stopped early.
        step: Number of completed steps of the next epoch.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0


@runtime_checkable
class Stateful(Protocol):
    """A part of a run whose state is in checkpoints."""

    def get_state(self) -> Any:
        """Return nested mappings and sequences of numbers, strings, None and arrays."""

    def set_state(self, state: Any) -> None:
        """Restore a state that :meth:`get_state` returned."""


class Variables:
    """Keras variables: weights, seed states, or those of an optimizer or of metrics.

    Args:
        what: Their description for messages.
        variables: In an order that is the same in every process.
    """

    def __init__(self, what: str, variables: Sequence[Variable]) -> None:
        self._what, self._variables = what, variables

    def get_state(self) -> list[Array]:
        """Return the values of the variables."""
        return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in self._variables]

    def set_state(self, state: Sequence[Array]) -> None:
        """Restore values exactly.

        Raises:
            CheckpointError: The values are for other variables; none was changed.
        """
        here = [f"{tuple(variable.shape)} {_kind(variable.dtype)}" for variable in self._variables]
        there = [f"{value.shape} {_kind(value.dtype)}" for value in state]
        if here != there:
            different = sum(a != b for a, b in zip(here, there, strict=False)) + abs(len(here) - len(there))
            raise CheckpointError(
                f"The checkpoint does not fit the run's {self._what}: {different} of {len(here)} variables have "
                f"another shape or type, or are missing. Received: {len(there)}. Resume with the versions "
                "that started the run."
            )
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)


_WRONG_TYPES = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def _describe_damage(name: str, problem: object) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint is damaged: {name} cannot be restored ({problem}). Remove it from checkpoints/ in the run "
        "folder to use the one before, or start the run again in another --out."
    )


def _kind(dtype: Any) -> str:
    """The kind of a numeric type, regardless of its size: the precision may differ on another device."""
    return str(dtype).rstrip("0123456789")


class Stopwatch:
    """The duration of a run in seconds, over all processes in which it was resumed."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The duration until now."""
        return time.perf_counter() - self._started

    def get_state(self) -> float:
        """Return the seconds."""
        return self.seconds

    def set_state(self, state: float) -> None:
        """Continue from an earlier duration."""
        self._started = time.perf_counter() - float(state)


class Checkpoints:
    """A run's checkpoints: when they are written, what they contain, and the one that the run continues from.

    Args:
        store: Where they are stored.
        config: How often they are written.
        record: Identifies the run; every checkpoint contains it.
        interruption: Requests the run to end.
        start: The state to continue from, or None.
        distribution: The processes of the run: all checkpoint at the same step, and the chief writes.
    """

    def __init__(
        self,
        store: CheckpointStore,
        config: CheckpointConfig,
        *,
        record: Mapping[str, Any],
        interruption: Interruption,
        start: Mapping[str, Any] | None = None,
        distribution: Distribution = ONE_DEVICE,
    ) -> None:
        self._store, self._config, self._start, self._distribution = store, config, start, distribution
        self.interruption = interruption
        self.position = Position(**start["position"]) if start else Position()
        """Where this process starts."""
        self._parts: dict[str, Stateful] = {}
        self._held: dict[str, Any] = {"run": record}
        self._saved_at, self._steps = time.monotonic(), 0

    @property
    def resumes(self) -> bool:
        """Whether the run was started by another process."""
        return self._start is not None

    def add(self, name: str, part: Stateful) -> None:
        """Add a part of the run to checkpoints; if the run is resumed, restore the part.

        Raises:
            CheckpointError: The checkpoint to resume from lacks the part.
        """
        self._parts[name] = part
        if self._start is None:
            return
        if name not in self._start:
            raise CheckpointError(
                f"The checkpoint lacks {name}: another version of keras-transfer wrote it. Resume the run with that "
                "version, or choose another --out."
            )
        self.restore(name, part)

    def restore(self, name: str, part: Stateful) -> None:
        """Restore a part from the checkpoint to continue from.

        Raises:
            CheckpointError: The checkpoint contains something else under that name.
        """
        try:
            part.set_state(self.state_of(name))
        except _WRONG_TYPES as error:
            raise _describe_damage(name, error) from error

    def hold(self, name: str, state: Any) -> None:
        """Add a state that no longer changes to checkpoints."""
        self._held[name] = state

    def state_of(self, name: str) -> Any:
        """Return the state of a part in the checkpoint to continue from; None without a checkpoint."""
        if self._start is None:
            return None
        if name not in self._start:
            raise _describe_damage(name, "it is missing")
        return self._start[name]

    def is_due(self) -> bool:
        """Return, after each step, whether a checkpoint is due, or the run has to end after one."""
        self._steps += 1
        by_steps = self._config.every_steps is not None and self._steps >= self._config.every_steps
        waited = time.monotonic() - self._saved_at
        by_seconds = self._config.every_seconds is not None and waited >= self._config.every_seconds
        return self._distribution.any(by_steps or by_seconds or self.interruption.asked)

    def must_end(self) -> bool:
        """Return whether any process of the run was asked to end; this one then has to end, too."""
        if self._distribution.any(self.interruption.asked):
            self.interruption.asked = True
        return self.interruption.asked

    def begin(self, position: Position, **state: Any) -> None:
        """Write a run's first checkpoint: from then on it can be resumed."""
        if not self._distribution.broadcast(self._store.names()):
            self.save(position, **state)

    def save(self, position: Position, **state: Any) -> None:
        """Write a checkpoint.

        Args:
            position: How far the run has come.
            **state: Additional parts.

        Raises:
            CheckpointError: The checkpoint cannot be written, and there is no earlier one.
        """
        parts = {name: part.get_state() for name, part in self._parts.items()}
        if self._distribution.is_chief:
            self._store.write({"position": asdict(position), **self._held, **parts, **state})
        self._saved_at, self._steps = time.monotonic(), 0


@dataclass(frozen=True)
class CheckpointedPhase:
    """What checkpoints need from a phase.

    Attributes:
        number: The phase's index in the run.
        epochs: Number of epochs of the phase.
        steps: Number of steps per epoch.
        trainer: The compiled trainer.
        trained: Indices of the variables that train, among those of the whole model.
        targets: Shape and type of a batch of targets: a ``tf.TensorSpec`` or the like.
        parts: The phase's callbacks with a state, by name.
        before_leaving: Called if the run has to end in the middle of a validation.
    """

    number: int
    epochs: int
    steps: int
    trainer: Model
    trained: Sequence[int]
    targets: Any
    parts: Mapping[str, Stateful]
    before_leaving: Callable[[], None]


class Checkpointer(keras.callbacks.Callback):
    """Writes the checkpoints of a phase; if the run is resumed in it, lets ``fit`` continue from there.

    It is the last callback, so that it sees the state of the others after each step or epoch.

    Args:
        checkpoints: The run's checkpoints.
        phase: The current phase.
    """

    def __init__(self, checkpoints: Checkpoints, phase: CheckpointedPhase) -> None:
        super().__init__()
        self._checkpoints, self._phase, self._trainer = checkpoints, phase, phase.trainer
        self._optimizer = Variables("optimizer", phase.trainer.optimizer.variables)
        self._resumes = checkpoints.resumes and checkpoints.position.phase == phase.number
        self._start = checkpoints.position if self._resumes else Position(phase.number)
        self._epoch = self._start.epoch
        self._metrics: list[Array] | None = None
        self._logs: Any = None

    def begin(self) -> int:
        """Restore the optimizer, or write the first checkpoint.

        Returns:
            The epoch to start with.

        Raises:
            CheckpointError: Other weights were trained in this phase when the checkpoint was written.
        """
        if not self._resumes:
            self._checkpoints.begin(self._start, **self._phase_state(None))
            return 0
        before, now = self._checkpoints.state_of("trained"), list(self._phase.trained)
        if not (isinstance(before, list) and all(isinstance(index, int) for index in before)):
            raise _describe_damage("trained", "expected indices of variables")
        if before != now:
            more, fewer = len(set(now) - set(before)), len(set(before) - set(now))
            raise CheckpointError(
                f"Phase {self._phase.number + 1} trains {len(now)} variables now, and trained {len(before)} when the "
                f"run was started: {more} were frozen then, {fewer} are frozen now. Resume with the versions and the "
                "backbone that started it, or choose another --out."
            )
        self._checkpoints.restore("optimizer", self._optimizer)
        if self._start.step and builds_with_a_batch():
            self._build()
        return self._start.epoch

    def _build(self) -> None:
        """Create variables that are otherwise created with the first batch: there may be no batch left in the epoch."""
        targets, outputs = _zeros(self._phase.targets), _zeros(self._trainer.output)
        self._trainer.compute_loss(None, targets, outputs)
        self._trainer.compute_metrics(None, targets, outputs)

    def _phase_state(self, metrics: list[Array] | None) -> dict[str, Any]:
        parts = {name: part.get_state() for name, part in self._phase.parts.items()}
        optimizer = self._optimizer.get_state()
        return {"trained": list(self._phase.trained), "optimizer": optimizer, "metrics": metrics, **parts}

    def _save(self, epoch: int, step: int = 0, metrics: list[Array] | None = None) -> None:
        self._checkpoints.save(Position(self._phase.number, epoch, step), **self._phase_state(metrics))
        if self._checkpoints.must_end():
            self._checkpoints.interruption.leave()

    @property
    def _metric_variables(self) -> Variables:
        return Variables("metrics", self._trainer.metrics_variables)

    def skips(self, step: int) -> bool:
        """Return whether a step of the current epoch, by its index, was done by an earlier process."""
        return self._resumes and self._epoch == self._start.epoch and step < self._start.step

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Skip the steps of an epoch that were done before, or continue after a whole epoch."""
        if self._start.step:
            self._skip(self._start.step)
        elif self._start.epoch:
            self._restore_parts()

    def _restore_parts(self) -> None:
        """Restore the callbacks, which have just reset their states."""
        for name, part in self._phase.parts.items():
            self._checkpoints.restore(name, part)

    def _skip(self, steps: int) -> None:
        """Let ``fit`` count steps without a batch: the dataset starts after them."""
        trainer, train = self._trainer, self._trainer.train_function
        left = steps

        def skip(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                trainer.train_function = train
            # On JAX, a step takes (state, batches) and returns (logs, state).
            return self._logs if len(arguments) == 1 else (self._logs, arguments[0])

        trainer.train_function = skip

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Continue in the middle of an epoch."""
        self._epoch = epoch
        if not (self._resumes and self._start.step and epoch == self._start.epoch):
            return
        self._restore_parts()
        state = self._checkpoints.state_of("metrics")
        if not isinstance(state, list):
            raise _describe_damage("metrics", "expected arrays")
        if len(self._trainer.metrics_variables) < len(state):
            self._build()  # on one device, the first step would do this
        self._checkpoints.restore("metrics", self._metric_variables)
        self._logs = self._trainer.get_metrics_result()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Write a checkpoint if it is due or the run has to end."""
        if not self.skips(batch) and self._checkpoints.is_due():
            sync_variables(self._trainer)
            self._save(self._epoch, batch + 1, self._metric_variables.get_state())

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Store the metrics of the epoch's steps: validation overwrites them."""
        self._metrics = self._metric_variables.get_state()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """If the run has to end, do not wait for the validation: it is repeated after resuming."""
        if self._checkpoints.must_end():
            sync_variables(self._trainer)
            self._phase.before_leaving()
            self._save(self._epoch, self._phase.steps, self._metrics)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write a checkpoint; that of the last epoch is written at the end of the phase."""
        if epoch + 1 < self._phase.epochs and not self._trainer.stop_training:
            self._save(epoch + 1)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Write a checkpoint with the weights that the next phase starts from."""
        self._save(self._phase.epochs)


def _zeros(tensor: Any) -> Tensor:
    """A batch of one example, in which unknown dimensions are 1."""
    return keras.ops.zeros([length or 1 for length in tensor.shape], keras.backend.standardize_dtype(tensor.dtype))
