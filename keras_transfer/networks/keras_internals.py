"""All non-public parts of Keras, KerasHub and ``tf.distribute`` that this package uses.

Private names, replaced methods and a replaced class: they are here and nowhere else, so that one test
(``tests/networks/test_keras_internals.py``) compares them with the installed Keras, and fails if one has moved or its
code has changed. ``READ_IN`` is the version whose code was read. docs/quirks.md explains how to try a newer one.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras

from keras_transfer.networks.types import Batches, Layer, Metric, Model, Optimizer, SymbolicTensor, Tensor, Variable

READ_IN = "3.15"
"""The version of Keras whose code was read: 3.15.1."""


# Layers, tensors and variables.


def parts(layer: Layer) -> list[Layer]:
    """Return a layer and all nested layers, each after the layer that contains it.

    Keras 3.15: ``Layer._flatten_layers``. Nested models have a public list, other composite layers have none.
    """
    return list(layer._flatten_layers())


def carries_mask(tensor: SymbolicTensor) -> bool:
    """Return whether an implicit mask is attached to a tensor.

    Keras 3.15: the attribute ``_keras_mask``, set by ``keras.src.backend.common.masking.set_keras_mask``.
    """
    return getattr(tensor, "_keras_mask", None) is not None


@contextlib.contextmanager
def places_unchanged(tensors: Sequence[SymbolicTensor]) -> Iterator[None]:
    """Keep inputs of a graph in place while a model is made from a part of the graph.

    Keras 3.15: if an input of that model lies within the graph, ``clone_graph_nodes`` gives the graph's own inputs
    among the others a new ``_keras_history``, and the graph can no longer be saved.
    """
    places = [tensor._keras_history for tensor in tensors]
    try:
        yield
    finally:
        for tensor, place in zip(tensors, places, strict=True):
            tensor._keras_history = place


def change_class(layer: Layer, kind: type[Layer]) -> None:
    """Let a built layer compute like another class.

    Keras 3.15: ``__class__`` is replaced. It works if both classes have the same attributes and variables.
    """
    layer.__class__ = kind


@dataclass(frozen=True)
class DecoderParts:
    """The layers inside one block of a decoder that attends to itself and to an encoder.

    Attributes:
        self_norm: Before the attention to the decoder's own tokens.
        self_attention: That attention.
        cross_norm: Before the attention to the encoder's states.
        cross_attention: That attention.
        feedforward_norm: Before the dense layers.
        feedforward: Those layers, one after the other.
    """

    self_norm: Layer
    self_attention: Layer
    cross_norm: Layer
    cross_attention: Layer
    feedforward_norm: Layer
    feedforward: tuple[Layer, ...]


def decoder_parts(block: Layer) -> DecoderParts:
    """Return the layers inside a ``keras_hub.layers.TransformerDecoder`` with cross-attention that normalizes first.

    KerasHub 0.32: they are attributes with a leading underscore.
    """
    return DecoderParts(
        self_norm=block._self_attention_layer_norm,
        self_attention=block._self_attention_layer,
        cross_norm=block._cross_attention_layer_norm,
        cross_attention=block._cross_attention_layer,
        feedforward_norm=block._feedforward_layer_norm,
        feedforward=(block._feedforward_intermediate_dense, block._feedforward_output_dense),
    )


def save_own_variables_plainly(layer: Layer) -> None:
    """Let a layer save and load its variables as ``keras.layers.Layer`` does.

    KerasHub 0.32: ``save_own_variables`` and ``load_own_variables`` of DINOv2's position embedding resize it.

    Args:
        layer: Changed in place; other layers of its class are not.
    """
    for name in ("save_own_variables", "load_own_variables"):
        setattr(layer, name, functools.partial(getattr(keras.layers.Layer, name), layer))


def announce_output(layer: Layer, output: SymbolicTensor) -> None:
    """Replace the output spec that a layer reports.

    KerasHub 0.32: ``compute_output_spec`` of SigLIP's embedding announces one token more than the layer returns.

    Args:
        layer: Modified in place; other layers of its class are not.
    """
    layer.compute_output_spec = lambda *_, **__: keras.KerasTensor(output.shape, output.dtype)


def assigned_layout(variable: Variable) -> Any:
    """Return the layout that a variable was made with, or None. Keras 3.15: ``Variable._layout``."""
    return getattr(variable, "_layout", None)


# Optimizers.


def variables_of(optimizer: Optimizer) -> list[Variable]:
    """Return the variables that an optimizer was built on. Keras 3.15: ``Optimizer._trainable_variables``."""
    return list(optimizer._trainable_variables)


def averages_of(optimizer: Optimizer) -> list[Variable | None]:
    """Return the averages (``use_ema``) of an optimizer's variables, in their order.

    Keras 3.15: ``Optimizer._model_variables_moving_average``.
    """
    return list(optimizer._model_variables_moving_average)


def index_of(optimizer: Optimizer, variable: Variable) -> int:
    """Return a variable's index among those of an optimizer. Keras 3.15: ``Optimizer._get_variable_index``."""
    index: int = optimizer._get_variable_index(variable)
    return index


# Metrics.


def direction_of(metric: Metric) -> str | None:
    """Return ``"up"`` if a higher value of a metric is better, ``"down"`` if a lower one is, None if that is unknown.

    Keras 3.15: ``Metric._direction``, which its ``EarlyStopping`` reads too. Not every metric has it.
    """
    direction: str | None = getattr(metric, "_direction", None)
    return direction


# Training over several devices.

Patch = Callable[[Callable[..., Any]], Callable[..., Any]]
"""From the function that Keras has to the one that takes its place."""

Place = Literal[
    "train_step",
    "predict",
    "predict_on_batch",
    "make_predict_function",
    "build_before_fit",
    "reduce_logs",
    "scale_loss",
    "clip_gradients",
    "sum_gradients",
    "variable_to_array",
]


def owner_and_name(place: Place) -> tuple[Any, str]:
    """Return the class or module of Keras 3.15 that contains a function, and the function's name there."""
    model, optimizer = keras.Model, keras.optimizers.Optimizer
    places: dict[Place, tuple[Any, str]] = {
        "train_step": (model, "train_step"),
        "predict": (model, "predict"),
        "predict_on_batch": (model, "predict_on_batch"),
        "make_predict_function": (model, "make_predict_function"),
        "build_before_fit": (model, "_maybe_symbolic_build"),
        "reduce_logs": (sys.modules[model.make_train_function.__module__], "reduce_per_replica"),
        "scale_loss": (optimizer, "scale_loss"),
        "clip_gradients": (optimizer, "_clip_gradients"),
        "sum_gradients": (optimizer, "_all_reduce_sum_gradients"),
        "variable_to_array": (keras.Variable, "__array__"),
    }
    return places[place]


@contextlib.contextmanager
def patched(place: Place, patch: Patch) -> Iterator[None]:
    """Replace a function of Keras while the block runs; subclasses that do not override it are affected, too."""
    with replaced(*owner_and_name(place), patch):
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, patch: Patch) -> Iterator[None]:
    """Replace an attribute of a class or a module while the block runs."""
    own, before = vars(owner).get(name), getattr(owner, name)
    setattr(owner, name, patch(before))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def build_from_specs(model: Model, iterator: Any, data_batch: Any) -> None:
    """Build a model's variables and metrics from the shapes and types of a batch, without reading one.

    Keras 3.15: ``Model._symbolic_build`` takes a batch of symbolic tensors; ``TFEpochIterator._get_iterator`` returns
    the distributed dataset. TensorFlow 2.21: ``PerReplicaSpec._value_specs`` holds one spec per device.

    Args:
        iterator: Keras' own, over what ``fit`` was given; None if there is a batch.
    """
    if iterator is not None:
        data_batch = keras.tree.map_structure(_spec_of_one_device, iterator._get_iterator().element_spec)
    model._symbolic_build(data_batch=data_batch)


def _spec_of_one_device(spec: Any) -> Any:
    specs: Sequence[Tensor] | None = getattr(spec, "_value_specs", None)
    return specs[0] if specs else spec


def set_cardinality(distributed: Batches, cardinality: int) -> None:
    """Set the number of batches of a distributed dataset. TensorFlow 2.21: ``DistributedDataset._cardinality``."""
    distributed._cardinality = cardinality
