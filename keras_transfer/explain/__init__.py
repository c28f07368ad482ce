"""Explain outputs by the evidence in an example: heat maps of images, attributions of texts."""

from keras_transfer.explain.opened import OpenedModel, open_model
from keras_transfer.explain.pieces import Piece
from keras_transfer.explain.records import EncodedAudio, EncodedImage, Explanation, Shown

__all__ = ["EncodedAudio", "EncodedImage", "Explanation", "OpenedModel", "Piece", "Shown", "open_model"]
