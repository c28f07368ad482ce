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
