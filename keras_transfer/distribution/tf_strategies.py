"""Several devices, of one machine or of several processes, each with the whole model: ``tf.distribute``."""

import contextlib
import faulthandler
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.distribution.base import Distribution
from keras_transfer.distribution.environment import reuse_cpu_memory
from keras_transfer.distribution.keras_patches import distribute_slices, patched_keras
from keras_transfer.distribution.rendezvous import await_workers
from keras_transfer.distribution.workers import Workers
from keras_transfer.errors import ConfigError, TrainingError
from keras_transfer.networks.types import Batches, Tensor


class Mirrored(Distribution):
    """Every device takes a slice of each batch, and gradients are summed.

    Args:
        devices: TensorFlow's names of the devices, such as ``GPU:0``.
    """

    strategy = "mirrored"

    def __init__(self, devices: Sequence[str]) -> None:
        self.replicas = len(devices)
        # TensorFlow 2.21 sums over CPUs with collectives, which fail if gradients of an embedding are sparse.
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
            # The devices use all cores by themselves: more threads per operation only wait for one another.
            tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError as error:
        raise ConfigError(
            f"distribution.devices: the CPU cannot be split into {count} devices any more, because TensorFlow already "
            f"uses it as {len(there)}. Start the run in a fresh process, before anything else uses TensorFlow."
        ) from error


_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class MultiWorker(Distribution):
    """Every device of every process takes a slice of each batch, and gradients are summed over the network.

    Args:
        workers: The addresses of the processes, which must all connect.
        timeout_seconds: How long to wait for them; then this process ends.
    """

    strategy = "multi_worker"

    def __init__(self, workers: Workers, *, timeout_seconds: float) -> None:
        self.process, self.processes = workers.index, len(workers.addresses)
        self._workers = workers
        await_workers(workers, timeout_seconds=timeout_seconds)
        with _exit_after(timeout_seconds):
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=tf.distribute.cluster_resolver.SimpleClusterResolver(
                    tf.train.ClusterSpec({"worker": list(workers.addresses)}),
                    task_type="worker",
                    task_id=workers.index,
                    rpc_layer="grpc",
                )
            )
        if threading.current_thread() is threading.main_thread():
            # TensorFlow has replaced Python's handler, and ignores the signal.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        self.replicas = self._strategy.num_replicas_in_sync
        self._add = self._make_sum()

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Create model and optimizer on every device of every process; all start with the chief's values."""
        with self._strategy.scope(), patched_keras(self._strategy, processes=self.processes):
            yield

    def feed(self, dataset: Batches) -> Batches:
        return distribute_slices(self._strategy, dataset, local=self.replicas // self.processes)

    def _find_loss(self, error: Exception) -> TrainingError | None:
        if not isinstance(error, _LOST) and "Collective ops is aborted" not in str(error):
            return None
        named = {int(index) for index in re.findall(r"/task:(\d+)", str(error))} - {self.process}
        return self._workers.describe_loss(sorted(named & set(range(self.processes))) or self._workers.find_lost())

    # Communication between processes: sums of integers to which all but one process add zeros.

    def _make_sum(self) -> Any:
        strategy, local = self._strategy, self.replicas // self.processes

        def add(values: Tensor) -> Tensor:
            context = tf.distribute.get_replica_context()
            mine = tf.cast(context.replica_id_in_sync_group, tf.int32) % local == 0
            own = tf.where(mine, values, tf.zeros_like(values))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        def add_everywhere(values: Tensor) -> Tensor:
            return strategy.experimental_local_results(strategy.run(add, args=(values,)))[0]

        signature = [tf.TensorSpec([None], tf.int32)]
        return tf.function(add_everywhere, input_signature=signature, autograph=False)

    def _sum(self, values: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.asarray(self._add(tf.constant(values, tf.int32)))

    def _send(self, content: bytes, source: int) -> bytes:
        """Send the content of one process to all."""
        mine = self.process == source
        size = int(self._sum(np.array([len(content) if mine else 0], np.int32))[0])
        words = np.zeros(-(-size // 4), np.int32)
        if mine:
            words.view(np.uint8)[:size] = np.frombuffer(content, np.uint8)
        return self._sum(words).tobytes()[:size]

    def _exchange(self, content: bytes) -> list[bytes]:
        return [self._send(content, source) for source in range(self.processes)]

    def any(self, flag: bool) -> bool:
        return bool(self._sum(np.array([flag], np.int32))[0])


@contextlib.contextmanager
def _exit_after(seconds: float) -> Iterator[None]:
    """Exit if TensorFlow waits longer: it waits in C++, where no other Python thread runs.

    The processes have connected before; this is for a process that is lost at that moment.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
