"""TensorFlow's converter of traced models to LiteRT."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_transfer.export.tensor_graph import TensorGraph

TITLE = "LiteRT model"
"""What messages call an artifact."""

# What a converter lists in its error: "tf.Erfc {device = ""}", or "Flex ops: FlexErfc, FlexRoll".
_LISTED = re.compile(r"^(?:Flex|Custom) ops: (.*)$", re.MULTILINE)
# Or it names one: "'tf.Abs' op is neither a custom op nor a flex op".
_NAMED = re.compile(r"'tfl?\.(\w+)' op ")


def convert_to_litert(graph: TensorGraph) -> bytes:
    """Convert a traced model.

    Returns:
        The content of a ``.tflite`` file, with the signature ``serving_default``.

    Raises:
        ExportError: LiteRT lacks an operation.
    """
    return convert(make_converter(graph), graph)


def convert(converter: Any, graph: TensorGraph) -> bytes:
    """Do the same by a converter that has been set up.

    Raises:
        ExportError: LiteRT lacks an operation.
    """
    try:
        with _without_messages():
            content: bytes = converter.convert()
    except Exception as error:  # of the converter's own class, which is private
        lacks = [name.strip().removeprefix("Flex") for line in _LISTED.findall(str(error)) for name in line.split(",")]
        lacks = lacks or _NAMED.findall(str(error))
        if not lacks:
            raise
        raise graph.refuse(TITLE, lacks) from error
    return content


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """The converter writes pages to standard error, from C++: what matters of it is in its exception."""
    before = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def make_converter(graph: TensorGraph) -> Any:
    """Return TensorFlow's converter for a traced model."""
    # Without an object that it could track, the file would have no signature.
    return tf.lite.TFLiteConverter.from_concrete_functions([graph.concrete], tf.Module())
