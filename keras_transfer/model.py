"""Input contract + backbone + head -> one Keras model."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_transfer.backbones import Backbone
from keras_transfer.batch_norm import fuse_batch_norm
from keras_transfer.config import AugmentationConfig
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


def build_model(backbone: Backbone, head: ClassificationHead, *, augmentation: AugmentationConfig) -> TransferModel:
    """Join the three.

    Args:
        backbone: Its network is used, not copied.
        head: Goes on the network's feature map.
        augmentation: Says whether predictions are averaged over flips.

    Returns:
        The models. Preprocessing is inside, so that it can be applied neither twice nor never.
    """
    fuse_batch_norm(backbone.network)
    features = keras.Input(backbone.network.output_shape[1:], name="features")
    top = keras.Model(features, head(features), name="head")

    pixels = keras.Input((backbone.image_size, backbone.image_size, 3), name="pixels", dtype="float32")
    logits = [top(backbone.network(view)) for view in _views(backbone.contract(pixels), augmentation)]
    each = [head.probabilities(view) for view in logits]
    probabilities = keras.layers.Average(dtype="float32", name="average")(each) if len(each) > 1 else each[0]
    return TransferModel(
        backbone=backbone,
        head=head,
        trainer=keras.Model(pixels, logits[0], name="trainer"),
        predictor=keras.Model(pixels, probabilities, name="predictor"),
    )


def _views(pixels: Any, augmentation: AugmentationConfig) -> list[Any]:
    """The pictures, and every flip of them that predictions are averaged over."""
    views = [pixels]
    if augmentation.predict_flips:
        for axis, on in ((2, augmentation.horizontal_flip), (1, augmentation.vertical_flip)):
            views += [keras.ops.flip(view, axis=axis) for view in views] if on else []
    return views
