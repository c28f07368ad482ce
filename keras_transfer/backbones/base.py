"""A backbone: a network without its top, its input contract, its stages, and the source of its weights."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np

from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import Stage, find_stages
from keras_transfer.networks.types import Tensor, Tensors

_BYTES, _UNIT = (0.0, 255.0), (0.0, 1.0)


def find_input_range(model: keras.Model) -> tuple[float, float] | None:
    """Find the range of pixels that a model expects by a Rescaling or Normalization layer at its start.

    Returns:
        The values for black and for white; None if there is no such layer, or if the layer does not determine them.
    """
    first = _first_layer(model)
    if isinstance(first, keras.layers.Rescaling):
        return _range_of_factor(np.max(np.asarray(first.scale, np.float64)))
    if isinstance(first, keras.layers.Normalization) and first.mean is not None:
        mean = keras.ops.convert_to_numpy(first.mean)
        deviation = np.sqrt(keras.ops.convert_to_numpy(first.variance))
        return _range_of_statistics(np.ravel(mean), np.ravel(deviation))
    return None


def _first_layer(model: keras.Model) -> keras.layers.Layer | None:
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not layers:
        return None
    return _first_layer(layers[0]) if isinstance(layers[0], keras.Model) else layers[0]


def _range_of_factor(factor: float) -> tuple[float, float] | None:
    # From 1/255 for 0..1 to 1/(255 * 0.2) for ImageNet's smallest deviation.
    if 0.9 / 255 <= factor <= 5.5 / 255:
        return _BYTES
    # 2 for -1..1, about 4 for ImageNet's standard deviations, 255 for a network that has its own preprocessing.
    return _UNIT if 1.5 <= factor <= 256 else None


def _range_of_statistics(mean: np.ndarray, deviation: np.ndarray) -> tuple[float, float] | None:
    if mean.min() > 10 and mean.max() < 245 and deviation.max() > 5:
        return _BYTES
    return _UNIT if mean.min() > 0.1 and mean.max() < 0.9 and deviation.max() < 0.6 else None


_PerChannel = float | tuple[float, ...]


@dataclass(frozen=True)
class InputContract:
    """How raw pixels, RGB in 0..255, become the network's inputs: ``x * scale + offset`` for each channel.

    Attributes:
        scale: Factor for all channels, or one for each.
        offset: Added after scaling, for all channels or for each.
        channel_order: ``bgr`` reverses the first three channels; scale and offset are then in that order.
    """

    scale: _PerChannel = 1.0
    offset: _PerChannel = 0.0
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __call__(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """Add the contract to a graph, in float32 under any dtype policy; a neutral contract adds nothing.

        Args:
            pixels: ``[batch, height, width, channels]``, RGB first if there are three or more, 0..255.

        Returns:
            A tensor of the same shape.
        """
        if self.channel_order == "bgr" and pixels.shape[-1] >= 3:
            flipped = keras.ops.flip(pixels[..., :3], axis=-1)
            pixels = keras.ops.concatenate([flipped, pixels[..., 3:]], axis=-1) if pixels.shape[-1] > 3 else flipped
        if (self.scale, self.offset) != (1.0, 0.0):
            scale, offset = (list(x) if isinstance(x, tuple) else x for x in (self.scale, self.offset))
            pixels = keras.layers.Rescaling(scale, offset, dtype="float32", name="input_contract")(pixels)
        return pixels


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

RAW = InputContract()
"""0..255 as it is: the network holds its own preprocessing."""

SIGNED = InputContract(1 / 127.5, -1.0)
"""-1..1; ``mode="tf"`` of keras.applications."""

TORCH = InputContract(
    tuple(1 / (255 * std) for std in _IMAGENET_STD),
    tuple(-mean / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)),
)
"""0..1, less the mean of ImageNet, over its standard deviation; ``mode="torch"`` of keras.applications."""

CAFFE = InputContract(1.0, (-103.939, -116.779, -123.68), "bgr")
"""BGR less the mean of ImageNet, not scaled; ``mode="caffe"`` of keras.applications."""


@dataclass(frozen=True, kw_only=True)
class Backbone(ABC):
    """A network without its top, ready for a head.

    Attributes:
        name: Its name in recipes.
        network: From prepared inputs to a feature map, or to a vector for each example.
        stages: The network's stages, nearest the input first.
        weights: Where its weights are from.
        parts: Named sequences of stages, such as ``encoder`` and ``decoder``: indices of their stages, in order.

    Example:
        >>> inputs = keras.Input((32, 32, 3))
        >>> x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
        >>> for block in range(3):
        ...     x = keras.layers.Conv2D(8, 3, strides=2, name=f"block{block}_conv")(x)
        >>> backbone = Backbone.from_keras(keras.Model(inputs, x))
        >>> [stage.name for stage in backbone.stages]
        ['block0_conv', 'block1_conv', 'block2_conv']
    """

    name: str
    network: keras.Model
    stages: tuple[Stage, ...]
    weights: Weights
    parts: Mapping[str, range] = field(default_factory=dict)

    @abstractmethod
    def inputs(self) -> Any:
        """Make new symbolic inputs, as the task's reader returns them: a tensor, or a dictionary of tensors."""

    def prepare(self, inputs: Tensors) -> Tensors:
        """Turn these inputs into the network's inputs."""
        return inputs

    def over_whole(self, predictor: keras.Model) -> keras.Model:
        """Return a predictor for whole inputs, if the network takes only parts of them; by default the same predictor.

        Args:
            predictor: From inputs as :meth:`inputs` makes them to predictions, ``float32[batch, outputs]``.
        """
        return predictor

    def describe(self) -> list[Any]:
        """Return everything except weights and graph on which features depend, for the cache key."""
        return [self.name]

    @staticmethod
    def from_keras(
        model: keras.Model,
        *,
        input_range: tuple[float, float] | None = None,
        image_size: int | None = None,
        name: str | None = None,
    ) -> "ImageBackbone":
        """Make a backbone for images from any Keras model without its top: ``ImageClassification(data, backbone=...)``.

        A recipe trains a copy; the model does not change.

        Args:
            model: Functional or sequential, from images ``[batch, height, width, channels]`` to a feature map
                ``[batch, height, width, features]``, tokens ``[batch, tokens, features]`` or a vector
                ``[batch, features]``.
            input_range: The model's input values for black and for white: ``(0, 255)`` if it includes its own
                preprocessing, ``(0, 1)`` or ``(-1, 1)``. By default, it is read from a Rescaling or Normalization layer
                at its start.
            image_size: Height and width of the images in pixels, for a model that accepts any size.
            name: The name in messages; by default the model's own name.

        Returns:
            The backbone.

        Raises:
            BackboneError: The model has no graph to read, or has other inputs or outputs.
        """
        name = name or model.name
        found = input_range or find_input_range(model)
        if found is None:
            raise BackboneError(
                f"The range of pixels that {name} takes is not known: it cannot be read from a Rescaling or "
                "Normalization layer at the start of the model. Set input_range to its values for black and white, "
                "such as (0, 255) for a model that holds its own preprocessing, (0, 1) or (-1, 1): "
                "Backbone.from_keras(model, input_range=(0, 255)), or backbone.input_range=[0, 255] in a recipe."
            )
        low, high = found
        if not low < high:
            raise BackboneError(
                f"input_range of {name}: expected (value of black, value of white). Received: {input_range}. "
                "Use (0, 255), (0, 1) or (-1, 1), for example."
            )
        return ImageBackbone(
            name=name,
            network=model,
            stages=find_stages(model),
            weights=Weights.PRETRAINED,
            contract=InputContract((high - low) / 255, low),
            image_size=find_image_size(name, model, image_size),
            channels=model.input_shape[-1],
            graph=digest_graph(model),
        )


@dataclass(frozen=True, kw_only=True)
class ImageBackbone(Backbone):
    """A network that takes images, ``[batch, height, width, channels]``, and returns a feature map.

    Attributes:
        contract: From raw pixels to the network's inputs.
        image_size: Height and width that the network was built for, in pixels.
        graph: A digest of the network's graph, if its name does not determine it.
    """

    contract: InputContract
    image_size: int
    graph: str = ""
    channels: int = 3

    def inputs(self) -> keras.KerasTensor:
        """Make an input for raw pixels, ``float32[batch, size, size, channels]`` in 0..255."""
        return keras.Input((self.image_size, self.image_size, self.channels), name="pixels", dtype="float32")

    def prepare(self, inputs: Tensor) -> Tensor:
        return self.contract(inputs)

    def describe(self) -> list[Any]:
        """Return name, graph, size, channels and contract."""
        return [self.name, self.graph, self.image_size, self.channels, repr(self.contract)]


def digest_graph(network: keras.Model) -> str:
    """Return a digest of a network's graph, without its weights."""
    return hashlib.sha256(json.dumps(network.get_config(), sort_keys=True, default=str).encode()).hexdigest()


def find_image_size(name: str, model: keras.Model, image_size: int | None) -> int:
    """Check the inputs and outputs of a model, and resolve the size of its images.

    Args:
        image_size: The requested size in pixels; None for the model's own.

    Returns:
        Height and width in pixels.

    Raises:
        BackboneError: The model has other inputs or outputs, or does not accept images of that size.
    """
    shapes = [tuple(x.shape) for x in model.inputs], [tuple(x.shape) for x in model.outputs]
    (taken, *more), (given, *others) = shapes
    if more or others or len(taken) != 4 or taken[-1] is None or len(given) not in (2, 3, 4):
        raise BackboneError(
            f"{name} cannot be a backbone for images: expected a model from [batch, height, width, channels] to a "
            f"feature map or a vector. Received: a model from {shapes[0]} to {shapes[1]}. "
            "Take the part without its top."
        )
    if taken[1] != taken[2] or (taken[1] is not None and image_size not in (None, taken[1])):
        raise BackboneError(
            f"{name} takes images of {taken[1]}x{taken[2]} pixels. Received: image_size={image_size}. "
            "Images are square: use a model that was built for a square, and leave the size out."
        )
    size = taken[1] or image_size
    if size is None:
        raise BackboneError(f"{name} takes images of any size. Set data.image_size, in pixels.")
    return int(size)
