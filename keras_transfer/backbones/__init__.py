"""Pretrained networks without their tops: one row each in ``BACKBONES``."""

from keras_transfer.backbones import applications, efficientnet_lite0  # noqa: F401 - each adds its rows
from keras_transfer.backbones.base import (
    BACKBONES,
    CAFFE,
    RAW,
    SIGNED,
    TORCH,
    Backbone,
    BackboneRow,
    InputContract,
    PictureBackbone,
)

__all__ = [
    "BACKBONES",
    "CAFFE",
    "RAW",
    "SIGNED",
    "TORCH",
    "Backbone",
    "BackboneRow",
    "InputContract",
    "PictureBackbone",
]
