"""Gradients of a function of tensors: the only code that differs between Keras' backends."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.networks.types import Tensor


def pull_back(function: Callable[[Tensor], Tensor], at: Tensor, directions: Sequence[Tensor]) -> list[Tensor]:
    """Differentiate weighted sums of a function's outputs with respect to its argument.

    Args:
        function: From one tensor to one tensor; it changes no variable.
        directions: The weights of each sum, of the shape of the function's value.

    Returns:
        The gradient at the argument for each direction, of the argument's shape.

    Example:
        >>> (gradient,) = pull_back(lambda x: x**2, keras.ops.ones((1, 2)), [keras.ops.ones((1, 2))])
        >>> gradient.shape == (1, 2)
        True
    """
    if keras.backend.backend() == "jax":
        import jax

        value, backward = jax.vjp(function, at)
        return [backward(keras.ops.cast(direction, value.dtype))[0] for direction in directions]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(at)
        value = function(at)
    return [
        # An output may not depend on the argument at all.
        tape.gradient(value, at, tf.cast(direction, value.dtype), unconnected_gradients="zero")
        for direction in directions
    ]


def compiled(function: Callable[..., Any], *, open_axes: int) -> Callable[..., Any]:
    """Return a function that computes the same without being traced again for every batch.

    Args:
        open_axes: Number of leading axes whose size changes from batch to batch: 1 for images, 2 for texts. The last
            axis of floating-point tensors never changes. With JAX, which compiles every shape, there are none.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    traced: dict[int, Any] = {}  # by the number of arguments

    def spec(tensor: Tensor) -> Any:
        last = 1 if tensor.dtype.is_floating and len(tensor.shape) > 1 else 0
        free = min(open_axes, len(tensor.shape) - last)
        return tf.TensorSpec([None] * free + list(tensor.shape[free:]), tensor.dtype)

    def call(*arguments: Any) -> Any:
        tensors = keras.tree.map_structure(tf.convert_to_tensor, arguments)
        if len(tensors) not in traced:
            signature = keras.tree.map_structure(spec, tensors)
            traced[len(tensors)] = tf.function(function, input_signature=signature, autograph=False)
        return traced[len(tensors)](*tensors)

    return call
