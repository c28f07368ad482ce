"""ONNX: the network with its class names in one file, for ONNX Runtime on servers, in browsers, from any language."""

import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ConfigError
from keras_transfer.export.base import Served
from keras_transfer.export.description import KEY
from keras_transfer.export.onnx_converter import TITLE, convert_to_onnx, quantize_onnx
from keras_transfer.export.quantize import QuantizeSettings, takes_tokens
from keras_transfer.export.single_file import SingleFileExporter, require_packages
from keras_transfer.export.tensor_graph import trace_tensors

MODEL = "model.onnx"


class OnnxSettings(QuantizeSettings):
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
    title = TITLE
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
