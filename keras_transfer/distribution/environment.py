"""Set Keras up for a run, and describe the machine."""

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.distribution.base import ONE_DEVICE, Distribution
from keras_transfer.errors import ConfigError

# The backends that recipes train on. TensorFlow is always installed: it reads the data, and exports.
_BACKENDS = ("tensorflow", "jax")


def prepare_backend() -> None:
    """Check Keras' backend, and reserve the GPUs for JAX if it is the backend.

    Raises:
        ConfigError: The backend is neither TensorFlow nor JAX.
    """
    if keras.backend.backend() not in _BACKENDS:
        raise ConfigError(
            f"Recipes train on Keras' backends {' and '.join(_BACKENDS)}. Received: "
            f"KERAS_BACKEND={keras.backend.backend()}. Set KERAS_BACKEND=tensorflow, or leave it out."
        )
    if keras.backend.backend() == "jax":
        with contextlib.suppress(RuntimeError):  # TensorFlow has started already and keeps its devices
            tf.config.set_visible_devices([], "GPU")


def reuse_cpu_memory() -> None:
    """Let TensorFlow reuse the memory of large tensors on the CPU. Call it before the first device is created.

    Otherwise the C library maps memory again for every tensor, and the kernel clears it page by page: devices or
    processes that share cores lost a third of their time to that, while there is no gain for a single device.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")


def chosen_jit() -> Literal["auto"] | bool:
    """Return ``jit_compile`` for ``compile``: XLA on JAX, no XLA on TensorFlow.

    On a CPU, XLA's convolutions were measured to be ten times slower than those of oneDNN.
    """
    return "auto" if keras.backend.backend() == "jax" else False


def sync_variables(model: keras.Model) -> None:
    """Write the current values to the variables; on JAX they are empty within an epoch.

    Args:
        model: The model that ``fit`` or ``evaluate`` runs; this is called in one of its callbacks.
    """
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def builds_with_a_batch() -> bool:
    """Return whether ``fit`` reads a batch to build the model; on TensorFlow shapes are enough."""
    return keras.backend.backend() == "jax"


@contextlib.contextmanager
def session(config: RecipeConfig, distribution: Distribution) -> Iterator[None]:
    """Set seeds, determinism, precision and devices for one run; restore precision and devices afterwards."""
    prepare_backend()
    keras.utils.set_random_seed(config.seed)
    if config.deterministic and keras.backend.backend() == "tensorflow":
        tf.config.experimental.enable_op_determinism()
    with precision(config.training.precision), distribution.scope():
        yield


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Make layers under a dtype policy, and restore the previous one afterwards.

    Args:
        name: A dtype policy of Keras, such as ``mixed_bfloat16``.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def describe_environment(config: RecipeConfig, distribution: Distribution = ONE_DEVICE) -> dict[str, Any]:
    """Return what environment.json records: versions, devices and seed."""
    packages = ["keras-transfer", "keras", "tensorflow", "keras-hub", "numpy"]
    devices = [device.name for device in tf.config.list_physical_devices()]
    if keras.backend.backend() == "jax":
        packages.append("jax")
        devices = keras.distribution.list_devices()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: version(package) for package in packages},
        "backend": keras.backend.backend(),
        "cpu_count": os.cpu_count(),
        "devices": devices,
        "strategy": distribution.strategy,
        "replicas": distribution.replicas,
        "processes": distribution.processes,
        "seed": config.seed,
        "deterministic": config.deterministic,
    }
