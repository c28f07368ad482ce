"""Resolve ``training.precision: auto``: the precision that trains a network fastest on this machine."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.backbones import Backbone
from keras_transfer.distribution import chosen_jit, precision
from keras_transfer.networks.batch_norm import fuse_batch_norm

# float16 overflows where bfloat16 does not, and is only used if a recipe requests it.
CANDIDATES = ("float32", "mixed_bfloat16")
_STEPS = 4
_BATCH = 16
_TOKENS = 128
# The gain must be more than the noise of a few steps.
_LEAST_GAIN = 1.05


@dataclass(frozen=True)
class PrecisionTest:
    """The training speed of a network.

    Attributes:
        rates: Examples per second in training every layer, by ``training.precision``.
    """

    rates: Mapping[str, float]

    @property
    def precision(self) -> str:
        """float32, unless another precision is faster by more than the noise."""
        fastest = max(self.rates, key=lambda name: self.rates[name])
        return fastest if self.rates[fastest] > _LEAST_GAIN * self.rates["float32"] else "float32"

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate:.0f}" for name, rate in self.rates.items())
        return f"Precision: {self.precision} (examples per second in training: {rates})"


def run_precision_test(load_backbone: Callable[[], Backbone], *, batch_size: int) -> PrecisionTest:
    """Train a network for a few steps in each precision.

    Args:
        load_backbone: Returns the network; its weights do not matter.
        batch_size: The recipe's batch size; at most 16 examples per step are used.

    Raises:
        BackboneError: The network cannot be loaded.
    """
    rates = {}
    size = min(batch_size, _BATCH)
    for name in CANDIDATES:
        with precision(name):
            network = load_backbone().network
        fuse_batch_norm(network)
        network.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse", jit_compile=chosen_jit())
        examples = keras.tree.map_structure(lambda tensor: _example(tensor, size), network.input)
        targets = _example(network.output, size)
        seconds = []
        for _ in range(1 + _STEPS):
            started = time.perf_counter()
            network.train_on_batch(examples, targets)
            seconds.append(time.perf_counter() - started)
        rates[name] = size / min(seconds[1:])
    return PrecisionTest(rates)


def _example(tensor: keras.KerasTensor, size: int) -> NDArray[Any]:
    """A batch of ones; unknown dimensions are 128."""
    return np.ones((size, *(_TOKENS if length is None else length for length in tensor.shape[1:])), tensor.dtype)
