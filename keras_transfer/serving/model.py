"""The served model: from requests to results, with the reader and the head of its run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.heads.evaluation import stack_rows
from keras_transfer.run.predictor import Predictor
from keras_transfer.run.run import Run
from keras_transfer.serving.protocol import DEFAULT_SIGNATURE, Key, Row, Signature, TensorInfo

Floats = NDArray[np.float32]

_CLASSES = "classes"


@dataclass(frozen=True)
class ModelAnswers:
    """The results of the model for some rows.

    Attributes:
        predicted: ``float32[rows, outputs]``.
        ok: ``bool[rows]``, false for an input that cannot be read, or whose prediction is NaN or infinite.
        read: ``bool[rows]``, false for an input that cannot be read.
        outputs: Outputs by name, as those of the run's SavedModel.
    """

    predicted: Floats
    ok: NDArray[np.bool_]
    read: NDArray[np.bool_]
    outputs: Mapping[str, NDArray[Any]]

    def part(self, start: int, stop: int) -> "ModelAnswers":
        """Return the results for some of the rows."""
        rows = slice(start, stop)
        outputs = {name: values[rows] for name, values in self.outputs.items()}
        return ModelAnswers(self.predicted[rows], self.ok[rows], self.read[rows], outputs)

    def join(self, others: Sequence["ModelAnswers"]) -> "ModelAnswers":
        """Return these answers and others behind them."""
        parts = (self, *others)
        return ModelAnswers(
            stack_rows([part.predicted for part in parts]),
            np.concatenate([part.ok for part in parts]),
            np.concatenate([part.read for part in parts]),
            {name: np.concatenate([part.outputs[name] for part in parts]) for name in self.outputs},
        )


@dataclass(frozen=True)
class Ready:
    """A batch of model inputs.

    Attributes:
        tensors: Tensors by name.
        read: ``bool[batch]``, which inputs could be read.
    """

    tensors: Mapping[str, NDArray[Any]]
    read: NDArray[np.bool_]


class ServedModel:
    """Turns batches of rows into results.

    Inputs are read by the same graph as in the run's SavedModel, :meth:`Reader.decode_checked`.
    """

    def __init__(self, opened: Predictor) -> None:
        self._opened = opened
        self._reader, self._head = opened.reader, opened.head
        self._compiles_each_size = isinstance(opened, Run) and keras.backend.backend() == "jax"
        endpoints = {
            DEFAULT_SIGNATURE: (self._reader.decode_checked, self._reader.raw_inputs),
            self._reader.tensor_endpoint: (self._reader.arrange_checked, self._reader.tensor_inputs),
        }
        self._specs = {name: specs for name, (_, specs) in endpoints.items()}
        self._functions = {
            name: tf.function(function, input_signature=list(specs), autograph=False)
            for name, (function, specs) in endpoints.items()
        }
        self._masked_outputs = tf.function(
            self._head.masked_outputs,
            input_signature=[
                tf.TensorSpec([None, self._head.prediction_width], tf.float32),
                tf.TensorSpec([None], tf.bool),
            ],
            autograph=False,
        )

    @property
    def raw_names(self) -> tuple[str, ...]:
        """The names of a client's raw inputs."""
        return tuple(spec.name for spec in self._reader.raw_inputs)

    @property
    def takes_files(self) -> bool:
        """Whether an input is a file, not a text; names of files end in ``_bytes``, as TensorFlow Serving asks for."""
        return all(name.endswith("_bytes") for name in self.raw_names)

    @cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures that clients can call, by name: those of the run's SavedModel."""
        outputs = self._masked_outputs.get_concrete_function().structured_outputs
        returned = tuple(_describe(name, tensor) for name, tensor in outputs.items())
        names = TensorInfo("names", "string", (len(self._head.names),))
        return {
            **{
                key: Signature(tuple(_describe(spec.name, spec) for spec in specs), returned)
                for key, specs in self._specs.items()
            },
            _CLASSES: Signature((), (names,)),
        }

    def warm_up(self, batch_size: int) -> None:
        """Build all graphs, so that the first requests do not have to wait."""
        row = tuple(b"" for _ in self._reader.raw_inputs)
        sizes = {1, 2}  # with two of them, Keras learns that the size changes
        if self._compiles_each_size:
            sizes |= {batch_size, *(2**power for power in range(2, (batch_size - 1).bit_length()))}
        for size in sorted(sizes):
            self.predict(self.decode(self.key_of(DEFAULT_SIGNATURE, row), [row] * size))

    def key_of(self, signature: str, row: Row) -> Key:
        """Return what rows in the same batch have in common: their signature, and the shapes of their tensors."""
        return signature, tuple(getattr(value, "shape", ()) for value in row)

    def decode(self, key: Key, rows: Sequence[Row]) -> Ready:
        """Turn rows of one key into tensors."""
        signature = str(key[0])
        if self.takes_files and signature == DEFAULT_SIGNATURE:
            rows = [tuple(map(self._reader.to_raw, row)) for row in rows]
        columns = [
            tf.constant(list(values), spec.dtype) if spec.dtype == tf.string else tf.constant(np.stack(values))
            for values, spec in zip(zip(*rows, strict=True), self._specs[signature], strict=True)
        ]
        inputs, read = self._functions[signature](*columns)
        tensors, readable = self._reader.name_tensors(inputs), np.flatnonzero(read)
        if 0 < len(readable) < len(rows):  # a row of zeros would widen the ranges of a quantized model
            places = np.where(read, np.arange(len(rows)), readable[0])
            tensors = {name: values[places] for name, values in tensors.items()}
        return Ready(tensors, read.numpy())

    def predict(self, ready: Ready) -> ModelAnswers:
        """Run the model."""
        divided, parts = [], []
        for rows, part in self._reader.divide_tensors(ready.tensors):
            tensors = part if not self._compiles_each_size else _fill_up(part, len(rows))
            divided.append(rows)
            parts.append(self._opened.predict_tensors(tensors)[: len(rows)])
        predicted = stack_rows(parts)[np.argsort(np.concatenate(divided))]
        ok = ready.read & np.isfinite(predicted).all(axis=1)
        outputs = {name: tensor.numpy() for name, tensor in self._masked_outputs(predicted, ok).items()}
        return ModelAnswers(predicted, ok, ready.read, outputs)


def _fill_up(tensors: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
    """Repeat the last row up to the next power of two, so that there are few shapes to compile."""
    more = 2 ** (rows - 1).bit_length() - rows
    return {name: np.concatenate([values, np.repeat(values[-1:], more, axis=0)]) for name, values in tensors.items()}


def _describe(name: str, tensor: Any) -> TensorInfo:
    return TensorInfo(name, tensor.dtype.name, tuple(tensor.shape.as_list()))
