"""Readers turn examples into inputs: one object is used for training, the cache, evaluation, ``predict`` and export.

Batches are tf.data: read in parallel, streamed, and in an order that depends only on (seed, epoch).
"""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError
from keras_transfer.networks.types import Array, Batches, Dataset, JsonObject, Tensor, Tensors

Rows = NDArray[np.int64]

CLIENTS = Path(__file__).with_name("clients")
"""Folder of the programs that are copied as :data:`INPUTS`."""

INPUTS = "inputs.py"
"""Beside an exported model: from what a client has to the model's tensors."""

# Each parallel call holds a batch.
_MOST_CALLS = 16


def map_ahead(dataset: Dataset, function: Callable[..., Tensors]) -> Batches:
    """Map a dataset's elements in parallel and in order, a few ahead of their use.

    The autotuning of tf.data is off. Its thread sleeps twice as long each time, and is not always woken when an
    iteration ends (TensorFlow 2.21): the end then waits for it, for up to as long as the iteration took. AutoGraph is
    off, too: it takes seconds to scan functions in which it finds nothing to convert.

    Args:
        function: From an element to a batch, with TensorFlow's own conditions and loops.
    """
    calls = min(os.cpu_count() or 1, _MOST_CALLS)
    options = tf.data.Options()
    options.autotune.enabled = False
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=calls).prefetch(2).with_options(options)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return the number of batches per epoch."""
    return -(-rows // batch_size)


@dataclass(frozen=True)
class View:
    """How examples are shown: plain, flipped along axes, or augmented as in an epoch of training.

    Attributes:
        epoch: The epoch whose random changes are applied; None for no changes.
        whole: Whether examples that are longer than the network's input are shown in full. Only a predictor accepts
            these; a trainer, and the stages whose features are cached, use a part of them.
    """

    epoch: int | None = None
    flipped: tuple[int, ...] = ()
    whole: bool = False


PLAIN = View()


class Reader(ABC):
    """Turns examples into inputs of a network."""

    mixes = False
    """Whether training examples have no features that could be cached, since they are mixed with one another."""

    names: Sequence[str] = ()
    """Names of the inputs of a network that takes several."""

    flips: Sequence[tuple[int, ...]] = ((),)
    """Axes along which inputs are flipped, for each view that predictions are averaged over."""

    writes = False
    """Whether predictors choose sequences step by step, in a loop as long as these become."""

    predictor_view: View = PLAIN
    """What the predictor takes, which is what is saved and exported."""

    def cuts(self, split: Split) -> bool:
        """Return whether the plain view drops a part of some examples that :attr:`predictor_view` shows."""
        return False

    def prepare(self, split: Split) -> Split:
        """Return a split whose examples can be loaded; slow preparation is done here, once."""
        return split

    @abstractmethod
    def order(self, split: Split, *, batch_size: int, seed: int, epochs: range, skip: int = 0) -> Dataset:
        """Make a dataset of the rows of each training step.

        Args:
            split: The rows.
            batch_size: Maximum number of rows per step; an epoch's rows are distributed evenly over its batches, so
                that none is too small for BatchNorm's statistics.
            seed: Seed of the order.
            epochs: Their numbers.
            skip: How many steps to skip at the beginning; nothing is read for them.

        Returns:
            Pairs of an epoch, ``int64[]``, and row numbers, ``int64[batch]``; they depend only on seed and epoch.
        """

    @abstractmethod
    def evaluation_order(self, split: Split, *, batch_size: int, view: View = PLAIN) -> list[Rows]:
        """Return the rows of each batch of an evaluation; each row occurs once.

        Args:
            split: The rows.
            batch_size: Maximum number of rows per batch.
            view: How they are shown.
        """

    @abstractmethod
    def load(self, split: Split, view: View) -> Callable[[Tensor], Tensors]:
        """Return a function, for a graph, from row numbers ``int64[batch]`` to a batch of inputs."""

    def training_batches(
        self,
        split: Split,
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int,
        epochs: range,
        skip: int = 0,
        share: Share = WHOLE,
    ) -> Batches:
        """Make one dataset of all the batches of several epochs.

        Args:
            split: The training rows.
            targets: ``float32[rows, outputs]``, as the head encodes them.
            weights: ``float32[rows]``, sample weights.
            batch_size: Maximum number of rows per step.
            seed: Seed of order and augmentation.
            epochs: Their numbers.
            skip: How many batches to skip at the beginning.
            share: The part of each batch to read.

        Returns:
            Batches of (inputs, targets, weights).
        """
        make = self.make_batch(split)
        order = self.order(split, batch_size=batch_size, seed=seed, epochs=epochs, skip=skip)
        return map_ahead(
            share.divide(order),
            lambda epoch, rows: make(epoch, rows, tf.gather(targets, rows), tf.gather(weights, rows)),
        )

    def make_batch(self, split: Split) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensors]:
        """Return a function, for a graph, from epoch, row numbers, targets and weights to a training batch."""
        load = self.load(split, PLAIN)
        return lambda epoch, rows, targets, weights: (load(rows), targets, weights)

    def evaluation_batches(
        self,
        split: Split,
        targets: NDArray[np.float32] | None = None,
        *,
        batch_size: int,
        view: View = PLAIN,
        share: Share = WHOLE,
    ) -> Batches:
        """Make a dataset of a split's rows in the order of :meth:`evaluation_order`.

        Args:
            split: The rows.
            targets: ``float32[rows, outputs]``, or None for only inputs.
            batch_size: Maximum number of rows per batch.
            view: How they are shown.
            share: The part of each batch to read.

        Returns:
            Batches of inputs, or of (inputs, targets).
        """
        load = self.load(split, view)
        batches = rows_dataset(share.divide_evaluation(self.evaluation_order(split, batch_size=batch_size, view=view)))
        if targets is None:
            return map_ahead(batches, load)
        return map_ahead(batches, lambda rows: (load(rows), tf.gather(targets, rows)))

    def training_views(self, epochs: range, most: int) -> Sequence[View]:
        """Return the views of training examples that are cached for several epochs.

        Args:
            epochs: Their numbers.
            most: The maximum number of views; 1 is the plain one.
        """
        return (PLAIN,)

    def evaluation_views(self) -> Sequence[View]:
        """Return a view for each flip that predictions are averaged over, the plain one first."""
        return [View(flipped=axes) for axes in self.flips]

    @abstractmethod
    def describe(self, split: Split, views: Sequence[View]) -> dict[str, Any]:
        """Return everything except the examples on which these views of a split depend, for the cache key."""

    def lengths(self, split: Split) -> Rows | None:
        """Return the number of tokens of each example; None if all examples have the same shape."""
        return None

    def padded_length(self, lengths: Rows) -> int:
        """Return the length to which examples of these lengths are padded in one batch."""
        return int(lengths.max())

    def gather(self, split: Split, rows: Rows, names: Sequence[str]) -> list[Array]:
        """Return the inputs of a batch that are among :attr:`names`, by name."""
        return []

    def with_function(self, function: Callable[[Tensor, Tensor], Tensor]) -> "Reader":
        """Return a reader that also changes training examples by a user's function.

        Args:
            function: A function of an example and a seed.

        Raises:
            ConfigError: Examples of this kind do not support that.
        """
        raise ConfigError("augmentation: these examples have no augmentation. Leave it out.")

    # What is stored in a run folder.

    def save(self, folder: Path) -> None:  # noqa: B027 - most readers need nothing
        """Write the files that :meth:`decode` needs, in addition to the recipe, into a run folder."""

    # Inputs of clients.

    def find_lost(self, split: Split) -> list[str]:
        """Find examples that could be read earlier and cannot be read now.

        Returns:
            A line for each.
        """
        return []

    @abstractmethod
    def write_samples(self, split: Split, rows: Rows, folder: Path) -> None:
        """Write some raw examples to a folder, in the order of their names, for verifying an export."""

    @abstractmethod
    def read_samples(self, folder: Path) -> Examples:
        """Read back what :meth:`write_samples` wrote."""

    raw_inputs: Sequence[Any]
    """``tf.TensorSpec`` of what the exported model takes from a client."""

    @property
    def preprocessing(self) -> JsonObject:
        """What a client needs to make :attr:`tensor_inputs` itself; docs/serving.md has the keys."""
        return {}

    def write_client(self, folder: Path) -> str | None:
        """Write :data:`INPUTS`, with which a client without this package makes :attr:`tensor_inputs`.

        Args:
            folder: The folder of an exported model; files that the program reads are written there, too.

        Returns:
            None; or why there is no such program, so that the client has to make the tensors itself.
        """
        shutil.copyfile(CLIENTS / "tensors.py", folder / INPUTS)
        return "it takes tensors, as the reader of this task has no program for clients"

    def to_raw(self, content: bytes) -> bytes:
        """Convert a file for :meth:`decode_checked`, on a server; by default it is returned unchanged.

        Args:
            content: The bytes of a file. If it cannot be converted, it is returned unchanged.
        """
        return content

    @abstractmethod
    def decode(self, *raw: Tensor) -> Tensors:
        """Turn a batch of raw inputs into inputs, in a graph."""

    def decode_checked(self, *raw: Tensor) -> tuple[Tensors, Tensor]:
        """Do the same for untrusted inputs.

        Returns:
            The inputs, with arbitrary values for those that cannot be read; and ``bool[batch]``, whether each could be
            read. An unreadable input does not affect the others of its batch. By default, all are readable.
        """
        return self.decode(*raw), tf.ones(tf.shape(raw[0])[:1], tf.bool)

    tensor_endpoint: str
    """Name of the endpoint for clients that decode or tokenize themselves."""

    tensor_inputs: Sequence[Any]
    """``tf.TensorSpec`` of what that takes."""

    def name_tensors(self, inputs: Tensors) -> dict[str, Array]:
        """Return a batch of inputs by the names of :attr:`tensor_inputs`, as arrays: the inverse of :meth:`arrange`."""
        names = [spec.name for spec in self.tensor_inputs]
        tensors = inputs if isinstance(inputs, Mapping) else dict(zip(names, [inputs], strict=True))
        return {name: np.asarray(tensors[name]) for name in names}

    def divide_tensors(self, tensors: Mapping[str, Array]) -> list[tuple[Rows, Mapping[str, Array]]]:
        """Divide a batch of :attr:`tensor_inputs` from clients, so that no part takes too much memory.

        Args:
            tensors: Tensors by name.

        Returns:
            The row numbers of each part, and its tensors; by default one part.
        """
        return [(np.arange(len(next(iter(tensors.values())))), tensors)]

    @abstractmethod
    def arrange(self, *tensors: Tensor) -> Tensors:
        """Turn a batch of :attr:`tensor_inputs` into inputs, in a graph."""

    def arrange_checked(self, *tensors: Tensor) -> tuple[Tensors, Tensor]:
        """Do the same for untrusted inputs; see :meth:`decode_checked`."""
        return self.arrange(*tensors), tf.ones(tf.shape(tensors[0])[:1], tf.bool)

    resources: Sequence[Any] = ()
    """Vocabularies that an exported graph reads."""


def join_epochs(batches_of: Callable[[Tensor], Dataset], *, epochs: range, steps: int, skip: int) -> Batches:
    """Make one dataset of the batches of several epochs.

    Args:
        batches_of: From an epoch's number, ``int64[]``, to a dataset of its batches; not called for skipped epochs.

    Returns:
        The batches. Their number is known if none is skipped: Keras' ``fit`` relies on it, and restarts a dataset too
        early if steps are skipped.
    """
    first = epochs.start + skip // steps
    batches = tf.data.Dataset.range(first, epochs.stop).flat_map(batches_of)
    if skip:
        return batches.skip(skip % steps)
    return batches.apply(tf.data.experimental.assert_cardinality(len(epochs) * steps))


def shuffle_rows(rows: int, *, batch_size: int, seed: int, epochs: range, skip: int) -> Dataset:
    """Make the dataset of :meth:`Reader.order` for examples of the same shape: all rows, in a new order in each epoch.

    Args:
        batch_size: Maximum number of rows per step.

    Returns:
        Pairs of an epoch, ``int64[]``, and row numbers, ``int64[batch]``.
    """
    steps = steps_per_epoch(rows, batch_size)

    def batches_of(epoch: Tensor) -> Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(rows, dtype=tf.int64), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        bounds = tf.data.Dataset.range(steps)
        return bounds.map(lambda step: (epoch, order[step * rows // steps : (step + 1) * rows // steps]))

    return join_epochs(batches_of, epochs=epochs, steps=steps, skip=skip)


def divide_rows(rows: Rows, batch_size: int) -> list[Rows]:
    """Divide row numbers into batches; the last one may be smaller."""
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def rows_dataset(batches: Sequence[Rows]) -> Dataset:
    """Make a dataset of row numbers, ``int64[batch]`` each."""
    sizes = [len(batch) for batch in batches]
    return tf.data.Dataset.from_tensor_slices(tf.RaggedTensor.from_row_lengths(np.concatenate(batches), sizes))
