"""Read the tensors of an ONNX file without a runtime; nothing else of its graph is read.

An ONNX file is a protocol buffer. Of it, this reads ``ModelProto.graph.initializer``:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.errors import BackboneError
from keras_transfer.networks.types import Array

# The numbers of fields in onnx.proto.
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _NAME, _RAW, _PLACE = 1, 2, 8, 9, 14
_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def read_onnx_tensors(path: Path) -> dict[str, Array]:
    """Read the tensors in an ONNX file.

    Returns:
        The tensors by name, in their own types and shapes.

    Raises:
        BackboneError: The file is damaged, or does not store its tensors as raw bytes.
    """
    try:
        content = memoryview(path.read_bytes())
        graphs = [value for field, value in _fields(content) if field == _GRAPH]
        tensors = [value for graph in graphs for field, value in _fields(graph) if field == _INITIALIZER]
        return dict(map(_read_tensor, tensors))
    except (ValueError, TypeError, IndexError, KeyError, struct.error) as error:
        raise BackboneError(
            f"Weights file {path} cannot be read as an ONNX file: {error}. Use the file as its publisher wrote it."
        ) from error


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field: an integer, or a view of bytes."""
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _read_varint(message, place)
            yield field, value
            continue
        if kind == _BYTES:
            length, place = _read_varint(message, place)
        elif kind in (_FOUR, _EIGHT):
            length = 4 if kind == _FOUR else 8
        else:
            raise ValueError(f"field {field} has wire type {kind}")
        if place + length > len(message):
            raise ValueError(f"field {field} reaches past the end")
        yield field, message[place : place + length]
        place += length


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        byte = message[place + count]
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value, place + count + 1
    raise ValueError("a number is longer than ten bytes")


def _read_tensor(message: memoryview) -> tuple[str, Array]:
    name, kind, raw, shape = "", 0, None, []
    for field, value in _fields(message):
        if field == _DIMS:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif field == _TYPE:
            kind = value
        elif field == _NAME:
            name = bytes(value).decode()
        elif field == _RAW:
            raw = value
        elif field == _PLACE:
            raise ValueError(f"tensor {name!r} is stored in another file")
    if raw is None or kind not in _TYPES:
        raise ValueError(f"tensor {name!r} is not stored as bytes of a supported type")
    return name, np.frombuffer(raw, _TYPES[kind]).reshape(shape)


def _packed(message: memoryview) -> list[int]:
    numbers, place = [], 0
    while place < len(message):
        number, place = _read_varint(message, place)
        numbers.append(number)
    return numbers
