"""Pretrained networks without their tops: one row each in ``BACKBONES``."""

from keras_transfer.backbones.base import (
    BACKBONES,
    CAFFE,
    RAW,
    SIGNED,
    TORCH,
    Backbone,
    BackboneRow,
    ImageBackbone,
    InputContract,
)
from keras_transfer.backbones.images import applications, efficientnet_lite0  # noqa: F401 - each adds its rows

__all__ = [
    "BACKBONES",
    "CAFFE",
    "RAW",
    "SIGNED",
    "TORCH",
    "Backbone",
    "BackboneRow",
    "ImageBackbone",
    "InputContract",
]
