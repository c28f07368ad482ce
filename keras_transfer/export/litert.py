"""LiteRT, once TensorFlow Lite: the network with its class names in one file, for phones and small devices."""

import re
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf

from keras_transfer.export.base import Served
from keras_transfer.export.description import FILE, MOST_BYTES, damaged
from keras_transfer.export.packages import require_packages
from keras_transfer.export.single_file import SingleFileExporter
from keras_transfer.export.tensor_graph import TensorGraph, trace_tensors

MODEL = "model.tflite"
SIGNATURE = "serving_default"
# What a converter lists in its error: "tf.Erfc {device = ""}", or "Flex ops: FlexErfc, FlexRoll".
_LISTED = re.compile(r"^(?:Flex|Custom) ops: (.*)$", re.MULTILINE)


class LiteRTExporter(SingleFileExporter):
    """``model.tflite``, from the reader's ``tensor_inputs`` to numbers.

    The signature ``serving_default`` has inputs and outputs of the names that those of a SavedModel have; the first
    dimension of each is open. Of outputs that are strings, a class has its place among the names in
    ``label_index: int32[batch]``; ``features`` is what the head reads. The file is also a zip archive, as files with
    TensorFlow Lite's metadata are, with the :class:`Description` in
    ``keras_transfer.json``. For texts, the tokenizer lies beside it as the run folder has it.

    Raises:
        ExportError: The extra ``litert`` is not installed.
    """

    name = "litert"
    title = "LiteRT model"
    extra = "litert"
    model_file = MODEL
    has_client = True
    endpoint = "tensors"
    backend = "tensorflow"
    probe: ClassVar[Path] = Path(__file__).with_name("litert_probe.py")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        require_packages(self.title, "litert", "ai_edge_litert")

    def write(self, served: Served, artifact: Path) -> None:
        """Write ``model.tflite``."""
        file = artifact / MODEL
        graph = trace_tensors(served)
        file.write_bytes(convert_to_litert(graph))
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(FILE, graph.describe(served).to_json())
        served.reader.save(artifact)

    @classmethod
    def read_metadata(cls, file: Path) -> bytes | None:
        """Return the file ``keras_transfer.json`` of the archive that follows the network."""
        if not zipfile.is_zipfile(file):
            return None
        with zipfile.ZipFile(file) as archive:
            found = next((entry for entry in archive.infolist() if entry.filename == FILE), None)
            if found is None:
                return None
            if found.file_size > MOST_BYTES:  # that it would unpack to
                raise damaged(str(file), f"{FILE} has more than {MOST_BYTES:,} bytes")
            return archive.read(found)


def convert_to_litert(graph: TensorGraph) -> bytes:
    """Convert a traced model.

    Args:
        graph: The model.

    Returns:
        The content of a ``.tflite`` file, with the signature ``serving_default``.

    Raises:
        ExportError: LiteRT lacks an operation.
    """
    converter = make_converter(graph)
    try:
        content: bytes = converter.convert()
    except Exception as error:  # of the converter's own class, which is private
        lacks = [name.strip().removeprefix("Flex") for line in _LISTED.findall(str(error)) for name in line.split(",")]
        if not lacks:
            raise
        raise graph.refuse(LiteRTExporter.title, lacks) from error
    return content


def make_converter(graph: TensorGraph) -> Any:
    """Return TensorFlow's converter for a traced model."""
    # Without an object that it could track, the file would have no signature.
    return tf.lite.TFLiteConverter.from_concrete_functions([graph.concrete], tf.Module())
