"""Sources of examples: folders, tables, shards, TFDS, sample sets, Python objects, and sources of plugins."""

from keras_transfer.data.sources import bundled_samples  # noqa: F401 - it adds sample sets
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.example_kinds import EXAMPLE_KINDS, ExampleKind
from keras_transfer.data.sources.find import absolute_name
from keras_transfer.data.sources.folders import Folders
from keras_transfer.data.sources.given_objects import PythonObjects
from keras_transfer.data.sources.images import ImageKind
from keras_transfer.data.sources.recordings import AudioKind, SpeechKind
from keras_transfer.data.sources.samples import SAMPLES, Sample, SampleSets
from keras_transfer.data.sources.shards import Shards
from keras_transfer.data.sources.source_kinds import SOURCES, SourceKind, TableSource
from keras_transfer.data.sources.table_files import TableFiles
from keras_transfer.data.sources.texts import TextKind
from keras_transfer.data.sources.tfds_datasets import TfdsDatasets
from keras_transfer.data.sources.transcribed_folders import CommonVoice, LibriSpeech

for _examples in (ImageKind(), TextKind(), AudioKind(), SpeechKind()):
    EXAMPLE_KINDS.add(_examples.name, _examples)
for _kind in (
    PythonObjects(),
    SampleSets(),
    TfdsDatasets(),
    Shards(),
    TableFiles(),
    Folders(),
    CommonVoice(),
    LibriSpeech(),
):
    SOURCES.add(_kind.name, _kind)

__all__ = [
    "EXAMPLE_KINDS",
    "SAMPLES",
    "SOURCES",
    "ExampleKind",
    "Sample",
    "Source",
    "SourceKind",
    "TableSource",
    "absolute_name",
]
