"""Where the work is done: an engine applies a step of a worker to each part of the inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from keras_transfer.batch_prediction.worker import Worker
from keras_transfer.data.inputs import InputRows
from keras_transfer.errors import ConfigError

Step = Literal["check", "answer"]
"""A method of :class:`Worker`."""

Piece = tuple[int, InputRows]
"""A part of the inputs, with its number."""


class Engine(Protocol):
    """Applies a step to parts of the inputs."""

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        """Apply a step to each part.

        Args:
            step: A method of a worker.
            pieces: With their numbers.

        Yields:
            The number of each part and the result, in the order of the parts.
        """


@dataclass(frozen=True)
class LocalEngine:
    """This process, one part after the other; TensorFlow uses all cores or the GPU of the machine.

    Attributes:
        worker: Does it.
    """

    worker: Worker

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        """Apply a step to each part."""
        function = getattr(self.worker, step)
        for number, piece in pieces:
            yield number, function(piece)


@contextmanager
def _open_local(worker: Worker, address: str | None) -> Iterator[Engine]:
    if address is not None:
        raise ConfigError(f"--address is for --engine ray. Received: {address}. Add --engine ray, or leave it out.")
    yield LocalEngine(worker)


ENGINES: Mapping[str, Callable[[Worker, str | None], AbstractContextManager[Engine]]] = {"local": _open_local}
"""By name: opens an engine, with the worker and the address of a cluster, and closes it again."""
