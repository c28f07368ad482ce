"""Operations that other formats have, in place of some that TensorFlow alone has, while a model is traced for them.

- Exact GELU: TensorFlow computes ``0.5 * x * erfc(-x / sqrt(2))`` since 2.18, and neither ONNX nor LiteRT has erfc.
- SiLU (swish): TensorFlow gives it a gradient of its own, with which LiteRT's converter writes no signature.
- Grouped convolutions: Keras compiles each by XLA, and no converter looks into what XLA compiles.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_transfer.networks.keras_internals import replaced
from keras_transfer.networks.types import Tensor

_Function = Callable[..., Any]


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Let Keras use other operations for a while, which are equal but for rounding in the seventh digit of 1."""
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
