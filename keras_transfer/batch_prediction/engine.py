"""Where the work is done: an engine applies a step of a worker to each part of the inputs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from keras_transfer.batch_prediction.worker import Worker
from keras_transfer.data.inputs import InputRows

Step = Literal["check", "answer"]
"""A method of :class:`Worker`."""

Piece = tuple[int, InputRows]
"""A part of the inputs, with its number."""


class Engine(Protocol):
    """Applies a step to parts of the inputs."""

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        """Apply a step to each part.

        Yields:
            The number of each part and the result, in the order of the parts.
        """


@dataclass(frozen=True)
class LocalEngine:
    """This process, one part after the other; TensorFlow uses all cores or the GPU of the machine."""

    worker: Worker

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        """Apply a step to each part."""
        function = getattr(self.worker, step)
        for number, piece in pieces:
            yield number, function(piece)
