"""ONNX: the network with its class names in one file, for ONNX Runtime on servers, in browsers, from any language."""

import contextlib
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ConfigError
from keras_transfer.export.base import Served
from keras_transfer.export.description import KEY
from keras_transfer.export.quantize import Quantize, QuantizeSettings, simplify, takes_tokens
from keras_transfer.export.single_file import SingleFileExporter
from keras_transfer.export.tensor_graph import TensorGraph, trace_tensors

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

    # Its log messages about missing operations are in the error.
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
    """Keep both of two reshapes if the second one copies a size from the result of the first: ONNX writes that as 0.

    tf2onnx 1.17 removes the first one, so that the second one copies a size of another tensor. It writes such pairs for
    attention with one head.
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
    """Operations that tf2onnx does not support, which remain in the graph under TensorFlow's names."""
    import onnx

    for node in graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
            yield node.op_type
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _unknown_operations(inner)


def quantize_onnx(served: Served, quantize: Quantize, *, opset: int) -> tuple[Any, TensorGraph]:
    """Convert a model to an ONNX model with quantized numbers; inputs and outputs stay float32.

    - ``float16``: weights and activations.
    - ``int8``: the weights of matrix products and embeddings; activations are quantized dynamically for each batch.

    Returns:
        An ``onnx.ModelProto``, and the graph that was converted.

    Raises:
        ExportError: ONNX lacks an operation.
    """
    graph = trace_tensors(simplify(served))
    model = convert_to_onnx(graph, opset=opset)
    if quantize == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        exact = _find_exact_nodes(model, served)
        halved = convert_float_to_float16(model, keep_io_types=True, node_block_list=exact)
        _join_casts(halved.graph)
        return halved, graph
    return _quantize_weights(model), graph


def _find_exact_nodes(model: Any, served: Served) -> list[str]:
    """The names of nodes up to layers that need full precision: powers of a spectrum exceed the range of float16."""
    exact = {layer.name for layer in served.model.layers if getattr(layer, "needs_float32", False)}
    found, read = [], set[str]()
    for node in reversed(model.graph.node):
        # TensorFlow numbers the calls of a layer: log_mel, log_mel_1. Nodes that the converter added have no path.
        parts = [re.sub(r"_\d+$", "", part) for part in node.name.split("/")]
        if exact.intersection(parts) or read.intersection(node.output):
            found.append(node.name)
            read.update(node.input)
    return found


def _join_casts(graph: Any) -> None:
    """Pass float32 from one exact node to the next: ONNX Runtime's converter rounds it to float16 in between."""
    from onnx import TensorProto

    casts = {node.output[0]: (node.input[0], node.attribute[0].i) for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        for place, name in enumerate(node.input):
            half, to = casts.get(name, ("", 0))
            exact, before = casts.get(half, ("", 0))
            if (to, before) == (TensorProto.FLOAT, TensorProto.FLOAT16):
                node.input[place] = exact


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
        split_gemm(folded.graph)
        onnx.save(folded, prepared)
        # 8-bit weights silently overflow the 16-bit sums of processors without VNNI.
        quantize_dynamic(prepared, quantized, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        return onnx.load(quantized)


def split_gemm(graph: Any) -> None:
    """Replace each ONNX ``Gemm`` by ``MatMul`` and ``Add``: only these are quantized."""
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    usual = {"alpha": 1.0, "transA": 0, "beta": 1.0, "transB": 0}
    nodes = []
    for node in graph.node:
        given = usual | {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        has_bias = len(node.input) == 3
        plain = node.op_type == "Gemm" and (given["alpha"], given["transA"]) == (1.0, 0) and node.input[1] in weights
        if not plain or (has_bias and given["beta"] != 1.0):
            nodes.append(node)
            continue
        weight = node.input[1]
        if given["transB"]:
            weight = f"{node.output[0]}_weight"
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weights[node.input[1]]).T, weight))
        product = f"{node.output[0]}_product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=f"{node.output[0]}_matmul"))
        if has_bias:
            nodes.append(helper.make_node("Add", [product, node.input[2]], node.output, name=f"{node.output[0]}_add"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


MODEL = "model.onnx"


class OnnxSettings(QuantizeSettings):
    """The settings of this format in a recipe."""

    opset: int = Field(default=17, ge=13, le=18, description="the version of ONNX operators")


class OnnxExporter(SingleFileExporter):
    """``model.onnx``, from the reader's ``tensor_inputs`` to numbers.

    Inputs and outputs have the same names as those of a SavedModel; the first dimension of each is dynamic. Instead of
    strings, ``label_index: int32[batch]`` has the index of a class among the names; ``features`` are the inputs of the
    head. The file's metadata have ``names``, a JSON list, and the :class:`Description` under ``keras_transfer``. For
    texts, the tokenizer of the run folder is next to it.

    Args:
        settings: See :class:`OnnxSettings`.

    Raises:
        ExportError: The extra ``onnx`` is not installed.
    """

    name = "onnx"
    title = TITLE
    extra = "onnx"
    packages = ("onnx", "onnxruntime", "tf2onnx")
    model_file = MODEL
    probe: ClassVar[Path] = Path(__file__).with_name("onnx_probe.py")
    Settings = OnnxSettings
    settings: OnnxSettings

    def check(self, reader: Reader) -> None:
        """Refuse loops, and int8 for networks of images and audio, which is neither exact nor fast without VNNI."""
        super().check(reader)
        if self.settings.quantize == "int8" and not takes_tokens(reader):
            inputs = ", ".join(spec.name for spec in reader.tensor_inputs)
            raise ConfigError(
                f"quantize: int8 of an ONNX model is for networks of texts. Received: a network that takes {inputs}, "
                "which would lose accuracy (docs/quantization.md). Use the format litert for int8, or float16."
            )

    def write(self, served: Served, artifact: Path) -> None:
        if self.settings.quantize is None:
            graph = trace_tensors(served)
            model = convert_to_onnx(graph, opset=self.settings.opset)
        else:
            model, graph = quantize_onnx(served, self.settings.quantize, opset=self.settings.opset)
        model.metadata_props.add(key="names", value=json.dumps(list(served.head.names)))
        model.metadata_props.add(key=KEY, value=graph.describe(served).to_json())
        (artifact / MODEL).write_bytes(model.SerializeToString())
        served.reader.save(artifact)

    @classmethod
    def write_metadata(cls, file: Path, content: str) -> None:
        """Change the entry ``keras_transfer`` of the file's metadata."""
        import onnx

        model = onnx.load_model(str(file))
        others = {entry.key: entry.value for entry in model.metadata_props if entry.key != KEY}
        onnx.helper.set_model_props(model, {**others, KEY: content})
        file.write_bytes(model.SerializeToString())

    @classmethod
    def read_metadata(cls, file: Path) -> str | None:
        """Return the entry ``keras_transfer`` of the file's metadata; weights in other files are not read."""
        import onnx

        model = onnx.load_model(str(file), load_external_data=False)
        return next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
