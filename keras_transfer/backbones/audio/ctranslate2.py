"""Read the tensors of a CTranslate2 model without CTranslate2.

A ``model.bin`` is a header, the variables one after another (name, shape, type, content), and aliases for variables
that are shared. Quantized weights are integers with a scale for each row, or one for all. Layout:
``ModelSpec._serialize`` in python/ctranslate2/specs/model_spec.py of https://github.com/OpenNMT/CTranslate2, version 6.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_transfer.errors import BackboneError
from keras_transfer.networks.types import Array

_VERSION = 6
_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2")
_SCALE = "_scale"


def read_ctranslate2(files: Sequence[Path], *, prefix: str = "") -> dict[str, Array]:
    """Read the tensors of a model.

    Args:
        prefix: Only tensors whose names start with this are returned, such as ``encoder/``.

    Returns:
        The tensors by name, all but settings in float32; the scales of quantized ones are applied.

    Raises:
        BackboneError: A file is missing or damaged, or of another version of the format.
    """
    name = " + ".join(map(str, files))
    try:
        return _Reader(b"".join(file.read_bytes() for file in files)).read(prefix)
    except OSError as error:
        raise BackboneError(f"Weights file {name} cannot be read: {error.strerror}. Copy it again.") from error
    except (struct.error, ValueError, LookupError) as error:
        raise BackboneError(
            f"Weights file {name} cannot be read as a CTranslate2 model of version {_VERSION}: {error}. "
            "Use the file as its publisher wrote it."
        ) from error


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self._position = memoryview(content), 0

    def read(self, prefix: str) -> dict[str, Array]:
        if (version := self._number("I")) != _VERSION:
            raise ValueError(f"its version is {version}")
        self._text()
        self._number("I")
        raw = {}
        for _ in range(self._number("I")):
            name, value = self._text(), self._tensor()
            if name.startswith(prefix):
                raw[name] = value
        for _ in range(self._number("I")):
            alias, name = self._text(), self._text()
            if alias.startswith(prefix) and name in raw:
                raw[alias] = raw[name]
        if self._position != len(self._content):
            raise ValueError(f"{len(self._content) - self._position:,} bytes are left over")
        return {name: _dequantize(name, value, raw) for name, value in raw.items() if not name.endswith(_SCALE)}

    def _take(self, length: int) -> memoryview:
        start, self._position = self._position, self._position + length
        if self._position > len(self._content):
            raise ValueError("it ends early")
        return self._content[start : self._position]

    def _number(self, kind: str) -> int:
        (number,) = struct.unpack(f"<{kind}", self._take(struct.calcsize(f"<{kind}")))
        return int(number)

    def _text(self) -> str:
        return bytes(self._take(self._number("H"))).decode().removesuffix("\0")

    def _tensor(self) -> Array:
        shape = [self._number("I") for _ in range(self._number("B"))]
        dtype, length = np.dtype(_TYPES[self._number("B")]), self._number("I")
        if math.prod(shape) * dtype.itemsize != length:
            raise ValueError(f"a tensor of shape {shape} and type {dtype} has {length:,} bytes")
        return np.frombuffer(self._take(length), dtype).reshape(shape)


def _dequantize(name: str, value: Array, raw: Mapping[str, Array]) -> Array:
    scale = raw.get(f"{name}{_SCALE}")
    if scale is None:
        return value if value.ndim == 0 else value.astype(np.float32)
    # One scale for each row of a matrix or filter of a convolution, or one for all.
    return value.astype(np.float32) / scale.reshape(scale.shape + (1,) * (value.ndim - 1) * scale.ndim)
