"""The engines, by name. Another one is an entry here, and a class that implements Engine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from keras_transfer.batch_prediction.worker import Engine, LocalEngine, Worker
from keras_transfer.console.imports import importing_ray
from keras_transfer.errors import ConfigError


@contextmanager
def _open_local(worker: Worker, address: str | None) -> Iterator[Engine]:
    if address is not None:
        raise ConfigError(f"--address is for --engine ray. Received: {address}. Add --engine ray, or leave it out.")
    yield LocalEngine(worker)


def _open_ray(worker: Worker, address: str | None) -> AbstractContextManager[Engine]:
    with importing_ray():
        from keras_transfer.batch_prediction.on_ray import open_ray
    return open_ray(worker, address)


ENGINES: Mapping[str, Callable[[Worker, str | None], AbstractContextManager[Engine]]] = {
    "local": _open_local,
    "ray": _open_ray,
}
"""By name: opens an engine, with the worker and the address of a cluster, and closes it again."""
