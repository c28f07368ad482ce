"""Exporters write models for serving; a fresh process verifies that an artifact's predictions match the model's."""

from keras_transfer.export.base import EXPORTERS, Exporter, Served, find_exporter, make_exporters
from keras_transfer.export.description import Description
from keras_transfer.export.litert import LiteRTExporter
from keras_transfer.export.metric_drop import LabelledRows, MetricDrop
from keras_transfer.export.onnx import OnnxExporter
from keras_transfer.export.proof import Parity
from keras_transfer.export.quantize import check_quantizable
from keras_transfer.export.saved_model import SavedModelExporter
from keras_transfer.export.writing import export_run

for _exporter in (SavedModelExporter, OnnxExporter, LiteRTExporter):
    EXPORTERS.add(_exporter.name, _exporter)

__all__ = [
    "EXPORTERS",
    "Description",
    "Exporter",
    "LabelledRows",
    "LiteRTExporter",
    "MetricDrop",
    "OnnxExporter",
    "Parity",
    "SavedModelExporter",
    "Served",
    "check_quantizable",
    "export_run",
    "find_exporter",
    "make_exporters",
]
