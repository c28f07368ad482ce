"""Input contract + backbone + head -> one Keras model."""

from dataclasses import dataclass

import keras

from keras_transfer.backbones import Backbone
from keras_transfer.heads import ClassificationHead


@dataclass(frozen=True)
class TransferModel:
    """A backbone with a head, from raw pixels on.

    Attributes:
        backbone: With its stages.
        head: With its loss and metrics.
        trainer: ``float32[batch, size, size, 3]`` in 0..255 to logits ``float32[batch, classes]``.
        predictor: The same layers, to probabilities. This is what is saved.
    """

    backbone: Backbone
    head: ClassificationHead
    trainer: keras.Model
    predictor: keras.Model


def build_model(backbone: Backbone, head: ClassificationHead) -> TransferModel:
    """Join the three.

    Args:
        backbone: Its network is used, not copied.
        head: Goes on the network's feature map.

    Returns:
        The models. Preprocessing is inside, so that it can be applied neither twice nor never.
    """
    pixels = keras.Input((backbone.image_size, backbone.image_size, 3), name="pixels", dtype="float32")
    logits = head(backbone.network(backbone.contract(pixels)))
    return TransferModel(
        backbone=backbone,
        head=head,
        trainer=keras.Model(pixels, logits, name="trainer"),
        predictor=keras.Model(pixels, head.probabilities(logits), name="predictor"),
    )
