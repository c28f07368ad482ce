"""Resolve ``distribution.strategy``, check that it is possible here, and make the distribution."""

import contextlib
import os
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.distribution.base import ONE_DEVICE, Distribution
from keras_transfer.distribution.environment import reuse_cpu_memory
from keras_transfer.distribution.keras_parallel import DataParallel, ModelParallel, choose_jax_devices, connected
from keras_transfer.distribution.tf_strategies import Mirrored, MultiWorker, choose_devices
from keras_transfer.distribution.workers import Workers, find_workers
from keras_transfer.errors import ConfigError

# The backend that each strategy needs, and the alternative on the other backend.
_BACKENDS = {
    "mirrored": ("tensorflow", "data_parallel"),
    "multi_worker": ("tensorflow", "data_parallel"),
    "data_parallel": ("jax", "mirrored on one machine, multi_worker on several"),
    "model_parallel": ("jax", "mirrored, which keeps the whole model on every device"),
}


@contextlib.contextmanager
def distribute(config: RecipeConfig, *, connect: bool = True) -> Iterator[Distribution]:
    """Make the distribution that a recipe's ``distribution`` section describes.

    Call it before anything else uses TensorFlow or JAX: both fix their devices when they first use one.

    Args:
        connect: Whether to wait for the other processes; if not, one device is yielded.

    Raises:
        ConfigError: The devices do not exist, the backend lacks the strategy, or the recipe does not fit them.
        TrainingError: Another process did not connect in time, or was lost.
    """
    strategy = _resolve_strategy(config)
    _check_backend(strategy)
    if strategy == "none":
        yield ONE_DEVICE
        return
    if strategy == "mirrored":
        devices = choose_devices(config.distribution.devices)
        check_recipe(config, strategy, len(devices))
        yield Mirrored(devices)
        return
    if strategy == "multi_worker":
        workers = find_workers(config.distribution)
        check_recipe(config, strategy, _count_replicas(config, workers))
        if not connect:
            yield ONE_DEVICE
            return
        workers.check_port()
        distribution = MultiWorker(workers, timeout_seconds=config.distribution.timeout_seconds)
        with distribution.together():
            yield distribution
        return
    with _distribute_on_jax(config, strategy, connect) as parallel:
        yield parallel


@contextlib.contextmanager
def _distribute_on_jax(config: RecipeConfig, strategy: str, connect: bool) -> Iterator[Distribution]:
    workers, section = _find_processes(config), config.distribution
    make = ModelParallel if strategy == "model_parallel" else DataParallel
    if workers is None:
        alone = make(choose_jax_devices(section.devices))
        check_recipe(config, strategy, alone.replicas)
        yield alone
        return
    count = len(workers.addresses)
    check_recipe(config, strategy, count, count)
    if not connect:
        yield ONE_DEVICE
        return
    workers.check_port()
    with connected(workers, timeout_seconds=section.timeout_seconds):
        parallel = make(choose_jax_devices(section.devices), workers)
        check_recipe(config, strategy, parallel.replicas, count)
        with parallel.together():
            yield parallel


def _find_processes(config: RecipeConfig) -> Workers | None:
    """The processes that a recipe, TF_CONFIG or SLURM defines, if several; Keras' strategies also run in one."""
    if not _may_have_processes(config):
        return None
    workers = find_workers(config.distribution)
    return workers if len(workers.addresses) > 1 else None


def _may_have_processes(config: RecipeConfig) -> bool:
    several = os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    return bool(config.distribution.workers) or "TF_CONFIG" in os.environ or several


def is_chief(config: RecipeConfig) -> bool:
    """Return whether this process writes the run folder; it need not be connected to the others.

    Raises:
        ConfigError: The index of this process is not known.
    """
    strategy = _resolve_strategy(config)
    if strategy == "multi_worker":
        return find_workers(config.distribution).index == 0
    workers = _find_processes(config) if strategy in ("data_parallel", "model_parallel") else None
    return workers is None or workers.index == 0


def _count_replicas(config: RecipeConfig, workers: Workers) -> int:
    """Number of devices of all processes; each process uses all the GPUs that it sees, or its CPU."""
    devices = choose_devices(config.distribution.devices)
    gpus = [device for device in devices if device.startswith("GPU:")]
    if len(devices) > 1 and not gpus:
        raise ConfigError(
            f"distribution.devices: a process of multi_worker uses its CPU as one device. Received: {len(devices)}. "
            "Leave it out, and start more workers."
        )
    if gpus:
        every = tf.config.list_physical_devices("GPU")
        tf.config.set_visible_devices([every[int(gpu[4:])] for gpu in gpus], "GPU")
    else:
        reuse_cpu_memory()
    return len(workers.addresses) * len(devices)


def _resolve_strategy(config: RecipeConfig) -> str:
    """Resolve ``auto`` to one device, unless the recipe counts several or names some, or there are several GPUs."""
    strategy, devices = config.distribution.strategy, config.distribution.devices
    if strategy != "auto":
        return strategy
    on_jax = keras.backend.backend() == "jax"
    if devices is None:
        # To count JAX's devices starts JAX, after which it cannot be connected to other processes.
        devices = 1 if on_jax and _may_have_processes(config) else _count_gpus(on_jax)
    chosen = isinstance(devices, list) or devices > 1
    return ("data_parallel" if on_jax else "mirrored") if chosen else "none"


def _count_gpus(on_jax: bool) -> int:
    if not on_jax:
        return len(tf.config.list_physical_devices("GPU"))
    import jax  # TensorFlow's backend needs none

    return sum(device.platform == "gpu" for device in jax.local_devices())


def _check_backend(strategy: str) -> None:
    backend = keras.backend.backend()
    needed, other = _BACKENDS.get(strategy, (backend, ""))
    if needed != backend:
        raise ConfigError(
            f"distribution.strategy={strategy} needs KERAS_BACKEND={needed}. Received: {backend}. "
            f"Use {other}, or set KERAS_BACKEND={needed}."
        )


def check_recipe(config: RecipeConfig, strategy: str, replicas: int, processes: int = 1) -> None:
    """Check a recipe for settings that Keras handles wrongly on several devices, and for indivisible batches.

    Args:
        strategy: Not ``auto``.

    Raises:
        ConfigError: There are problems; the message has all of them.
    """
    size, problems = config.training.batch_size, []
    if size != "auto" and size % replicas:
        below = size - size % replicas
        nearest = " or ".join(str(n) for n in (below, below + replicas) if n)
        problems.append(
            f"training.batch_size must be a multiple of the {replicas} devices. Received: {size}. Use {nearest}."
        )
    if config.training.precision == "mixed_float16" and replicas > 1:
        problems.append(
            f"training.precision=mixed_float16 scales the loss, and with distribution.strategy={strategy} an infinity "
            "on one device ruins the weights on all. Use mixed_bfloat16 or float32."
        )
    if strategy == "multi_worker" or processes > 1:
        problems += _find_local_choices(config, strategy)
    if problems:
        raise ConfigError("\n".join(problems))


def _find_local_choices(config: RecipeConfig, strategy: str) -> Iterator[str]:
    """Problems with settings that each process would resolve by itself, from its own measurements."""
    keys = {
        "policy.name": config.policy.name,
        "training.learning_rate": config.training.learning_rate,
        "training.precision": config.training.precision,
    }
    for key, value in keys.items():
        if value == "auto":
            yield (
                f"{key}=auto is resolved by a measurement, and each process of {strategy} would make its own. Run the "
                "recipe with one process first, and use the value in its recipe.yaml."
            )
    if config.data.is_several_runs:
        yield f"data.folds and data.repeats make several runs, and {strategy} trains one. Set data.fold."
