"""Several devices under ``keras.distribution``, on JAX: data parallel over processes, model parallel within each.

JAX only splits an array into slices of equal size. If a batch cannot be split in this way, every device has all of it
and computes the same result.
"""

import atexit
import contextlib
import math
import os
import socket
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.distribution.base import Distribution
from keras_transfer.distribution.rendezvous import await_workers
from keras_transfer.distribution.workers import Workers
from keras_transfer.errors import ConfigError, RunInterrupted, TrainingError
from keras_transfer.networks.keras_internals import assigned_layout, patched, replaced
from keras_transfer.networks.types import Array, Batches, Model, Tensor, Tensors, Variable


def choose_jax_devices(given: int | Sequence[str] | None) -> list[str]:
    """Return Keras' names of the devices of all processes, by process, according to the recipe.

    Args:
        given: ``distribution.devices``: names are those within a process. A CPU is split if needed.

    Raises:
        ConfigError: There are fewer devices, or it is too late to split the CPU.
    """
    import jax  # TensorFlow's backend needs none

    names = [] if given is None or isinstance(given, int) else [name.lower() for name in given]
    numbers = [int(number) if number.isdecimal() else -1 for number in (name.partition(":")[2] for name in names)]
    count = given if isinstance(given, int) else max(numbers, default=0) + 1
    if count > 1:
        with contextlib.suppress(RuntimeError):  # JAX has started: its devices are fixed
            jax.config.update("jax_num_cpu_devices", count)
    platform = names[0].partition(":")[0] if names else None
    try:
        devices = jax.devices(platform)
    except RuntimeError:
        devices = []
    each = [[d for d in devices if d.process_index == process] for process in range(jax.process_count())]
    here = [f"{device.platform}:{number}" for number, device in enumerate(each[jax.process_index()])]
    chosen = names or here[: given if isinstance(given, int) else None]
    unknown = [name for name in chosen if name not in here]
    if unknown or len(chosen) < count or len(set(chosen)) < len(chosen):
        received = given if isinstance(given, int) else ", ".join(names)
        raise ConfigError(
            f"distribution.devices: JAX has no such devices. Received: {received}. This process has "
            f"{', '.join(here) or f'no {platform}'}; each can be named once. A CPU can be split only before JAX has "
            "started. Use a fresh process for that."
        )
    return [
        f"{of_process[here.index(name)].platform}:{of_process[here.index(name)].id}"
        for of_process in each
        for name in chosen
    ]


@contextlib.contextmanager
def connected(workers: Workers, *, timeout_seconds: float) -> Iterator[None]:
    """Connect the processes of a run while the block runs.

    Args:
        workers: Their addresses; all connect to the chief's.

    Raises:
        TrainingError: Some did not connect in time.
        ConfigError: Two have the same index.
    """
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX would handle SIGTERM itself, and the run would continue.
    jax.config.update("jax_enable_preemption_service", False)
    with contextlib.ExitStack() as stack:
        if workers.index:  # for find_lost: JAX itself listens at the chief only
            stack.enter_context(socket.create_server(("", int(workers.addresses[workers.index].rpartition(":")[2]))))
        await_workers(workers, timeout_seconds=timeout_seconds)
        jax.distributed.initialize(
            coordinator_address=workers.addresses[0],
            num_processes=len(workers.addresses),
            process_id=workers.index,
            initialization_timeout=int(timeout_seconds) + 1,
            heartbeat_timeout_seconds=max(int(timeout_seconds), 10),
            shutdown_timeout_seconds=10,
        )
        try:
            yield
        except RunInterrupted:  # all of them are interrupted
            jax.distributed.shutdown()
            raise
        except BaseException as error:
            # Called before JAX's own exit handler, which would wait for the others and abort.
            atexit.register(_leave, getattr(error, "exit_code", 1))
            raise
        jax.distributed.shutdown()


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


Original = Callable[..., Any]
_AXES = ["batch", "model"]
# Smaller weights are not worth the traffic.
_LEAST_SHARDED = 4096


class DataParallel(Distribution):
    """Every device has the whole model and takes a slice of each batch.

    Args:
        devices: Keras' names of the devices of all processes, concatenated.
        workers: The processes, if there are several.
    """

    strategy = "data_parallel"

    def __init__(self, devices: Sequence[str], workers: Workers | None = None) -> None:
        self.replicas = len(devices)
        self._workers = workers
        if workers is not None:
            self.process, self.processes = workers.index, len(workers.addresses)
        self._keras = self._distribute(devices)
        self._compiled: Any = weakref.WeakKeyDictionary()

    def _distribute(self, devices: Sequence[str]) -> Any:
        return keras.distribution.DataParallel(devices=list(devices), auto_shard_dataset=False)

    @property
    def share(self) -> Share:
        """The part of every batch that this process reads; it is split when it is placed on its devices."""
        return Share(self.process, 1, self.processes) if self.processes > 1 else WHOLE

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Let Keras place variables and batches on the devices."""
        import jax

        places = [
            replaced(jax, "make_array_from_process_local_data", self._place),
            patched("predict_on_batch", self._predict_on_batch),
        ]
        if self.processes > 1:
            places.append(patched("predict", self._predict))
            places.append(patched("variable_to_array", self._to_array))
        with contextlib.ExitStack() as stack:
            for context in (*places, self._keras.scope()):
                stack.enter_context(context)
            yield

    # Each takes the original function, and returns its replacement.

    def _place(self, original: Original) -> Original:
        """Keras 3.15 uses it to make one array of all processes' rows; JAX 0.10 requires slices of equal size."""
        import jax

        def place(layout: Any, rows: NDArray[Any]) -> Any:
            sizes = [len(rows)]
            if self.processes > 1:
                sizes = [int(size) for size in _allgather(np.array(len(rows)))]
            if sum(sizes) % self.replicas == 0:
                return original(layout, rows)
            whole = np.concatenate(self._gather_rows(rows, sizes)) if self.processes > 1 else rows
            return original(jax.sharding.NamedSharding(layout.mesh, jax.sharding.PartitionSpec()), whole)

        return place

    def _gather_rows(self, rows: NDArray[Any], sizes: Sequence[int]) -> list[NDArray[Any]]:
        padded = np.zeros((max(sizes), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        return [part[:size] for part, size in zip(_allgather(padded), sizes, strict=True)]

    def _predict_on_batch(self, original: Original) -> Original:
        def predict_on_batch(model: Model, inputs: Tensors) -> Any:
            if self.processes > 1:
                return self._predict_here(model, inputs)
            import jax

            def place(rows: Any) -> Any:
                rows = np.asarray(rows)
                return jax.make_array_from_process_local_data(
                    self._keras.get_data_layout(rows.shape).backend_layout, rows
                )

            return original(model, keras.tree.map_structure(place, inputs))

        return predict_on_batch

    def _predict_here(self, model: Model, inputs: Tensors) -> Any:
        """Run a model, whose weights are distributed over all processes, only on this one."""
        import jax

        # Compiled again if other weights train: JAX distinguishes arguments only by their shapes.
        trains = tuple(weight.trainable for weight in model.weights)
        known, run = self._compiled.get(model, (None, None))
        if known != trains:
            call = model.stateless_call
            run = jax.jit(lambda *arguments: call(*arguments, training=False)[0])
            self._compiled[model] = trains, run
        weights = model.trainable_variables, model.non_trainable_variables
        local = ([self._own(variable) for variable in variables] for variables in weights)
        return jax.tree.map(np.asarray, run(*local, inputs))

    def _own(self, variable: Variable) -> Tensor:
        """A weight's value on this process, as an array for computing with JAX, and for NumPy."""
        return variable.value.addressable_data(0)

    def _to_array(self, original: Original) -> Original:
        def to_array(variable: Variable, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
            return np.array(self._own(variable), dtype, copy=copy)

        return to_array

    def _predict(self, original: Original) -> Original:
        def predict(model: Model, batches: Batches, verbose: Any = 0) -> Array:
            """Predict a dataset that this process alone has."""
            inputs = (keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in batches.as_numpy_iterator())
            return np.concatenate([np.asarray(self._predict_here(model, batch)) for batch in inputs])

        return predict

    # Communication between processes.

    def _exchange(self, content: bytes) -> list[bytes]:
        sizes = [int(size) for size in _allgather(np.array(len(content)))]
        return [part.tobytes() for part in self._gather_rows(np.frombuffer(content, np.uint8), sizes)]

    def _find_loss(self, error: Exception) -> TrainingError | None:
        import jax

        if self._workers is None or not isinstance(error, (jax.errors.JaxRuntimeError, ValueError)):
            return None  # the type depends on where the loss is noticed
        lost = self._workers.find_lost()
        return self._workers.describe_loss(lost) if lost or "Gloo" in str(error) else None


class ModelParallel(DataParallel):
    """Large weights are split along their last axis over the devices of a process, each of which reads its whole batch.

    Several processes divide batches, as under :class:`DataParallel`.
    """

    strategy = "model_parallel"

    def _distribute(self, devices: Sequence[str]) -> Any:
        self.replicas = self.processes
        mesh = keras.distribution.DeviceMesh((self.processes, len(devices) // self.processes), _AXES, list(devices))
        layout_map = keras.distribution.LayoutMap(mesh)
        return _ByShape(layout_map=layout_map, batch_dim_name=_AXES[0], auto_shard_dataset=False)

    def _own(self, variable: Variable) -> Tensor:
        """The parts on this process's devices make up the whole weight."""
        import jax

        value, layout = variable.value, self._keras.get_variable_layout(variable).backend_layout
        if value.is_fully_addressable:
            return value
        here = jax.sharding.NamedSharding(layout.mesh.local_mesh, layout.spec)
        parts = [shard.data for shard in value.addressable_shards]
        return jax.make_array_from_single_device_arrays(value.shape, here, parts)

    def check_model(self, model: keras.Model) -> None:
        """Check that some weight is split: otherwise every device would have the whole model.

        Raises:
            ConfigError: No weight can be split.
        """
        if not any(self._keras.splits(weight) for weight in model.weights):
            raise ConfigError(
                f"distribution.strategy=model_parallel has nothing to split: no Dense, EinsumDense or Embedding weight "
                f"of this model has {_LEAST_SHARDED:,} numbers and a last axis that is a multiple of the devices of a "
                f"process. Received: {self._keras.device_mesh.shape[1]} devices. Use data_parallel, or another number "
                "in distribution.devices."
            )


class _ByShape(keras.distribution.ModelParallel):
    """Chooses layouts by kind and size of a weight: paths of pretrained networks follow no common pattern."""

    def splits(self, variable: Variable) -> bool:
        """Return whether a weight is large enough to be split, and can be split evenly."""
        name, shape = variable.path.rpartition("/")[2], variable.shape
        kinds = name == "embeddings" or (name == "kernel" and len(shape) < 4)  # those of convolutions have more axes
        size = self.device_mesh.shape[1]
        large = len(shape) > 1 and math.prod(shape) >= _LEAST_SHARDED
        return kinds and large and size > 1 and shape[-1] % size == 0

    def get_variable_layout(self, variable: Variable) -> Any:
        """Return the layout of a weight; an optimizer's slots have that of their weight."""
        if assigned_layout(variable) is None and self.splits(variable):
            axes = [None] * (len(variable.shape) - 1) + _AXES[1:]
            return keras.distribution.TensorLayout(axes, self.device_mesh)
        return super().get_variable_layout(variable)


def _allgather(value: NDArray[Any]) -> NDArray[Any]:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(value))
