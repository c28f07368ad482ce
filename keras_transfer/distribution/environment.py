"""Keras as a run wants it, and what the machine is."""

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.config import RecipeConfig
from keras_transfer.distribution.base import ONE_DEVICE, Distribution


@contextlib.contextmanager
def session(config: RecipeConfig, distribution: Distribution) -> Iterator[None]:
    """Set seeds, determinism, precision and devices for one run, and put precision and devices back afterwards.

    Args:
        config: The recipe.
        distribution: Over which the run is spread.

    Yields:
        Nothing: model and optimizer are made inside.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    with precision(config.training.precision), distribution.scope():
        yield


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Make layers in one arithmetic, and put back what was set before.

    Args:
        name: A dtype policy of Keras, such as ``mixed_bfloat16``.

    Yields:
        Nothing: layers are made inside.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def describe_environment(config: RecipeConfig, distribution: Distribution = ONE_DEVICE) -> dict[str, Any]:
    """Return what environment.json records: versions, devices and seed."""
    packages = ("keras-transfer", "keras", "tensorflow", "keras-hub", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: version(package) for package in packages},
        "backend": keras.backend.backend(),
        "cpu_count": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "strategy": distribution.strategy,
        "replicas": distribution.replicas,
        "processes": distribution.processes,
        "seed": config.seed,
        "deterministic": config.deterministic,
    }
