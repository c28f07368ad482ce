"""ONNX models in fewer bits: float16, and int8 for the weights of text networks."""

import tempfile
from pathlib import Path
from typing import Any

from keras_transfer.export.base import Served
from keras_transfer.export.onnx_converter import convert_to_onnx
from keras_transfer.export.quantize import Quantize, simplify
from keras_transfer.export.tensor_graph import TensorGraph, trace_tensors


def quantize_onnx(served: Served, quantize: Quantize, *, opset: int) -> tuple[Any, TensorGraph]:
    """Convert a model to an ONNX model with numbers in fewer bits; inputs and outputs stay float32.

    - ``float16``: weights and what is between layers.
    - ``int8``: the weights of matrix products and embeddings; what is between layers for each batch anew.

    Args:
        served: The model.
        quantize: How.
        opset: The version of ONNX operators.

    Returns:
        An ``onnx.ModelProto``, and the graph that was converted.

    Raises:
        ExportError: ONNX lacks an operation.
    """
    graph = trace_tensors(simplify(served))
    model = convert_to_onnx(graph, opset=opset)
    if quantize == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        return convert_float_to_float16(model, keep_io_types=True), graph
    return _quantize_weights(model), graph


def _quantize_weights(model: Any) -> Any:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
        whole, prepared, quantized = (str(Path(scratch) / f"{name}.onnx") for name in ("whole", "prepared", "int8"))
        onnx.save(model, whole)
        # Weights that are reshaped before they are used become constants.
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        folded = onnx.load(prepared)
        _split_gemm(folded.graph)
        onnx.save(folded, prepared)
        # Eight bits of weights overflow the 16-bit sums of processors without VNNI, without a word.
        quantize_dynamic(prepared, quantized, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        return onnx.load(quantized)


def _split_gemm(graph: Any) -> None:
    """Turn products with a bias into a product and a sum: ONNX Runtime quantizes only the former."""
    from onnx import helper

    nodes = []
    for node in graph.node:
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type != "Gemm" or len(node.input) != 3 or {**plain, **given} != plain:
            nodes.append(node)
            continue
        product = f"{node.output[0]}_product"
        nodes.append(helper.make_node("MatMul", node.input[:2], [product], name=node.name))
        nodes.append(helper.make_node("Add", [product, node.input[2]], node.output, name=f"{node.name}_bias"))
    del graph.node[:]
    graph.node.extend(nodes)
