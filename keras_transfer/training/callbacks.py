"""What watches a phase: the best weights are kept."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from keras_transfer.distribution import sync_variables
from keras_transfer.errors import TrainingError
from keras_transfer.training.optimizer import StagedAdamW


class WeightKeeper(keras.callbacks.Callback):
    """Keeps the best weights over all phases, and the last good ones should the loss stop being a number."""

    def __init__(self, keep: str, model: keras.Model) -> None:
        super().__init__()
        self._keep = keep
        # A phase may train a part of the model, and the next one another part: all weights are kept together.
        self._whole = model
        self._optimizer: StagedAdamW | None = None
        self._best_loss = math.inf
        self._best: list[Any] | None = None
        self._last_good: list[Any] = []
        self._epoch = 0

    def begin_phase(self, optimizer: StagedAdamW) -> None:
        """Take note of who holds the averages of the weights; where there are some, they are what is kept."""
        self._optimizer = optimizer if optimizer.use_ema else None

    def _swap_averages(self) -> None:
        if self._optimizer is not None:
            self._optimizer.swap_averages()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Let validation see the averages."""
        self._swap_averages()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Go on with the weights themselves."""
        self._swap_averages()

    def _kept_weights(self) -> list[Any]:
        self._swap_averages()
        weights: list[Any] = self._whole.get_weights()
        self._swap_averages()
        return weights

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Remember the weights that the phase begins with."""
        self._last_good = self._whole.get_weights()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember which epoch it is, for the message."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop where the loss is no number."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            sync_variables(self.model)
            self._whole.set_weights(self._last_good)
            raise TrainingError(
                f"The loss became {loss} in epoch {self._epoch}, step {batch + 1}. The weights from before that epoch "
                "were kept. Lower training.learning_rate, or set training.precision=float32."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the weights where they are the best so far."""
        loss = (logs or {}).get("val_loss", math.inf)
        self._last_good = self._kept_weights()
        if self._keep == "best" and loss < self._best_loss:
            self._best_loss, self._best = loss, self._last_good

    def get_state(self) -> dict[str, Any]:
        """Return all that it keeps."""
        return {"best_loss": self._best_loss, "best": self._best, "last_good": self._last_good}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Keep that."""
        self._best_loss, self._best, self._last_good = state["best_loss"], state["best"], state["last_good"]

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the best weights back: the next phase starts from them. Averages, Keras has put in place already."""
        self._optimizer = None
        if self._best is not None:
            self._whole.set_weights(self._best)
