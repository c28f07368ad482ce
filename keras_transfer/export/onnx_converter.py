"""tf2onnx's conversion of traced models to ONNX."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from keras_transfer.export.tensor_graph import TensorGraph

TITLE = "ONNX model"
"""What messages call an artifact."""


def convert_to_onnx(graph: TensorGraph, *, opset: int) -> Any:
    """Convert a traced model.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        ExportError: ONNX lacks an operation.
    """
    import tf2onnx

    # What it logs about operations that are missing is in the error.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with _reshapes_that_copy_sizes():
        model, _ = tf2onnx.convert.from_function(graph.function, input_signature=list(graph.inputs), opset=opset)
    unknown = sorted(_unknown_operations(model.graph))
    if unknown:
        raise graph.refuse(TITLE, unknown)
    for tensor in (*model.graph.input, *model.graph.output):
        for place, dimension in enumerate(tensor.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = "batch" if place == 0 else "length"
    return model


@contextlib.contextmanager
def _reshapes_that_copy_sizes() -> Iterator[None]:
    """Keep two reshapes if the second one copies a size of what the first one returns: ONNX writes that as 0.

    tf2onnx 1.17 leaves the first one out, so that the second one copies a size of another tensor. It writes such pairs
    for attention with one head.
    """
    from tf2onnx.optimizer import back_to_back_optimizer

    handlers = back_to_back_optimizer._func_map
    join = handlers[("Reshape",)]

    def join_unless_copied(graph: Any, node: Any, consumers: Sequence[Any]) -> list[Any]:
        for consumer in consumers:
            shape = consumer.inputs[1]
            if shape is not None and shape.is_const() and 0 in shape.get_tensor_value():
                return []
        joined: list[Any] = join(graph, node, consumers)
        return joined

    handlers[("Reshape",)] = join_unless_copied
    try:
        yield
    finally:
        handlers[("Reshape",)] = join


def _unknown_operations(graph: Any) -> Iterator[str]:
    """Operations that tf2onnx does not know stay in the graph as TensorFlow calls them."""
    import onnx

    for node in graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
            yield node.op_type
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _unknown_operations(inner)
