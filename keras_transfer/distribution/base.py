"""The interface to the devices and processes that share a run, and its simplest case: one device."""

import contextlib
import math
import pickle
from collections.abc import Iterator
from typing import Any

import keras

from keras_transfer.data.readers.batch_shares import Share
from keras_transfer.errors import TrainingError
from keras_transfer.networks.types import Batches


class Distribution:
    """One device in one process. Subclasses for several devices override the differences.

    Attributes:
        strategy: The value of ``distribution.strategy``, with ``auto`` resolved.
        replicas: Number of devices that have the model, over all processes; each processes a slice of every batch.
        process: Index of this process; 0 is the chief, and it alone writes the run folder.
        processes: Number of processes.
    """

    strategy = "none"
    replicas = 1
    process = 0
    processes = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder and prints to the terminal."""
        return self.process == 0

    @property
    def rows(self) -> Share:
        """The part of every batch that this process predicts."""
        return Share(self.process, 1, self.processes)

    @property
    def share(self) -> Share:
        """The part of every batch that this process reads."""
        local = self.replicas // self.processes
        return Share(self.process * local, local, self.replicas)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Make model and optimizer for these devices."""
        yield

    def feed(self, dataset: Batches) -> Batches:
        """Convert a dataset of this process's slices, one for each of its devices in turn, for ``fit``."""
        return dataset

    def check_model(self, model: keras.Model) -> None:
        """Check that the model can be distributed over these devices."""

    # Communication between processes. All of them make the same calls in the same order.

    def _exchange(self, content: bytes) -> list[bytes]:
        """Send content to every process; return the content of each, in the order of processes."""
        return [content]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes: numbers, strings and arrays, nested.

        Returns:
            One value per process, in their order.
        """
        if self.processes == 1:
            return [value]
        return [pickle.loads(content) for content in self._exchange(pickle.dumps(value))]

    def broadcast(self, value: Any) -> Any:
        """Return the chief's value."""
        return self.gather(value if self.is_chief else None)[0]

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any process."""
        return any(self.gather(flag))

    def barrier(self) -> None:
        """Wait until every process has reached this call."""
        self.gather(None)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait for every process at the end; name a process that was lost.

        Raises:
            TrainingError: A process was lost.
        """
        try:
            yield
            self.barrier()
        except Exception as error:
            loss = self._find_loss(error)
            if loss is None:
                raise
            raise loss from error

    def _find_loss(self, error: Exception) -> TrainingError | None:
        """The error to raise if this one results from a lost process; None if it does not."""
        return None

    def rate_factor(self, rule: str) -> float:
        """Return the factor on the learning rate for ``distribution.learning_rate_scaling``."""
        return {"none": 1.0, "linear": float(self.replicas), "sqrt": math.sqrt(self.replicas)}[rule]

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Let the chief run first, so that the others find its result in a shared cache."""
        if not self.is_chief:
            self.barrier()
        yield
        if self.is_chief:
            self.barrier()


ONE_DEVICE = Distribution()
