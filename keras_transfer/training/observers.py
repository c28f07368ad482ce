"""Observers of training: a run's trackers, and the user's Keras callbacks."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_transfer.errors import CheckpointError, ConfigError
from keras_transfer.storage.checkpoint_store import STORABLE, find_unstorable
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.records import EpochEnded, PhaseEnded, PhaseStarted, StepEnded

Skips = Callable[[int], bool]
"""Whether a step of the current epoch, by its index, was trained by an earlier process of the run."""


def _skips_none(step: int) -> bool:
    return False


class UserCallbacks(keras.callbacks.Callback):
    """The user's Keras callbacks, as one callback that supports exact resume.

    Callbacks with ``get_state`` and ``set_state`` continue with the state of the checkpoint. None is called for the
    steps of an epoch that an earlier process of the run has trained.

    Args:
        callbacks: Called in this order, in every phase that trains by gradient descent.

    Raises:
        ConfigError: One is not a Keras callback.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        super().__init__()
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise ConfigError(
                    f"callbacks: expected instances of keras.callbacks.Callback. Received: {callback!r}. "
                    "A tracker goes into trackers=[...]."
                )
        self._callbacks = list(callbacks)
        self.skips: Skips = _skips_none
        self._before_validation: dict[str, Any] | None = None

    def _names(self) -> list[str]:
        return [f"{index}-{type(callback).__name__}" for index, callback in enumerate(self._callbacks, start=1)]

    def get_state(self) -> dict[str, Any]:
        """Return the state of each callback that has one, by position and class; None for the others.

        A validation that is interrupted is repeated, so during validation this is the state before it.

        Raises:
            ConfigError: A state contains something that a checkpoint cannot store.
        """
        if self._before_validation is not None:
            return self._before_validation
        states = {}
        for name, callback in zip(self._names(), self._callbacks, strict=True):
            states[name] = callback.get_state() if _is_stateful(callback) else None
            problem = find_unstorable(states[name])
            if problem is not None:
                raise ConfigError(f"callbacks: get_state of {name}: {problem}. Expected {STORABLE}.")
        return states

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore the states of the callbacks.

        Raises:
            CheckpointError: The states belong to other callbacks.
        """
        if list(state) != self._names():
            raise CheckpointError(
                f"The run was started with callbacks=[{', '.join(state)}]. Received: [{', '.join(self._names())}]. "
                "Resume it with the same callbacks, or choose another --out."
            )
        for callback, own in zip(self._callbacks, state.values(), strict=True):
            if _is_stateful(callback):
                callback.set_state(own)

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        for callback in self._callbacks:
            callback.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        for callback in self._callbacks:
            callback.set_model(model)

    def _call(self, method: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, method)(*arguments)

    def on_train_begin(self, logs: Any = None) -> None:
        self._call("on_train_begin", logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._call("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Forward the call, unless the step has already been trained."""
        if not self.skips(batch):
            self._call("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Forward the call, unless the step has already been trained."""
        if not self.skips(batch):
            self._call("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self._before_validation = copy.deepcopy(self.get_state())
        self._call("on_test_begin", logs)

    def on_test_end(self, logs: Any = None) -> None:
        self._call("on_test_end", logs)
        self._before_validation = None

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._call("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._call("on_test_batch_end", batch, logs)


def _is_stateful(callback: keras.callbacks.Callback) -> bool:
    return hasattr(callback, "get_state") and hasattr(callback, "set_state")


@dataclass(frozen=True)
class Observers:
    """The observers of a run's training.

    Attributes:
        trackers: Receive the metrics of each epoch; none in processes other than the chief.
    """

    trackers: Trackers = field(default_factory=Trackers)
    callbacks: UserCallbacks = field(default_factory=UserCallbacks)


class PhaseTracking(keras.callbacks.Callback):
    """Forwards a phase's steps and epochs to trackers. Metrics leave training only through this callback."""

    def __init__(self, trackers: Trackers, phase: PhaseStarted) -> None:
        super().__init__()
        self._trackers, self._phase = trackers, phase
        self.skips: Skips = _skips_none
        self._epoch = 0
        self._started = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._trackers.phase_started(self._phase)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._started = epoch + 1, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Report the step, unless it has already been trained."""
        if not self.skips(batch):
            self._trackers.step_ended(StepEnded(self._phase, self._epoch, batch + 1, logs or {}))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self._started
        run_epoch = self._trackers.run_epochs + 1
        self._trackers.epoch_ended(EpochEnded(self._phase, epoch + 1, run_epoch, metrics, seconds))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._trackers.phase_ended(PhaseEnded(self._phase, self._epoch))

    def get_state(self) -> float:
        """Return the elapsed seconds of the epoch."""
        return time.perf_counter() - self._started

    def set_state(self, state: float) -> None:
        """Restore the elapsed seconds of the epoch."""
        self._started = time.perf_counter() - float(state)
