"""Type names for objects of Keras, TensorFlow and JAX, which do not ship types.

To a type checker most of them are ``Any`` until they do; to a reader they say what a function takes. When it runs, this
module imports neither, so that any module can use it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    # Single examples, and batches of them: inputs, (inputs, targets) or (inputs, targets, sample weights).
    Dataset: TypeAlias = tf.data.Dataset
    Batches: TypeAlias = tf.data.Dataset
    # A symbolic tensor: a place in the graph of a functional model, without a value.
    SymbolicTensor: TypeAlias = keras.KerasTensor
    # A weight, a statistic, the state of a random layer, or an optimizer's slot.
    Variable: TypeAlias = keras.Variable
    # A layer, or a function of keras.ops in the graph of a functional model.
    Operation: TypeAlias = keras.Operation
    Layer: TypeAlias = keras.layers.Layer
    Model: TypeAlias = keras.Model
    Optimizer: TypeAlias = keras.optimizers.Optimizer
    Loss: TypeAlias = keras.losses.Loss
    Metric: TypeAlias = keras.metrics.Metric
    Callback: TypeAlias = keras.callbacks.Callback
else:
    Dataset = Batches = SymbolicTensor = Variable = Operation = Layer = Model = Any
    Optimizer = Loss = Metric = Callback = Any

Tensor: TypeAlias = Any
"""A tensor of Keras' backend: a ``tf.Tensor`` or a ``jax.Array``, symbolic while a function is traced."""

Tensors: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What a network takes or returns: a tensor, a sequence of them, or a mapping from input names to them."""

Array: TypeAlias = NDArray[Any]
"""A NumPy array of any dtype."""

FloatArray: TypeAlias = NDArray[np.float32]

IntArray: TypeAlias = NDArray[np.int64]

Json: TypeAlias = Any
"""A value that ``json.loads`` returns: None, a number, a string, or lists and objects of those."""

JsonObject: TypeAlias = dict[str, Json]
"""A JSON object: a layer's configuration, a line of ``history.jsonl``, a part of a checkpoint."""
