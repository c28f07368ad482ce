"""TensorFlow SavedModels: decoding or tokenizing and the network in one graph."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_transfer.data.readers.base import Reader
from keras_transfer.export.base import Exporter, Served
from keras_transfer.export.description import FILE, Description, read_description_file
from keras_transfer.export.tensor_graph import FEATURES
from keras_transfer.heads import TargetHead
from keras_transfer.heads.target import OK
from keras_transfer.model import with_features
from keras_transfer.networks.types import Tensor, Tensors

EXTRA = "assets.extra"
"""TensorFlow's folder for files that are no part of the graph."""

_GRAPH = "saved_model.pb"


class SavedModelExporter(Exporter):
    """A SavedModel that takes a client's raw inputs.

    Signatures:

    - ``serving_default`` takes encoded images (``image_bytes: string[batch]``) or texts (``text``, or ``text_a`` and
      ``text_b``); ``serve_tensor`` takes pixels, ``serve_tokens`` tokens by name. What these return depends on the
      head:

      - one class: ``probabilities: float32[batch, classes]``, ``label: string[batch]`` and ``score: float32[batch]``,
        the probability of that label;
      - labels: ``probabilities: float32[batch, labels]`` and ``present: bool[batch, labels]``, whether each reaches its
        threshold;
      - numbers: ``values: float32[batch, numbers]`` in the units of the training data, and if the run is calibrated
        ``standard_deviations: float32[batch, numbers]`` around them;
      - transcripts: ``text: string[batch]``, ``score: float32[batch]``, the mean logarithm of the probabilities of its
        tokens, and with ``head.timestamps`` ``timed_text: string[batch]``, the text with its times in seconds:
        ``<|0.00|> Hello.<|1.20|>``. ``serve_samples`` also returns ``tokens: int32[batch, n]``;
      - with ``head.coverage``: of classes and labels ``abstain: bool[batch]`` and ``in_set: bool[batch, outputs]``, in
        the order of ``names``; of labels also ``uncertain: bool[batch, labels]``; of numbers ``low`` and ``high``, the
        bounds of the intervals;
      - of classes, labels and numbers: ``names: string[batch, outputs]``, the names of the predictions in their order,
        the same in every row;
      - all: ``ok: bool[batch]``, false for an input that cannot be read, whose other outputs are neutral: empty
        strings, probabilities of 0, false, numbers that are NaN. The other inputs of its batch are answered as usual.
    - ``embed`` takes what ``serving_default`` takes, and returns ``features: float32[batch, dim]``, which the head
      reads, and ``ok``; the features of an input that cannot be read are NaN. ``serve_tensor`` and ``serve_tokens``
      also return ``features``. A model that a package made in another way has none.
    - ``classes`` takes nothing and returns ``names: string[outputs]``, in the order of the predictions.

    Names and thresholds are inside. ``assets.extra`` has the :class:`Description` and, of texts, the tokenizer as the
    run folder has it: neither is needed to serve the model.
    """

    name = "saved_model"
    title = "SavedModel"
    probe: ClassVar[Path] = Path(__file__).with_name("saved_model_probe.py")
    backend = "tensorflow"

    def write(self, served: Served, artifact: Path) -> None:
        """Write a SavedModel; Keras runs on TensorFlow."""
        write_saved_model(served.model, served.head, served.reader, artifact)
        extra = artifact / EXTRA
        extra.mkdir()
        (extra / FILE).write_text(served.describe().to_json(), encoding="utf-8")
        served.reader.save(extra)

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether it is a folder with ``saved_model.pb``, or that file."""
        return (cls.find_artifact(path) / _GRAPH).is_file()

    @classmethod
    def read_description(cls, path: Path) -> Description:
        """Read it from ``assets.extra``."""
        return read_description_file(cls.find_reader_files(path) / FILE, str(path))

    @classmethod
    def find_artifact(cls, path: Path) -> Path:
        return path.parent if path.name == _GRAPH else path

    @classmethod
    def find_reader_files(cls, path: Path) -> Path:
        return cls.find_artifact(path) / EXTRA


def write_saved_model(model: keras.Model, head: TargetHead, reader: Reader, artifact: Path) -> None:
    """Write a SavedModel, without verifying it.

    Args:
        model: From inputs to predictions; Keras runs on TensorFlow.
    """
    extended = with_features(model)
    # All endpoints share its trace.
    network = tf.function(lambda inputs: (extended or model)(inputs, training=False), autograph=False)

    def run(inputs: Tensors, ok: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        rows = tf.size(ok)
        # Some layers do not take an empty batch.
        outputs = network(keras.tree.map_structure(lambda x: _with_a_row(x, rows), inputs))
        predicted = _side_by_side(outputs if extended is None else outputs[0])[:rows]
        ok = ok & tf.reduce_all(tf.math.is_finite(predicted), axis=1)
        if extended is None:
            return predicted, ok, {}
        return predicted, ok, {FEATURES: tf.where(ok[:, None], tf.cast(outputs[1][:rows], tf.float32), math.nan)}

    def serve(*raw: Tensor) -> dict[str, Tensor]:
        predicted, ok, _ = run(*reader.decode_checked(*raw))
        return head.masked_outputs(predicted, ok)

    def serve_tensors(*tensors: Tensor) -> dict[str, Tensor]:
        predicted, ok, features = run(*reader.arrange_checked(*tensors))
        return {**head.endpoint_outputs(predicted, ok), **features}

    def embed(*raw: Tensor) -> dict[str, Tensor]:
        _, ok, features = run(*reader.decode_checked(*raw))
        return {**features, OK: ok}

    endpoints: dict[str, tuple[Callable[..., dict[str, Tensor]], Sequence[Any]]] = {
        "serving_default": (serve, reader.raw_inputs),
        reader.tensor_endpoint: (serve_tensors, reader.tensor_inputs),
        "classes": (lambda: {"names": tf.constant(list(head.names), tf.string)}, ()),
    }
    if extended is not None:
        endpoints["embed"] = (embed, reader.raw_inputs)
    # Keras' ExportArchive traces each endpoint twice: TensorFlow wraps concrete functions, and traces others again.
    signatures = {
        name: tf.function(function, input_signature=list(inputs), autograph=False).get_concrete_function()
        for name, (function, inputs) in endpoints.items()
    }
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.resources = list(reader.resources)
    tf.saved_model.save(module, str(artifact), signatures)


def _side_by_side(outputs: Tensors) -> Tensor:
    """Concatenate outputs to ``float32[rows, outputs]``, as :func:`keras_transfer.heads.evaluation.predict` does."""
    columns = [x[:, None] if x.shape.rank == 1 else x for x in keras.tree.flatten(outputs)]
    if len(columns) == 1:
        return columns[0]
    single, several = ([x for x in columns if (x.shape[1] == 1) == one] for one in (True, False))
    return tf.concat([tf.cast(x, tf.float32) for x in (*single, *several)], axis=1)


def _with_a_row(batch: Tensor, rows: Tensor) -> Tensor:
    """Return a batch unchanged, or a row of zeros instead of an empty one."""
    around = [[0, 1], *[[0, 0]] * (batch.shape.rank - 1)]
    filled = tf.cond(rows > 0, lambda: batch, lambda: tf.pad(batch, around))
    return tf.ensure_shape(filled, [None, *batch.shape[1:]])
