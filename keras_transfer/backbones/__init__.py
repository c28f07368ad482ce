"""Pretrained networks without their tops: one row each in ``BACKBONES``."""

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
