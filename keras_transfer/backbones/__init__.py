"""Pretrained networks without their tops: one row each in ``BACKBONES``."""

from keras_transfer.backbones.base import CAFFE, RAW, SIGNED, TORCH, Backbone, ImageBackbone, InputContract
from keras_transfer.backbones.images import applications, efficientnet_lite0  # noqa: F401 - each adds its rows
from keras_transfer.backbones.images.rows import ImageBackboneRow
from keras_transfer.backbones.rows import BACKBONES, BackboneRow
from keras_transfer.backbones.texts.rows import TextBackboneRow

__all__ = [
    "BACKBONES",
    "CAFFE",
    "RAW",
    "SIGNED",
    "TORCH",
    "Backbone",
    "BackboneRow",
    "ImageBackbone",
    "ImageBackboneRow",
    "InputContract",
    "TextBackboneRow",
]
