"""Exact GELU of operations that other formats have, while a model is traced for them.

TensorFlow computes ``0.5 * x * erfc(-x / sqrt(2))`` since 2.18, and neither ONNX nor LiteRT has erfc.
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import tensorflow as tf

from keras_transfer.networks.keras_internals import replaced
from keras_transfer.networks.types import Tensor

_Gelu = Callable[..., Tensor]


@contextlib.contextmanager
def gelu_by_erf() -> Iterator[None]:
    """Let ``tf.nn.gelu``, which Keras calls, compute ``0.5 * x * (1 + erf(x / sqrt(2)))`` for a while.

    The two are equal but for rounding, which is in the seventh digit of 1.
    """

    def replace(original: _Gelu) -> _Gelu:
        def gelu(features: Tensor, approximate: bool = False, name: str | None = None) -> Tensor:
            if approximate:
                return original(features, approximate=True, name=name)
            x = tf.convert_to_tensor(features)
            return tf.multiply(0.5 * x, 1.0 + tf.math.erf(x * tf.cast(1 / math.sqrt(2), x.dtype)), name=name)

        return gelu

    with replaced(tf.nn, "gelu", replace):
        yield
