"""LiteRT, once TensorFlow Lite: the network with its class names in one file, for phones and small devices."""

import os
import zipfile
from pathlib import Path
from typing import Any, ClassVar

from keras_transfer.data.readers.base import Reader
from keras_transfer.export.base import Served
from keras_transfer.export.description import FILE, MOST_BYTES, damaged
from keras_transfer.export.litert_converter import TITLE, convert_to_litert, quantize_litert
from keras_transfer.export.quantize import QuantizeSettings, takes_pixels
from keras_transfer.export.single_file import SingleFileExporter, require_packages
from keras_transfer.export.tensor_graph import trace_tensors

MODEL = "model.tflite"
SIGNATURE = "serving_default"


class LiteRTExporter(SingleFileExporter):
    """``model.tflite``, from the reader's ``tensor_inputs`` to numbers.

    The signature ``serving_default`` has inputs and outputs of the names that those of a SavedModel have; the first
    dimension of each is open. Of outputs that are strings, a class has its place among the names in
    ``label_index: int32[batch]``; ``features`` is what the head reads. The file is also a zip archive, as files with
    TensorFlow Lite's metadata are, with the :class:`Description` in
    ``keras_transfer.json``. For texts, the tokenizer lies beside it as the run folder has it.

    Args:
        settings: See :class:`QuantizeSettings`.

    Raises:
        ExportError: The extra ``litert`` is not installed.
    """

    name = "litert"
    title = TITLE
    extra = "litert"
    model_file = MODEL
    has_client = True
    endpoint = "tensors"
    backend = "tensorflow"
    probe: ClassVar[Path] = Path(__file__).with_name("litert_probe.py")
    Settings = QuantizeSettings
    settings: QuantizeSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        require_packages(self.title, "litert", "ai_edge_litert")

    def calibrates(self, reader: Reader) -> bool:
        """Whether int8 depends on ranges that examples have: those of pixels do."""
        return self.settings.quantize == "int8" and takes_pixels(reader)

    def write(self, served: Served, artifact: Path) -> None:
        file = artifact / MODEL
        if self.settings.quantize is None:
            graph = trace_tensors(served)
            content = convert_to_litert(graph)
        else:
            content, graph = quantize_litert(served, self.settings.quantize)
        file.write_bytes(content)
        self.write_metadata(file, graph.describe(served).to_json())
        served.reader.save(artifact)

    @classmethod
    def write_metadata(cls, file: Path, content: str) -> None:
        """Write a zip archive behind the network."""
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                end = min(entry.header_offset for entry in archive.infolist())
            os.truncate(file, end)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(FILE, content)

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
