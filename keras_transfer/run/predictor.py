"""Methods that only need predictions: shared by runs and exported models."""

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import Inputs
from keras_transfer.errors import CheckpointError, TransferWarning
from keras_transfer.heads import BrokenInput, Prediction
from keras_transfer.run.predicted import check_min_confidence
from keras_transfer.run.rows import RowReader, TableOptions
from keras_transfer.tasks.records import Floats


class Predictor(RowReader):
    """Predicts for inputs."""

    @abstractmethod
    def predict_tensors(self, batch: Mapping[str, NDArray[Any]]) -> Floats:
        """Predict for a batch of the reader's ``tensor_inputs``, by name; not thread-safe.

        Returns:
            ``float32[batch, outputs]``, calibrated.
        """

    def predict(
        self,
        inputs: Any,
        *,
        skip_broken: bool = False,
        min_confidence: float | None = None,
        **table: Unpack[TableOptions],
    ) -> list[Prediction]:
        """Predict for one or more images, recordings or texts.

        Args:
            inputs: One input or a sequence of inputs. For images: a path, a PIL image, an array
                ``uint8[height, width, channels]`` or ``uint8[height, width]``, or the bytes of an image file. For
                recordings: a path, the bytes of an audio file, a tuple of ``float32[samples]`` and their rate, or
                samples with ``sample_rate``. For texts: a ``str``, which is never a path, or the ``pathlib.Path`` of a
                text file; for pairs: a tuple of two ``str``. Or the ``pathlib.Path`` of a folder, for every file in it
                that is not hidden; that of a table, or a DataFrame, for every row, by the columns that the recipe
                names.
            skip_broken: Whether an input that cannot be read gets a prediction with an ``error`` instead of making the
                whole call fail.
            min_confidence: A probability. A prediction of a class abstains if its ``score`` is below it; a prediction
                of labels abstains if the probability of any decision, that a label is present or absent, is below it.
            **table: How inputs and tables are read: see :class:`TableOptions`. The run's own ``data.root`` applies only
                to its own source.

        Returns:
            One prediction per input, in their order; a list of one for a single input.

        Raises:
            InputError: The inputs are of another type; it is also a ``TypeError``.
            ConfigError: An option for tables is set without a table, or is wrong; ``min_confidence`` is not a
                probability, or the run predicts numbers.
            DataError: Inputs cannot be read; all of them are named.
            CheckpointError: The run is one of pre-training.
        """
        read = self.read_inputs(inputs, **table)
        for note in read.notes:
            warnings.warn(note, TransferWarning, stacklevel=2)
        return self.predict_inputs(read, skip_broken=skip_broken, min_confidence=min_confidence)

    def predict_inputs(
        self, inputs: Inputs, *, skip_broken: bool = False, min_confidence: float | None = None
    ) -> list[Prediction]:
        """Predict for inputs that :meth:`read_inputs` has read.

        Raises:
            DataError: Inputs cannot be read; all of them are named.
            ConfigError: ``min_confidence`` is not a probability, or the run predicts numbers.
        """
        self._check(inputs, skip_broken, min_confidence)
        answers: Iterable[Prediction] = self.task.predict(self, inputs.examples) if len(inputs.examples) else ()
        return _put_in_order(inputs, answers, min_confidence)

    def predict_with_features(
        self, inputs: Inputs, *, skip_broken: bool = False, min_confidence: float | None = None
    ) -> tuple[list[Prediction], list[Floats | None]]:
        """Predict for inputs that :meth:`read_inputs` has read, and return the features that the head reads.

        Returns:
            The predictions of :meth:`predict_inputs`; and for each input ``float32[dim]``, or None if it cannot be
            read.

        Raises:
            DataError: Inputs cannot be read; all of them are named.
            ConfigError: ``min_confidence`` is not a probability, or the run predicts numbers.
            CheckpointError: The run's task has no features.
        """
        self._check(inputs, skip_broken, min_confidence)
        predicted, features = self._embed(inputs.examples)
        named = zip(inputs.examples.names, predicted, strict=True)
        answers = (self.head.to_prediction(name, row) for name, row in named)
        each = iter(features)
        found = [None if place in inputs.problems else next(each) for place in range(len(inputs))]
        return _put_in_order(inputs, answers, min_confidence), found

    def embed(self, inputs: Any, **table: Unpack[TableOptions]) -> Floats:
        """Return the features that the head reads: similar examples have similar features.

        Args:
            inputs: As :meth:`predict` takes them.

        Returns:
            ``float32[inputs, dim]``, in their order: the pooled output of the network, which the head reads. If the
            run averages its predictions over flips, the features are those of the inputs as they are.

        Raises:
            InputError: The inputs are of another type; it is also a ``TypeError``.
            DataError: Inputs cannot be read; all of them are named.
            CheckpointError: The run is one of pre-training, or its task has no features.

        Example:
            >>> Run("runs/cats").embed(["cat.jpg", "dog.jpg"]).shape  # doctest: +SKIP
            (2, 1280)
        """
        read = self.read_inputs(inputs, **table)
        for note in read.notes:
            warnings.warn(note, TransferWarning, stacklevel=2)
        read.refuse_broken()
        return self._embed(read.examples)[1]

    def _embed(self, examples: Examples) -> tuple[Floats, Floats]:
        if not len(examples):
            return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
        embedded = self.task.embed(self, examples)
        if embedded is None:
            raise CheckpointError(
                f"The model of {self.path} has no features: the task {self.config.task} has none, or a package made "
                "the model in another way. Use the features of another run."
            )
        return embedded

    def _check(self, inputs: Inputs, skip_broken: bool, min_confidence: float | None) -> None:
        if min_confidence is not None:
            check_min_confidence(self.head, min_confidence)
        if not skip_broken:
            inputs.refuse_broken()


def _put_in_order(inputs: Inputs, answers: Iterable[Prediction], min_confidence: float | None) -> list[Prediction]:
    """A prediction for each input, from those for the readable inputs."""
    if min_confidence is not None:
        answers = [answer.abstain_below(min_confidence) for answer in answers]
    predicted = iter(answers)
    return [
        BrokenInput(name, inputs.problems[place]) if place in inputs.problems else next(predicted)
        for place, name in enumerate(inputs.names)
    ]
