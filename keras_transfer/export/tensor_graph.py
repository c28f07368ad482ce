"""The graph of formats without a decoder or tokenizer: from a reader's tensors to numbers.

It has no variables, no strings and, whatever the training precision was, float32 arithmetic, which every runtime
supports. Outputs have the same names as those of a SavedModel.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_transfer.errors import ExportError
from keras_transfer.export.base import Served
from keras_transfer.export.description import Description, TensorDescription
from keras_transfer.model import with_features
from keras_transfer.networks.keras_internals import parts, replaced
from keras_transfer.networks.types import Tensor

_Function = Callable[..., Any]


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Let Keras use alternative operations for a while, which are equal up to rounding in the seventh digit of 1."""
    with (
        replaced(tf.nn, "gelu", _gelu_by_erf),
        replaced(tf.nn, "silu", _silu_by_sigmoid),
        replaced(tf, "function", _without_xla),
    ):
        yield


def _gelu_by_erf(original: _Function) -> _Function:
    def gelu(features: Tensor, approximate: bool = False, name: str | None = None) -> Tensor:
        if approximate:
            return original(features, approximate=True, name=name)
        x = tf.convert_to_tensor(features)
        return tf.multiply(0.5 * x, 1.0 + tf.math.erf(x * tf.cast(1 / math.sqrt(2), x.dtype)), name=name)

    return gelu


def _silu_by_sigmoid(original: _Function) -> _Function:
    def silu(features: Tensor, beta: float = 1.0) -> Tensor:
        x = tf.convert_to_tensor(features)
        return x * tf.sigmoid(tf.cast(beta, x.dtype) * x)

    return silu


def _without_xla(original: _Function) -> _Function:
    def function(func: _Function | None = None, **options: Any) -> Any:
        if options.pop("jit_compile", None):
            return func if func is not None else lambda decorated: decorated
        return original(func, **options)

    return function


FEATURES = "features"
"""The output that holds what the head reads, ``float32[batch, channels]``."""


@dataclass(frozen=True)
class TensorGraph:
    """A traced model.

    Attributes:
        inputs: ``tf.TensorSpec`` of each, with its name.
        function: A function of TensorFlow from these to a dictionary of outputs; it has no variables.
    """

    inputs: tuple[Any, ...]
    function: Any

    def describe(self, served: Served) -> Description:
        """Return the description of a model, with the outputs that this graph has."""
        outputs = self.concrete.structured_outputs.items()
        described = tuple(TensorDescription(name, x.dtype.name, tuple(x.shape.as_list())) for name, x in outputs)
        return replace(served.describe(), outputs=described)

    @property
    def concrete(self) -> Any:
        """The traced function."""
        return self.function.get_concrete_function()

    def refuse(self, title: str, kinds: Iterable[str]) -> ExportError:
        """Return the error for operations that a format does not support, with a layer that uses each."""
        definition = self.concrete.graph.as_graph_def()
        nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
        found = {kind: next((node.name for node in nodes if node.op == kind), "") for kind in sorted(set(kinds))}
        lacks = ", ".join(f"{kind} ({_layer_of(name)})" if name else kind for kind, name in found.items())
        return ExportError(
            f"The {title} cannot be written: the format lacks operations of this model. Received: {lacks}. Export it "
            "as saved_model, or use another backbone. Nothing was exported."
        )


def trace_tensors(served: Served) -> TensorGraph:
    """Trace a model from the reader's ``tensor_inputs`` to the numeric outputs of its head.

    There is another output, :data:`FEATURES`, if the model exposes the features that its head reads.

    Args:
        served: The model, with what its inputs and outputs mean; Keras runs on TensorFlow.
    """
    extended = with_features(served.model)
    specs = tuple(served.reader.tensor_inputs)

    def run(*tensors: Tensor) -> dict[str, Tensor]:
        inputs = served.reader.arrange(*tensors)
        if extended is None:
            return served.head.tensor_outputs(served.model(inputs, training=False))
        predicted, features = extended(inputs, training=False)
        return {**served.head.tensor_outputs(predicted), FEATURES: features}

    with _in_float32(served.model), plain_operations():
        traced = tf.function(run, input_signature=list(specs), autograph=False).get_concrete_function()
        frozen = convert_variables_to_constants_v2(traced)
    names = sorted(traced.structured_outputs)

    def run_frozen(*tensors: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, frozen(*tensors), strict=True))

    return TensorGraph(specs, tf.function(run_frozen, input_signature=list(specs), autograph=False))


@contextlib.contextmanager
def _in_float32(model: keras.Model) -> Iterator[None]:
    """Let all layers compute in float32, which is also the dtype of their variables in mixed precision."""
    before = [(layer, layer.dtype_policy) for layer in parts(model) if layer.compute_dtype != "float32"]
    try:
        for layer, _ in before:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in before:
            layer.dtype_policy = policy


def _layer_of(node: str) -> str:
    """Return the layer of a node, whose path is that of the layer and the name of the operation."""
    path = node.split("/")[:-1]
    return f"layer {'/'.join(path)}" if path else f"node {node}"
