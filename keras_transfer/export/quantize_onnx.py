"""ONNX models in fewer bits: float16, int8 calibrated on images, int8 for the weights of text networks."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_transfer.export.base import Served
from keras_transfer.export.onnx_converter import convert_to_onnx
from keras_transfer.export.quantize import Quantize, simplify, tail_of, takes_pixels
from keras_transfer.export.tensor_graph import FEATURES, TensorGraph, trace_tensors


def quantize_onnx(served: Served, quantize: Quantize, *, opset: int) -> tuple[Any, TensorGraph]:
    """Convert a model to an ONNX model with numbers in fewer bits; inputs and outputs stay float32.

    - ``float16``: weights and what is between layers.
    - ``int8`` of a network that takes pixels: weights and what is between layers, whose ranges are those of examples.
      (With ranges that are found for each batch anew, as ONNX Runtime also offers, the predictions of CNNs were
      useless.) The head stays as it is: it takes no time, and probabilities in 256 steps could not be ranked.
    - ``int8`` of another one: the weights of its matrix products; what is between layers for each batch anew.

    Args:
        served: The model; for int8 and pixels with examples to calibrate on.
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
    if takes_pixels(served.reader):
        return _quantize_calibrated(model, served), graph
    return _quantize_weights(model), graph


def _quantize_calibrated(model: Any, served: Served) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.batches: Iterator[Any] = served.calibration_batches()

        def get_next(self) -> Any:
            return next(self.batches, None)

    operations = [(node.name, node.input, node.output) for node in model.graph.node]
    head = tail_of(operations, FEATURES)
    with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
        whole, prepared, quantized = (str(Path(scratch) / f"{name}.onnx") for name in ("whole", "prepared", "int8"))
        onnx.save(model, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            Examples(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=head,
        )
        return onnx.load(quantized)


def _quantize_weights(model: Any) -> Any:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
        whole, quantized = (str(Path(scratch) / f"{name}.onnx") for name in ("whole", "int8"))
        onnx.save(model, whole)
        quantize_dynamic(whole, quantized, weight_type=QuantType.QInt8)
        return onnx.load(quantized)
