"""Exporters write models for serving; a fresh process checks that an artifact predicts what the model predicts."""

from keras_transfer.export.base import EXPORTERS, Exporter, Served, make_exporters
from keras_transfer.export.description import Description
from keras_transfer.export.proof import Parity
from keras_transfer.export.saved_model import SavedModelExporter
from keras_transfer.export.writing import export_run

EXPORTERS.add(SavedModelExporter.name, SavedModelExporter)

__all__ = [
    "EXPORTERS",
    "Description",
    "Exporter",
    "Parity",
    "SavedModelExporter",
    "Served",
    "export_run",
    "make_exporters",
]
