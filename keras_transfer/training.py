"""One phase: set what trains, compile, fit. The only place where ``trainable`` is set."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_transfer.config import TrainingConfig
from keras_transfer.errors import TrainingError
from keras_transfer.model import TransferModel
from keras_transfer.optimizers import build_optimizer
from keras_transfer.policies import Phase
from keras_transfer.progress import ProgressLine
from keras_transfer.stages import Stage


def set_trainable(stages: Sequence[Stage], phase: Phase) -> None:
    """Let a phase's stages train and freeze the others; what was compiled before must be compiled again.

    Keras runs a BatchNorm layer whose ``trainable`` is False on its stored statistics, also in training.

    Args:
        stages: Of the backbone.
        phase: Says which train, and what becomes of their BatchNorm layers.
    """
    for stage in stages:
        for layer in stage.layers:
            trains = stage.index in phase.stages
            if isinstance(layer, keras.layers.BatchNormalization):
                trains = trains and phase.batch_norm == "adapt"
            layer.trainable = trains


def set_batch_norm_memory(stages: Sequence[Stage], steps: int) -> None:
    """Let the statistics of adapting BatchNorm layers span the last tenth of a phase.

    Keras' momentum of 0.99 remembers some hundred steps. On a few hundred pictures that is several epochs, and the
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
    """
    summaries = []
    for phase in phases:
        set_trainable(model.backbone.stages, phase)
        names = tuple(model.backbone.stages[index].name for index in phase.stages)
        trained = sum(math.prod(weight.shape) for weight in model.trainer.trainable_weights)
        summaries.append(PhaseSummary(phase, names, trained, model.trainer.count_params()))
    return summaries


class WeightKeeper(keras.callbacks.Callback):
    """Keeps the best weights over all phases, and the last good ones should the loss stop being a number."""

    def __init__(self, keep: str) -> None:
        super().__init__()
        self._keep = keep
        self._best_loss = math.inf
        self._best: list[Any] | None = None
        self._last_good: list[Any] = []
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Remember the weights that the phase begins with."""
        self._last_good = self.model.get_weights()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember which epoch it is, for the message."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop where the loss is no number."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            self.model.set_weights(self._last_good)
            raise TrainingError(
                f"The loss became {loss} in epoch {self._epoch}, step {batch + 1}. The weights from before that epoch "
                "were kept. Lower training.learning_rate, or set training.precision=float32."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the weights where they are the best so far."""
        loss = (logs or {}).get("val_loss", math.inf)
        self._last_good = self.model.get_weights()
        if self._keep == "best" and loss < self._best_loss:
            self._best_loss, self._best = loss, self._last_good

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the best weights back: the next phase starts from them."""
        if self._best is not None:
            self.model.set_weights(self._best)


class HistoryWriter(keras.callbacks.Callback):
    """Adds one line of JSON an epoch to a file, as it happens."""

    def __init__(self, file: Path, phase: str) -> None:
        super().__init__()
        self._file = file
        self._phase = phase
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the line."""
        metrics = {name: round(float(value), 6) for name, value in (logs or {}).items()}
        seconds = round(time.perf_counter() - self._started, 3)
        line = {"phase": self._phase, "epoch": epoch + 1, **metrics, "seconds": seconds}
        with self._file.open("a", encoding="utf-8") as history:
            history.write(json.dumps(line) + "\n")


def train_phase(
    model: TransferModel,
    phase: Phase,
    *,
    config: TrainingConfig,
    batches: Any,
    steps: int,
    validation: Any,
    keeper: WeightKeeper,
    history: Path,
) -> None:
    """Run one phase.

    Args:
        model: Its weights change.
        phase: What trains, for how long.
        config: How.
        batches: A dataset of ``phase.epochs * steps`` batches of (pixels, one-hot, weights).
        steps: Batches an epoch.
        validation: A dataset of (pixels, one-hot), or None.
        keeper: The run's; it carries the best weights from phase to phase.
        history: The file that takes a line an epoch.

    Raises:
        TrainingError: The loss became something that is no number; the model then holds the last good weights.
    """
    trainer = model.trainer
    set_trainable(model.backbone.stages, phase)
    set_batch_norm_memory(model.backbone.stages, phase.epochs * steps)
    optimizer = build_optimizer(
        config, rate=phase.rate, steps=phase.epochs * steps, variables=trainer.trainable_variables
    )
    trainer.compile(
        optimizer=optimizer,
        loss=model.head.loss(label_smoothing=config.label_smoothing),
        metrics=model.head.metrics(),
        jit_compile=False,  # measured on a CPU: XLA's convolutions are ten times slower than oneDNN's
    )
    progress = ProgressLine(phase.name, phase.epochs, steps)
    callbacks = [keeper, HistoryWriter(history, phase.name), progress]
    if config.early_stopping is not None:
        stop = config.early_stopping
        callbacks.append(keras.callbacks.EarlyStopping(monitor=stop.metric, patience=stop.patience))
    try:
        trainer.fit(
            batches,
            epochs=phase.epochs,
            steps_per_epoch=steps,
            validation_data=validation,
            callbacks=callbacks,
            shuffle=False,  # the batches are in their order already
            verbose=0,
        )
    finally:
        progress.close()
