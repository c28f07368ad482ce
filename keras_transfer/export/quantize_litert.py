"""LiteRT models in fewer bits: float16, int8 calibrated on images, int8 for the weights of text networks."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.export.base import Served
from keras_transfer.export.litert_converter import convert, convert_to_litert, make_converter
from keras_transfer.export.quantize import Quantize, simplify, tail_of, takes_pixels
from keras_transfer.export.tensor_graph import FEATURES, TensorGraph, trace_tensors


def quantize_litert(served: Served, quantize: Quantize) -> tuple[bytes, TensorGraph]:
    """Convert a model to a LiteRT model with numbers in fewer bits; inputs and outputs stay float32.

    - ``float16``: the weights; LiteRT computes in float32, and phones' GPUs in float16.
    - ``int8`` of a network that takes pixels: weights and what is between layers. The head stays as it is: it takes
      no time, and probabilities in 256 steps could not be ranked.
    - ``int8`` of another one: the weights. LiteRT computes what is between layers in int8 for each batch anew.

    Args:
        served: The model; for int8 and pixels with examples to calibrate on.

    Returns:
        The content of a ``.tflite`` file, and the graph that was converted.

    Raises:
        ExportError: LiteRT lacks an operation.
    """
    graph = trace_tensors(simplify(served))
    converter = make_converter(graph)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif takes_pixels(served.reader):
        return _convert_calibrated(graph, served, converter), graph
    return convert(converter, graph), graph


def _convert_calibrated(graph: TensorGraph, served: Served, converter: Any) -> bytes:
    head = _names_after(convert_to_litert(graph), FEATURES)

    def examples() -> Iterator[list[NDArray[Any]]]:
        for batch in served.calibration_batches():
            for row in range(len(next(iter(batch.values())))):
                yield [batch[spec.name][row : row + 1] for spec in graph.inputs]

    converter.representative_dataset = examples
    if not head:
        return convert(converter, graph)
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an interpreter of its own, which is older than LiteRT's
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
        content: bytes = debugger.get_nondebug_quantized_model()
    return content


def _names_after(content: bytes, output: str) -> list[str]:
    """The names of operations behind an output of a float model, as the converter calls them."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    outputs = {tensor.name.decode(): tensor.tensorIndex for tensor in model.signatureDefs[0].outputs}
    if output not in outputs:
        return []
    operations = [(each.outputs, each.inputs, each.outputs) for each in graph.operators]
    found = tail_of(operations, outputs[output])
    return [graph.tensors[int(place)].name.decode() for places in found for place in np.atleast_1d(places)]
