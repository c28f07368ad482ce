"""Devices and processes that share a run: what the rest of the code sees of them. This one is one device."""

import contextlib
import math
import pickle
from collections.abc import Iterator
from typing import Any

import keras

from keras_transfer.data.readers.batch_shares import Share
from keras_transfer.errors import TrainingError


class Distribution:
    """One device in one process; those of several override what differs.

    Attributes:
        strategy: ``distribution.strategy``, without ``auto``.
        replicas: On how many devices the model lies, over all processes; each takes a slice of every batch.
        process: Index of this process; 0 is the chief, and it alone writes the run folder.
        processes: How many there are.
    """

    strategy = "none"
    replicas = 1
    process = 0
    processes = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder and talks to the user."""
        return self.process == 0

    @property
    def rows(self) -> Share:
        """What this process predicts of every batch."""
        return Share(self.process, 1, self.processes)

    @property
    def share(self) -> Share:
        """What this process reads of every batch."""
        local = self.replicas // self.processes
        return Share(self.process * local, local, self.replicas)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Make model and optimizer for these devices.

        Yields:
            Nothing: they are made, compiled, trained and evaluated inside.
        """
        yield

    def feed(self, dataset: Any) -> Any:
        """Turn a dataset of this process's slices, one for each of its devices in turn, into what ``fit`` takes."""
        return dataset

    def check_model(self, model: keras.Model) -> None:
        """Refuse a model that these devices can make nothing of.

        Args:
            model: Made in the scope.
        """

    # What processes tell one another. All of them make the same calls in the same order.

    def _exchange(self, content: bytes) -> list[bytes]:
        """Give every process what each of them has, in their order."""
        return [content]

    def gather(self, value: Any) -> list[Any]:
        """Return what each process has.

        Args:
            value: Numbers, strings, arrays, nested; of this process.

        Returns:
            One a process, in their order.
        """
        if self.processes == 1:
            return [value]
        return [pickle.loads(content) for content in self._exchange(pickle.dumps(value))]

    def broadcast(self, value: Any) -> Any:
        """Return what the chief has."""
        return self.gather(value if self.is_chief else None)[0]

    def any(self, flag: bool) -> bool:
        """Tell whether a flag is set in some process."""
        return any(self.gather(flag))

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.gather(None)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Stay until every process is done; say which one was lost where one was.

        Yields:
            Nothing: the run goes on inside.

        Raises:
            TrainingError: A process has gone.
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
        """What ends the run where an error comes of a process that has gone, and None where it does not."""
        return None

    def rate_factor(self, rule: str) -> float:
        """Return the factor on the learning rate by ``distribution.learning_rate_scaling``."""
        return {"none": 1.0, "linear": float(self.replicas), "sqrt": math.sqrt(self.replicas)}[rule]

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Let the chief do something before the others: what it leaves in a shared cache, they find.

        Yields:
            Nothing.
        """
        if not self.is_chief:
            self.barrier()
        yield
        if self.is_chief:
            self.barrier()


ONE_DEVICE = Distribution()
