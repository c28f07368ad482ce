"""Pretrained networks without their tops: one entry each in ``BACKBONES``."""

from keras_transfer.backbones.audio import speech_embedding, whisper  # noqa: F401 - they add their rows
from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.rows import AudioBackboneRow
from keras_transfer.backbones.base import CAFFE, RAW, SIGNED, TORCH, Backbone, ImageBackbone, InputContract
from keras_transfer.backbones.images import (  # noqa: F401 - they add their rows and register the classes of saved models
    applications,
    efficientnet_lite0,
    hub_network,
)
from keras_transfer.backbones.images.rows import ImageBackboneRow
from keras_transfer.backbones.rows import BACKBONES, BackboneRow
from keras_transfer.backbones.texts import network  # noqa: F401 - as above
from keras_transfer.backbones.texts.rows import TextBackboneRow

__all__ = [
    "BACKBONES",
    "CAFFE",
    "RAW",
    "SIGNED",
    "TORCH",
    "AudioBackbone",
    "AudioBackboneRow",
    "Backbone",
    "BackboneRow",
    "ImageBackbone",
    "ImageBackboneRow",
    "InputContract",
    "TextBackboneRow",
]
