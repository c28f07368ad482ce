"""What ``predict`` accepts, and how it becomes examples."""

from keras_transfer.data.inputs.base import (
    Broken,
    InputKind,
    InputRows,
    Inputs,
    collect_inputs,
    read_inputs,
    refuse_unused_options,
)
from keras_transfer.data.inputs.images import ImageInputs
from keras_transfer.data.inputs.recordings import AudioInputs
from keras_transfer.data.inputs.stream import InputStream
from keras_transfer.data.inputs.texts import TextInputs

__all__ = [
    "AudioInputs",
    "Broken",
    "ImageInputs",
    "InputKind",
    "InputRows",
    "InputStream",
    "Inputs",
    "TextInputs",
    "collect_inputs",
    "read_inputs",
    "refuse_unused_options",
]
