"""The only file that knows of distribution strategies, devices and what the machine is."""

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.config import DistributionConfig, RecipeConfig
from keras_transfer.errors import ConfigError


def make_strategy(config: DistributionConfig) -> Any:
    """Choose where a run computes.

    Args:
        config: The recipe's distribution section.

    Returns:
        A ``tf.distribute.Strategy``; the default one, which does nothing, for a single device.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if config.strategy == "mirrored" or (config.strategy == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(gpus or tf.config.list_logical_devices("CPU"))
    return tf.distribute.get_strategy()


def check_batch_size(batch_size: int, strategy: Any) -> None:
    """Refuse a batch that cannot be divided evenly.

    Raises:
        ConfigError: The batch size is not a multiple of the replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        lower = batch_size // replicas * replicas
        near = f"{lower} or {lower + replicas}" if lower else str(replicas)
        raise ConfigError(
            f"training.batch_size must be a multiple of the {replicas} replicas. Received: {batch_size}. Use {near}."
        )


@contextlib.contextmanager
def session(config: RecipeConfig) -> Iterator[Any]:
    """Set seeds, determinism and precision for one run, and put the precision back afterwards.

    Args:
        config: The recipe.

    Yields:
        The strategy. Model and optimizer are made inside its scope.
    """
    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.training.precision)
    strategy = make_strategy(config.distribution)
    check_batch_size(config.training.batch_size, strategy)
    try:
        with strategy.scope():
            yield strategy
    finally:
        keras.config.set_dtype_policy(before)


def describe_environment(config: RecipeConfig) -> dict[str, Any]:
    """Return what environment.json records: versions, devices and seed."""
    packages = ("keras-transfer", "keras", "tensorflow", "keras-hub", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: version(package) for package in packages},
        "backend": keras.backend.backend(),
        "cpu_count": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "seed": config.seed,
        "deterministic": config.deterministic,
    }
