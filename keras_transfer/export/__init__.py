"""Exporters write models for serving; a fresh process checks that an artifact predicts what the model predicts."""

from keras_transfer.export.base import EXPORTERS, Exporter, Parity, Served, export_run, make_exporters
from keras_transfer.export.saved_model import SavedModelExporter

EXPORTERS.add(SavedModelExporter.name, SavedModelExporter)

__all__ = [
    "EXPORTERS",
    "Exporter",
    "Parity",
    "SavedModelExporter",
    "Served",
    "export_run",
    "make_exporters",
]
