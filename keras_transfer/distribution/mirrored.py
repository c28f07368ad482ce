"""Several devices of one machine, each with the whole model: ``tf.distribute.MirroredStrategy``."""

import contextlib
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from keras_transfer.distribution.base import Distribution
from keras_transfer.distribution.environment import reuse_cpu_memory
from keras_transfer.distribution.keras_patches import distribute_slices, patched_keras
from keras_transfer.errors import ConfigError
from keras_transfer.networks.types import Batches


class Mirrored(Distribution):
    """Every device takes a slice of each batch, and gradients are summed.

    Args:
        devices: TensorFlow's names of the devices, such as ``GPU:0``.
    """

    strategy = "mirrored"

    def __init__(self, devices: Sequence[str]) -> None:
        self.replicas = len(devices)
        # TensorFlow 2.21 sums over CPUs by collectives, which fail if gradients are rows of an embedding.
        on_cpu = any(name.startswith("CPU:") for name in devices)
        sums = tf.distribute.ReductionToOneDevice() if on_cpu else None
        self._strategy = tf.distribute.MirroredStrategy(list(devices), cross_device_ops=sums)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Make model and optimizer on every device."""
        with self._strategy.scope(), patched_keras(self._strategy, processes=self.processes):
            yield

    def feed(self, dataset: Batches) -> Batches:
        return distribute_slices(self._strategy, dataset, local=self.replicas)


def choose_devices(given: int | Sequence[str] | None) -> list[str]:
    """Return TensorFlow's names of the devices that the recipe counts or names; a CPU is split if needed.

    Raises:
        ConfigError: There are fewer devices, or it is too late to split the CPU.
    """
    gpus = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
    if given is None:
        return gpus or ["CPU:0"]
    if isinstance(given, int):
        if gpus and given > len(gpus):
            raise ConfigError(
                f"distribution.devices: not enough GPUs. Received: {given}. This machine has {len(gpus)}: "
                f"{', '.join(gpus)}. Use at most {len(gpus)}."
            )
        given = gpus[:given] if gpus else [f"CPU:{number}" for number in range(given)]
    names = [name.upper() for name in given]
    cpus = [name for name in names if name.startswith("CPU:") and name[4:].isdecimal()]
    unknown = [name for name in names if name not in gpus and name not in cpus]
    if unknown or len(set(names)) < len(names):
        problem = f"there is no {', '.join(unknown)}" if unknown else "a device is named twice"
        raise ConfigError(
            f"distribution.devices: {problem}. Received: {', '.join(names)}. "
            f"This machine has {', '.join([*gpus, 'CPU:0'])}; a CPU can be split into CPU:0, CPU:1 and so on. "
            "Name some of these."
        )
    if cpus:
        _split_cpu(max(int(name[4:]) for name in cpus) + 1)
    return names


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    there = tf.config.get_logical_device_configuration(cpu) or [tf.config.LogicalDeviceConfiguration()]
    if len(there) >= count:
        return
    reuse_cpu_memory()
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        if count >= (os.cpu_count() or 1) and "TF_NUM_INTRAOP_THREADS" not in os.environ:
            # The devices use all cores by themselves: more threads in each operation only wait for one another.
            tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError as error:
        raise ConfigError(
            f"distribution.devices: the CPU cannot be split into {count} devices any more, because TensorFlow already "
            f"uses it as {len(there)}. Start the run in a fresh process, before anything else uses TensorFlow."
        ) from error
