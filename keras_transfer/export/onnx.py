"""ONNX: the network with its class names in one file, for ONNX Runtime on servers, in browsers, from any language."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from keras_transfer.config.section import Section
from keras_transfer.export.base import Served
from keras_transfer.export.description import KEY
from keras_transfer.export.packages import require_packages
from keras_transfer.export.single_file import SingleFileExporter
from keras_transfer.export.tensor_graph import TensorGraph, trace_tensors

MODEL = "model.onnx"


class OnnxSettings(Section):
    """What a recipe may set for this format."""

    opset: int = Field(default=17, ge=13, le=18, description="the version of ONNX operators")


class OnnxExporter(SingleFileExporter):
    """``model.onnx``, from the reader's ``tensor_inputs`` to numbers.

    Inputs and outputs have the names that those of a SavedModel have; the first dimension of each is open. Of outputs
    that are strings, a class has its place among the names in ``label_index: int32[batch]``; ``features`` is what the
    head reads. The file's metadata have ``names``, a JSON list, and the :class:`Description` under ``keras_transfer``.
    For texts, the tokenizer lies beside it as the run folder has it.

    Args:
        settings: See :class:`OnnxSettings`.

    Raises:
        ExportError: The extra ``onnx`` is not installed.
    """

    name = "onnx"
    title = "ONNX model"
    extra = "onnx"
    model_file = MODEL
    has_client = True
    endpoint = "tensors"
    backend = "tensorflow"
    probe: ClassVar[Path] = Path(__file__).with_name("onnx_probe.py")
    Settings = OnnxSettings
    settings: OnnxSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        require_packages(self.title, "onnx", "onnx", "onnxruntime", "tf2onnx")

    def write(self, served: Served, artifact: Path) -> None:
        """Write ``model.onnx``."""
        graph = trace_tensors(served)
        model = convert_to_onnx(graph, opset=self.settings.opset)
        metadata = {"names": json.dumps(list(served.head.names)), KEY: graph.describe(served).to_json()}
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        (artifact / MODEL).write_bytes(model.SerializeToString())
        served.reader.save(artifact)

    @classmethod
    def read_metadata(cls, file: Path) -> str | None:
        """Return the entry ``keras_transfer`` of the file's metadata; weights in other files are not read."""
        import onnx

        model = onnx.load_model(str(file), load_external_data=False)
        return next((entry.value for entry in model.metadata_props if entry.key == KEY), None)


def convert_to_onnx(graph: TensorGraph, *, opset: int) -> Any:
    """Convert a traced model.

    Args:
        graph: The model.
        opset: Version of ONNX's operations.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        ExportError: ONNX lacks an operation.
    """
    import tf2onnx

    # What it logs about operations that are missing is in the error.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    model, _ = tf2onnx.convert.from_function(graph.function, input_signature=list(graph.inputs), opset=opset)
    unknown = sorted(_unknown_operations(model.graph))
    if unknown:
        raise graph.refuse(OnnxExporter.title, unknown)
    for tensor in (*model.graph.input, *model.graph.output):
        for place, dimension in enumerate(tensor.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = "batch" if place == 0 else "tokens"
    return model


def _unknown_operations(graph: Any) -> Iterator[str]:
    """Operations that tf2onnx does not know stay in the graph as TensorFlow calls them."""
    import onnx

    for node in graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
            yield node.op_type
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _unknown_operations(inner)
