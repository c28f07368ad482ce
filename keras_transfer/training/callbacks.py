"""Callbacks of a phase: averages, a guard against NaN, best weights, early stopping."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_transfer.distribution import sync_variables
from keras_transfer.errors import CheckpointError, TrainingError
from keras_transfer.networks.keras_internals import averages_of, variables_of
from keras_transfer.networks.types import Array, JsonObject, Optimizer, Variable
from keras_transfer.training.monitors import Monitor

Logs = Mapping[str, float] | None
"""What Keras passes to callbacks: loss and metrics by name."""


class TrainedWeights:
    """Copies of the variables that a phase changes, which can be restored.

    Frozen weights are not copied: that would take longer than an epoch on cached features.

    Args:
        variables: Weights that train, and the statistics that training updates beside them.
        optimizer: Its averages, if it has any, are copied instead of the weights: they are what is validated.
    """

    def __init__(self, variables: Sequence[Variable], optimizer: Optimizer | None = None) -> None:
        self._variables = list(variables)
        averages = averages_by_id(optimizer) if optimizer is not None else {}
        self._validated = [averages.get(id(variable), variable) for variable in self._variables]
        # Not the averages: an optimizer may initialize them with zeros.
        self.latest = _copies(self._variables)
        """The copies that were made last, at first of the weights as they are now."""

    def take(self) -> None:
        """Copy the validated weights into :attr:`latest`."""
        self.latest = _copies(self._validated)

    def put_back(self, values: Sequence[Array]) -> None:
        """Set the variables to these values."""
        shapes = [tuple(variable.shape) for variable in self._variables]
        if shapes != [value.shape for value in values]:
            raise CheckpointError(
                "The checkpoint does not fit the run: the weights of its best epoch have different shapes. Start the "
                "run again in another --out."
            )
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)


def _copies(variables: Sequence[Variable]) -> list[Array]:
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]


def averages_by_id(optimizer: Optimizer) -> dict[int, Variable]:
    """Return the averages of an optimizer, by the ``id`` of their variable; none without ``use_ema``."""
    if not optimizer.use_ema:
        return {}
    pairs = zip(variables_of(optimizer), averages_of(optimizer), strict=True)
    return {id(variable): average for variable, average in pairs if average is not None}


class Averages(keras.callbacks.Callback):
    """Validates the averages of the weights instead of the weights.

    ``keras.callbacks.SwapEMAWeights`` swaps by adding and subtracting, which rounds, and leaves the wrong ones in the
    model if early stopping ends training. At the end of ``fit``, Keras itself restores the averages.

    Args:
        optimizer: Built, with ``use_ema``.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self._pairs = list(zip(variables_of(optimizer), averages_of(optimizer), strict=True))

    def swap(self) -> None:
        """Exchange the weights and their averages; a second call reverses it exactly."""
        for variable, average in self._pairs:
            if average is not None:
                value = keras.ops.copy(variable)
                variable.assign(average)
                average.assign(value)

    def on_test_begin(self, logs: Logs = None) -> None:
        self.swap()

    def on_test_end(self, logs: Logs = None) -> None:
        self.swap()


def _arrays(state: Any) -> list[Array]:
    if not isinstance(state, list) or not all(isinstance(value, np.ndarray) for value in state):
        raise TypeError("expected a list of arrays")
    return state


class NanGuard(keras.callbacks.Callback):
    """Stops a phase if its loss becomes NaN or infinite, and restores the weights of the last epoch before.

    Args:
        weights: Copied after every epoch. Later callbacks find the copies in ``latest``.
    """

    def __init__(self, weights: TrainedWeights) -> None:
        super().__init__()
        self._weights = weights
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stop if the loss is NaN or infinite.

        Raises:
            TrainingError: The loss is NaN or infinite. The last good weights are in the model.
        """
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            sync_variables(self.model)
            self._weights.put_back(self._weights.latest)
            raise TrainingError(
                f"The loss became {loss} in epoch {self._epoch}, step {batch + 1}. The weights from before that epoch "
                "were restored. Lower training.learning_rate, or set training.precision=float32."
            )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._weights.take()

    def get_state(self) -> list[Array]:
        """Return the last good weights."""
        return self._weights.latest

    def set_state(self, state: list[Array]) -> None:
        """Restore the last good weights from a checkpoint."""
        self._weights.latest = _arrays(state)


class BestWeights(keras.callbacks.Callback):
    """Restores the weights of the best epoch of all phases so far at the end of each phase.

    The next phase starts from them, so that only what it changes has to be copied.

    Args:
        monitor: The metric that chooses the epoch; None keeps the last weights.
    """

    def __init__(self, monitor: Monitor | None = None) -> None:
        super().__init__()
        self._monitor = monitor
        self._value: float | None = None
        self._best: list[Array] | None = None
        self._weights = TrainedWeights(())

    def watch(self, weights: TrainedWeights) -> None:
        """Prepare for a phase; if there is a best epoch, the model already has its weights.

        Args:
            weights: The variables that the phase changes; another callback copies them after each epoch.
        """
        self._weights = weights
        self._best = None if self._value is None else weights.latest

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Take the latest copies of the weights if the epoch is the best so far."""
        if self._monitor is None:
            return
        value = float((logs or {}).get(self._monitor.name, math.nan))
        if self._monitor.is_better(value, self._value):
            self._value, self._best = value, self._weights.latest

    def on_train_end(self, logs: Logs = None) -> None:
        if self._best is not None:
            self._weights.put_back(self._best)

    def get_state(self) -> JsonObject:
        """Return the best value and its weights."""
        return {"value": self._value, "weights": self._best}

    def set_state(self, state: JsonObject) -> None:
        """Restore the best value and its weights from a checkpoint."""
        value, best = state["value"], state["weights"]
        self._value = None if value is None else float(value)
        self._best = None if best is None else _arrays(best)


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping with a state for checkpoints.

    Args:
        monitor: The metric that is monitored.
        patience: Epochs without an improvement before the phase ends.
    """

    def __init__(self, monitor: Monitor, *, patience: int) -> None:
        super().__init__(monitor=monitor.name, mode=monitor.mode, patience=patience)
        self.on_train_begin()  # initializes its state before a fit

    def get_state(self) -> JsonObject:
        """Return the best value and the number of epochs since."""
        best = None if self.best is None else float(self.best)
        return {"best": best, "best_epoch": self.best_epoch, "wait": self.wait, "stopped_epoch": self.stopped_epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
        best, *epochs = (state[name] for name in ("best", "best_epoch", "wait", "stopped_epoch"))
        self.best = None if best is None else float(best)
        self.best_epoch, self.wait, self.stopped_epoch = map(int, epochs)
