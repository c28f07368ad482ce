"""Predict with Ray Data, on this machine or on a cluster; the work of a lost process is repeated.

Each process loads the model once. The parts of the inputs are in Ray's object store, which spills to disk.
"""

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from keras_transfer.batch_prediction.worker import Engine, Piece, Settings, Step, Worker
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.data.inputs import InputKind, InputRows
from keras_transfer.distribution.ray_cluster import connected
from keras_transfer.errors import DataError, TransferError

_NUMBER, _CONTENT = "number", "content"
# The rest is spilled to disk.
_OBJECT_STORE_BYTES = 300 * 2**20


class RayEngine:
    """Processes that Ray Data starts where there are cores or GPUs.

    Args:
        worker: Its model, which the processes open by its path; the kind of its inputs, and its settings.
    """

    def __init__(self, worker: Worker) -> None:
        self._path, self._kind, self._settings = worker.run.path.resolve(), worker.kind, worker.settings

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        references = [ray.put(_pack(number, _with_absolute_paths(piece))) for number, piece in pieces]
        if not references:
            return
        resources = ray.cluster_resources()
        unit = "GPU" if resources.get("GPU") else "CPU"
        processes = max(1, min(int(resources.get(unit, 1)), len(references)))
        data = ray.data.from_arrow_refs(references).map_batches(
            _Process,
            fn_constructor_args=(self._path, self._kind, self._settings, step),
            batch_size=None,  # a part each
            batch_format="pyarrow",
            concurrency=(1, processes),
            num_cpus=1,
            num_gpus=1 if unit == "GPU" else 0,
        )
        try:
            for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for number, result in _unpack(batch):
                    if isinstance(result, TransferError):
                        raise result
                    yield number, result
        except RayError as error:
            raise DataError(
                f"Ray could not finish: {str(error).strip().splitlines()[-1][:500]} Every node needs keras_transfer, "
                f"{self._path} and the files that the inputs name. Fix that, and give the command again."
            ) from error


class _Process:
    """An actor of Ray Data."""

    def __init__(self, path: Path, kind: InputKind, settings: Settings, step: Step) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import_tensorflow()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)  # there is a process for each core
        from keras_transfer.run.opened import open_model

        self._step = getattr(Worker(open_model(path), kind, settings), step)

    def __call__(self, batch: Any) -> Any:
        tables = []
        for number, piece in _unpack(batch):
            try:
                result = self._step(piece)
            except TransferError as error:  # Ray would try again
                result = error
            tables.append(_pack(number, result))
        return pa.concat_tables(tables)


def _with_absolute_paths(piece: InputRows) -> InputRows:
    """Make paths absolute: other processes have other working directories."""
    values = [Path(value).absolute() if isinstance(value, os.PathLike) else value for value in piece.values]
    return replace(piece, values=values)


def _pack(number: int, value: Any) -> Any:
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return pa.table({_NUMBER: pa.array([number]), _CONTENT: pa.array([content], pa.large_binary())})


def _unpack(batch: Any) -> Iterator[tuple[int, Any]]:
    for number, content in zip(batch[_NUMBER].to_pylist(), batch[_CONTENT].to_pylist(), strict=True):
        yield number, pickle.loads(content)


@contextmanager
def open_ray(worker: Worker, address: str | None) -> Iterator[Engine]:
    """Connect to a cluster, or start Ray on this machine, until the block ends.

    Args:
        address: Of the cluster, as ``ray.init`` takes it; if None, Ray is started on this machine.

    Raises:
        ConfigError: There is no cluster at the address.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with connected(address, cpus=os.cpu_count() or 1, object_store_bytes=_OBJECT_STORE_BYTES):
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        yield RayEngine(worker)
