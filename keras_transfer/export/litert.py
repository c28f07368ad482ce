"""LiteRT, formerly TensorFlow Lite: the network with its class names in one file, for phones and small devices."""

import contextlib
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.readers.base import Reader
from keras_transfer.export.base import Served
from keras_transfer.export.description import FILE, MOST_BYTES, damaged
from keras_transfer.export.quantize import Quantize, QuantizeSettings, simplify, tail_of, takes_pixels
from keras_transfer.export.single_file import SingleFileExporter
from keras_transfer.export.tensor_graph import FEATURES, TensorGraph, trace_tensors

TITLE = "LiteRT model"
"""What messages call an artifact."""

# What a converter lists in its error: "tf.Erfc {device = ""}", or "Flex ops: FlexErfc, FlexRoll".
_LISTED = re.compile(r"^(?:Flex|Custom) ops: (.*)$", re.MULTILINE)
# Or it names one: "'tf.Abs' op is neither a custom op nor a flex op".
_NAMED = re.compile(r"'tfl?\.(\w+)' op ")


def convert_to_litert(graph: TensorGraph, converter: Any = None) -> bytes:
    """Convert a traced model.

    Args:
        converter: From :func:`make_converter`, with options; by default, one without.

    Returns:
        The content of a ``.tflite`` file, with the signature ``serving_default``.

    Raises:
        ExportError: LiteRT lacks an operation.
    """
    try:
        with _without_messages():
            content: bytes = (converter or make_converter(graph)).convert()
    except Exception as error:  # of the converter's own class, which is private
        lacks = [name.strip().removeprefix("Flex") for line in _LISTED.findall(str(error)) for name in line.split(",")]
        lacks = lacks or _NAMED.findall(str(error))
        if not lacks:
            raise
        raise graph.refuse(TITLE, lacks) from error
    return content


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Suppress the converter's output to standard error from C++: the relevant part is in its exception."""
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


def quantize_litert(served: Served, quantize: Quantize) -> tuple[bytes, TensorGraph]:
    """Convert a model to a LiteRT model with quantized numbers; inputs and outputs stay float32.

    - ``float16``: the weights; LiteRT computes in float32, and phones' GPUs in float16.
    - ``int8`` for a network that takes pixels: weights and activations. The head is not quantized: it is fast, and
      probabilities in 256 steps could not be ranked.
    - ``int8`` for other networks: the weights. LiteRT quantizes activations dynamically for each batch.

    Args:
        served: The model; for int8 and pixels with examples for calibration.

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
    return convert_to_litert(graph, converter), graph


def _convert_calibrated(graph: TensorGraph, served: Served, converter: Any) -> bytes:
    head = _names_after(convert_to_litert(graph), FEATURES)

    def examples() -> Iterator[list[NDArray[Any]]]:
        for batch in served.calibration_batches():
            for row in range(len(next(iter(batch.values())))):
                yield [batch[spec.name][row : row + 1] for spec in graph.inputs]

    converter.representative_dataset = examples
    if not head:
        return convert_to_litert(graph, converter)
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own interpreter, which is older than LiteRT's
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
        content: bytes = debugger.get_nondebug_quantized_model()
    return content


def _names_after(content: bytes, output: str) -> list[str]:
    """The names of operations after an output of a float model, as in the converter."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    outputs = {tensor.name.decode(): tensor.tensorIndex for tensor in model.signatureDefs[0].outputs}
    if output not in outputs:
        return []
    operations = [(each.outputs, each.inputs, each.outputs) for each in graph.operators]
    found = tail_of(operations, outputs[output])
    return [graph.tensors[int(place)].name.decode() for places in found for place in np.atleast_1d(places)]


MODEL = "model.tflite"


class LiteRTExporter(SingleFileExporter):
    """``model.tflite``, from the reader's ``tensor_inputs`` to numbers.

    The signature ``serving_default`` has inputs and outputs with the same names as those of a SavedModel; the first
    dimension of each is dynamic. Instead of strings, ``label_index: int32[batch]`` has the index of a class among the
    names; ``features`` are the inputs of the head. The file is also a zip archive, like files with TensorFlow Lite's
    metadata, with the :class:`Description` in ``keras_transfer.json``. For texts, the tokenizer of the run folder is
    next to it.

    Args:
        settings: See :class:`QuantizeSettings`.

    Raises:
        ExportError: The extra ``litert`` is not installed.
    """

    name = "litert"
    title = TITLE
    extra = "litert"
    packages = ("ai_edge_litert",)
    model_file = MODEL
    probe: ClassVar[Path] = Path(__file__).with_name("litert_probe.py")
    Settings = QuantizeSettings
    settings: QuantizeSettings

    def calibrates(self, reader: Reader) -> bool:
        """Whether int8 depends on ranges of examples: for pixels, it does."""
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
        """Append a zip archive to the network."""
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
