"""A range test: the learning rate increases from far too small to far too large, and the loss shows the right range.

Smith 2017 (arXiv 1506.01186); fastai's ``lr_find`` made it popular.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from keras_transfer.config.training import TrainingConfig
from keras_transfer.console import track
from keras_transfer.errors import ConfigError, TrainingError
from keras_transfer.heads import LOGITS
from keras_transfer.heads.solver import SolvedHead
from keras_transfer.model import TransferModel
from keras_transfer.networks.types import Batches, Model
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts
from keras_transfer.training.phase import Inputs, apply_phase, restored
from keras_transfer.training.policies import Phase

_STEPS = 100
_RATES = np.geomspace(1e-7, 10.0, _STEPS)
# The first rates do not change the weights: they measure the initial loss. They span a bit more than a decade.
_BEGINNING = 15
# In steps: about a third of a decade to each side. The window is centred, as a running mean would lag behind the rate.
_SMOOTHING = 4.0


@dataclass(frozen=True)
class RangeTest:
    """The loss as the learning rate increased.

    Attributes:
        rates: Values of training.learning_rate, one per step.
    """

    phase: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @cached_property
    def smoothed(self) -> NDArray[np.float64]:
        """The losses with most of the noise between batches removed."""
        return np.asarray(gaussian_filter1d(np.asarray(self.losses, np.float64), _SMOOTHING, mode="nearest"))

    @cached_property
    def learning_rate(self) -> float:
        """The suggestion, to two digits: the rate at which the smoothed loss has fallen half-way to its minimum.

        If the fall is symmetric in the logarithm of the rate, this is its steepest point. It is more robust than the
        steepest slope, which can be anywhere in a noisy curve.

        Raises:
            ConfigError: The loss never falls by more than its noise.
        """
        start = float(np.mean(self.losses[:_BEGINNING]))
        lowest = int(self.smoothed.argmin())
        least = float(self.smoothed[lowest])
        # Neighbours differ by the noise of two batches. The increase at the end is not noise.
        noise = float(np.std(np.diff(self.losses[: max(lowest + 1, _BEGINNING)]))) / math.sqrt(2)
        above = np.flatnonzero(self.smoothed[: lowest + 1] > (start + least) / 2)
        if not above.size or start - least <= noise:
            raise ConfigError(
                f"training.learning_rate: the loss of phase {self.phase} does not fall at any rate from "
                f"{self.rates[0]:.2g} to {self.rates[-1]:.2g}. It starts at {start:.3g}, and its minimum of "
                f"{least:.3g} is within the noise of a batch ({noise:.2g}). Set training.learning_rate to a number."
            )
        return float(f"{self.rates[above[-1]]:.2g}")

    def __str__(self) -> str:
        start, least = np.mean(self.losses[:_BEGINNING]), self.smoothed.min()
        return (
            f"training.learning_rate={self.learning_rate:g}: half-way down the smoothed loss of phase {self.phase}, "
            f"from {start:.3g} to {least:.3g} ({len(self.rates)} steps, {self.rates[0]:.2g} to {self.rates[-1]:.2g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of ``find-lr --json``."""
        return {
            "learning_rate": self.learning_rate,
            "phase": self.phase,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": self.smoothed.tolist(),
        }


def run_range_test(
    model: TransferModel,
    phase: Phase,
    *,
    config: TrainingConfig,
    inputs: Inputs,
    head: SolvedHead | None = None,
    custom: CustomParts = BUILT_IN,
) -> RangeTest:
    """Train a phase for at most 100 steps while the learning rate increases, and restore everything.

    Args:
        model: Its weights, BatchNorm statistics and random states are restored exactly. Its ``trainable`` flags are
            left as the phase sets them.
        config: How to train; its learning rate is not used.
        inputs: The trainer and its batches, which are repeated if there are fewer than 100.
        head: A solved head that the phase starts with; None to start with the current head.

    Raises:
        ConfigError: An optimizer was given from Python: its learning rate is not the recipe's.
        TrainingError: The loss is NaN or infinite before any rate could be the cause.
    """
    if custom.optimizer is not None:
        raise ConfigError(
            "The search for a learning rate trains with the built-in optimizer, but a custom optimizer was given. "
            "Leave the optimizer out, or choose its learning rate yourself."
        )
    with restored(model.trainer.variables):
        if head is not None:
            model.top.get_layer(LOGITS).set_weights([head.kernel, head.bias])
        # The value is not used: sweep() has its own schedule. The averages would not be used, either.
        some_rate = config.model_copy(update={"learning_rate": float(_RATES[0]), "ema": 0.0})
        every = config.accumulate_steps
        apply_phase(model, phase, config=some_rate, trainer=inputs.trainer, steps=_STEPS * every, custom=custom)
        losses = sweep(inputs.trainer, inputs.batches, factor=phase.rate, every=every)
    return RangeTest(phase.name, tuple(map(float, _RATES[: len(losses)])), tuple(losses))


def sweep(trainer: Model, batches: Batches, *, factor: float = 1.0, every: int = 1) -> list[float]:
    """Train at increasing rates until the loss is several times its initial value, NaN, or infinite.

    Args:
        trainer: Compiled, with an optimizer that follows a schedule; its schedule is replaced, and its weights change.
        batches: Batches of (inputs, targets, weights); repeated if there are too few.
        every: Batches per update of the trainer's optimizer.

    Returns:
        The loss of the batches of each update, before it.

    Raises:
        TrainingError: The loss is NaN or infinite before any rate could be the cause.
    """
    trainer.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(
        float(_RATES[0]) * factor, decay_steps=_STEPS - 1, decay_rate=float(_RATES[-1] / _RATES[0])
    )
    losses: list[float] = []
    arrays = batches.repeat().take(_STEPS * every).as_numpy_iterator()  # which every backend takes
    for first in track(arrays, "learning rate", _STEPS):
        each = [first, *itertools.islice(arrays, every - 1)]
        loss = float(np.mean([trainer.train_on_batch(*batch, return_dict=True)["loss"] for batch in each]))
        if not math.isfinite(loss):
            if len(losses) < _BEGINNING:
                raise TrainingError(
                    f"The loss is {loss} at a learning rate of {_RATES[len(losses)]:.2g}, and changing the rate will "
                    "not fix this. Check the data and backbone.weights, or set training.precision=float32."
                )
            break
        losses.append(loss)
        if len(losses) > _BEGINNING and _has_diverged(losses):
            break
    return losses


def _has_diverged(losses: Sequence[float]) -> bool:
    """Whether the running mean is four times its minimum and twice the initial loss: noise may reach the former."""
    means = np.convolve(losses, np.full(5, 0.2), mode="valid")
    return bool(means[-1] > max(4.0 * means.min(), 2.0 * np.mean(losses[:_BEGINNING])))


def plot_range_test(test: RangeTest, image: Path) -> None:
    """Draw the loss over the learning rate, and the suggested rate.

    Raises:
        ConfigError: No rate is suggested.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="grey", markersize=4, label="per batch")
    axes.plot(test.rates, test.smoothed, label="smoothed")
    axes.axvline(test.learning_rate, color="grey", linestyle=":", label=f"{test.learning_rate:g}")
    axes.set(xlabel="training.learning_rate", ylabel="loss", xscale="log", title=f"phase {test.phase}")
    axes.set_ylim(0.0, 2.0 * test.smoothed[0])  # the divergence at the end would flatten the rest of the curve
    axes.legend(frameon=False)
    figure.savefig(image, dpi=120)
