"""Input contract + backbone + head -> one Keras model."""

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_transfer.backbones import Backbone
from keras_transfer.batch_norm import fuse_batch_norm
from keras_transfer.config import AugmentationConfig
from keras_transfer.heads import ClassificationHead
from keras_transfer.stages import submodel


class _AsInPrediction(keras.layers.Layer):
    """Runs a model with ``training=False``, which a functional model that is called so forgets when it is trained."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def call(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)


@dataclass(frozen=True)
class TransferModel:
    """A backbone with a head, from raw pixels on.

    Attributes:
        backbone: With its stages.
        head: With its loss and metrics.
        pooling: The network's feature map to pooled features.
        top: Pooled features to logits: the head's weights.
        trainer: ``float32[batch, size, size, 3]`` in 0..255 to logits ``float32[batch, classes]``.
        predictor: The same layers, to probabilities. This is what is saved.
    """

    backbone: Backbone
    head: ClassificationHead
    pooling: keras.Model
    top: keras.Model
    trainer: keras.Model
    predictor: keras.Model
    _parts: dict[int, tuple[keras.Model, keras.Model]] = field(default_factory=dict, init=False, repr=False)
    _frozen: dict[int, keras.Model] = field(default_factory=dict, init=False, repr=False)

    def split(self, stage: int) -> tuple[keras.Model, keras.Model]:
        """Divide the model before a stage; both parts share its layers, and are the same ones at every call.

        Args:
            stage: 1 up to the number of stages; the latter divides between pooling and the head's weights.

        Returns:
            A model from raw pixels to the tensors alive there, and one from those to logits.
        """
        if stage not in self._parts:
            self._parts[stage] = self._split(stage)
        return self._parts[stage]

    def freeze(self, stage: int) -> keras.Model:
        """Return a trainer whose first stages run as in prediction: dropout in them is off, as BatchNorm's updates are.

        It is the same one at every call.

        Args:
            stage: How many stages are frozen, from 0.

        Returns:
            ``float32[batch, size, size, 3]`` in 0..255 to logits ``float32[batch, classes]``.
        """
        if stage == 0:
            return self.trainer
        if stage not in self._frozen:
            frozen, rest = self.split(stage)
            pixels = keras.Input(self.trainer.input_shape[1:], name="pixels", dtype="float32")
            self._frozen[stage] = keras.Model(pixels, rest(_AsInPrediction(frozen)(pixels)), name="trainer")
        return self._frozen[stage]

    def _split(self, stage: int) -> tuple[keras.Model, keras.Model]:
        network, stages = self.backbone.network, self.backbone.stages
        pixels = keras.Input(self.trainer.input_shape[1:], name="pixels", dtype="float32")
        contracted = self.backbone.contract(pixels)
        if stage == len(stages):
            return keras.Model(pixels, self.pooling(network(contracted)), name="frozen"), self.top
        first = submodel(network, stages, 0, stage)
        last = submodel(network, stages, stage, len(stages))
        logits = self.top(self.pooling(last.output))
        return keras.Model(pixels, first(contracted), name="frozen"), keras.Model(last.input, logits, name="trained")


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
    pooling = keras.Model(features, head.pool(features), name="pooling")
    pooled = keras.Input(pooling.output_shape[1:], name="pooled")
    top = keras.Model(pooled, head.classify(pooled), name="head")

    pixels = keras.Input((backbone.image_size, backbone.image_size, 3), name="pixels", dtype="float32")
    contracted = backbone.contract(pixels)
    views = [keras.ops.flip(contracted, axis=axes) if axes else contracted for axes in flip_axes(augmentation)]
    logits = [top(pooling(backbone.network(view))) for view in views]
    each = [head.probabilities(view) for view in logits]
    probabilities = keras.layers.Average(dtype="float32", name="average")(each) if len(each) > 1 else each[0]
    return TransferModel(
        backbone=backbone,
        head=head,
        pooling=pooling,
        top=top,
        trainer=keras.Model(pixels, logits[0], name="trainer"),
        predictor=keras.Model(pixels, probabilities, name="predictor"),
    )


def flip_axes(augmentation: AugmentationConfig) -> list[tuple[int, ...]]:
    """Return which axes of ``[batch, height, width, channels]`` are flipped, for each view that predictions average.

    Args:
        augmentation: Says which flips are on, and whether predictions are averaged.

    Returns:
        ``()``, the picture as it is, comes first.
    """
    axes: list[tuple[int, ...]] = [()]
    if augmentation.predict_flips:
        for axis, on in ((2, augmentation.horizontal_flip), (1, augmentation.vertical_flip)):
            axes += [(*flipped, axis) for flipped in axes] if on else []
    return axes
