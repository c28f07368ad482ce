"""What a backbone is: a network without its top, the pixels that it wants, its stages, and where weights come from."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from keras_transfer.backbones.weights import load_weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import Stage, find_stages
from keras_transfer.registry import Registry

_PerChannel = float | tuple[float, ...]


@dataclass(frozen=True)
class InputContract:
    """How raw pixels, RGB in 0..255, become what a network was trained on: ``x * scale + offset`` for each channel.

    Attributes:
        scale: Factor for all channels, or one for each.
        offset: Added after scaling, for all channels or for each.
        channel_order: ``bgr`` turns the first three channels round; scale and offset are then in that order.
    """

    scale: _PerChannel = 1.0
    offset: _PerChannel = 0.0
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __call__(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """Add the contract to a graph, in float32 under any dtype policy; a contract that changes nothing adds nothing.

        Args:
            pixels: ``[batch, height, width, channels]``, RGB first where there are three or more, 0..255.

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
    """A network without its top, ready to have a head put on.

    Attributes:
        name: What a recipe calls it.
        network: From prepared inputs to a feature map, or to a vector for each example.
        stages: The network's stages, nearest the input first.
        weights: What was loaded: ``pretrained``, ``none`` or the path of a file or run folder.
    """

    name: str
    network: keras.Model
    stages: tuple[Stage, ...]
    weights: str

    @abstractmethod
    def inputs(self) -> Any:
        """Make new symbolic inputs, as the reader of its task gives them: a tensor, or a dictionary of tensors."""

    def prepare(self, inputs: Any) -> Any:
        """Turn such inputs into what the network takes."""
        return inputs

    def describe(self) -> list[Any]:
        """Return what features depend on beside weights and graph, for the key of the cache."""
        return [self.name]

    @staticmethod
    def from_keras(
        model: keras.Model, *, input_range: tuple[float, float], image_size: int | None = None, name: str | None = None
    ) -> "ImageBackbone":
        """Make a backbone for images of any Keras model without its top: ``ImageClassification(data, backbone=...)``.

        A recipe trains a copy; the model stays as it is.

        Args:
            model: Functional or sequential, from images ``[batch, height, width, channels]`` to a feature map
                ``[batch, height, width, features]``, tokens ``[batch, tokens, features]`` or a vector
                ``[batch, features]``.
            input_range: What the model takes for black and for white: ``(0, 255)`` where it holds its own
                preprocessing, ``(0, 1)`` or ``(-1, 1)``.
            image_size: Height and width of the images in pixels, for a model that takes any.
            name: What messages call it; the model's own name by default.

        Returns:
            The backbone.

        Raises:
            BackboneError: The model has no graph to read, or takes or gives something else.
        """
        name = name or model.name
        low, high = input_range
        if not low < high:
            raise BackboneError(
                f"input_range of {name} is what it takes for black, then for white. Received: {input_range}. "
                "Use, say, (0, 255), (0, 1) or (-1, 1)."
            )
        return ImageBackbone(
            name=name,
            network=model,
            stages=find_stages(model),
            weights="pretrained",
            contract=InputContract((high - low) / 255, low),
            image_size=find_image_size(name, model, image_size),
            channels=model.input_shape[-1],
            graph=digest_graph(model),
        )


@dataclass(frozen=True, kw_only=True)
class ImageBackbone(Backbone):
    """A network that takes images, ``[batch, height, width, channels]``, and gives a feature map.

    Attributes:
        contract: What to do to raw pixels first.
        image_size: Height and width that the network was built for, in pixels.
        graph: A digest of what the network is made of, where its name does not say it.
        channels: Of the images.
    """

    contract: InputContract
    image_size: int
    graph: str = ""
    channels: int = 3

    def inputs(self) -> keras.KerasTensor:
        """Make an input for raw pixels, ``float32[batch, size, size, channels]`` in 0..255."""
        return keras.Input((self.image_size, self.image_size, self.channels), name="pixels", dtype="float32")

    def prepare(self, inputs: Any) -> Any:
        """Apply the contract."""
        return self.contract(inputs)

    def describe(self) -> list[Any]:
        """Return name, graph, size, channels and contract."""
        return [self.name, self.graph, self.image_size, self.channels, repr(self.contract)]


def digest_graph(network: keras.Model) -> str:
    """Return a digest of what a network is made of, weights aside."""
    return hashlib.sha256(json.dumps(network.get_config(), sort_keys=True, default=str).encode()).hexdigest()


def find_image_size(name: str, model: keras.Model, image_size: int | None) -> int:
    """Check what a model takes and gives, and settle the size of its images.

    Args:
        name: What messages call it.
        model: Is to be a backbone for images.
        image_size: What is asked for, in pixels; None for the model's own.

    Returns:
        Height and width in pixels.

    Raises:
        BackboneError: It takes or gives something else, or no images of that size.
    """
    shapes = [tuple(x.shape) for x in model.inputs], [tuple(x.shape) for x in model.outputs]
    (taken, *more), (given, *others) = shapes
    if more or others or len(taken) != 4 or taken[-1] is None or len(given) not in (2, 3, 4):
        raise BackboneError(
            f"{name} cannot be a backbone for images: one takes [batch, height, width, channels] and gives a feature "
            f"map or a vector. Received: a model from {shapes[0]} to {shapes[1]}. Take the part without its top."
        )
    if taken[1] != taken[2] or (taken[1] is not None and image_size not in (None, taken[1])):
        raise BackboneError(
            f"{name} takes images of {taken[1]}x{taken[2]} pixels. Received: image_size={image_size}. "
            "Images are square, and of the size that a model was built for."
        )
    size = taken[1] or image_size
    if size is None:
        raise BackboneError(f"{name} takes images of any size. Set data.image_size, in pixels.")
    return int(size)


@dataclass(frozen=True, kw_only=True)
class BackboneRow:
    """What is known of a backbone before it is built.

    Attributes:
        name: Its name in :data:`BACKBONES`.
        build: Makes the network with random weights for a size in pixels, or for any size where that is None.
        build_pretrained: Makes the network with its pretrained weights for a size in pixels.
        contract: What the network wants of raw pixels.
        image_size: The size that it was trained at, in pixels.
        minimum_size: The smallest size that it takes, in pixels.
        parameters: How many numbers its weights hold, without a top.
        stages: How many stages it has.
        weights_source: Who trained the weights on what, and how they are had.
        weights_file: Where the pretrained weights lie on this machine now, or None.
        package: The package that brings the weights along, for a backbone that needs no download.
        load_pth: Puts a ``.pth`` file into the network, where the backbone knows how.
        after_loading: Puts right what a file of weights does not say.
    """

    name: str
    build: Callable[[int | None], keras.Model]
    build_pretrained: Callable[[int], keras.Model]
    contract: InputContract
    image_size: int
    minimum_size: int
    parameters: int
    stages: int
    weights_source: str
    weights_file: Callable[[], Path | None]
    package: str | None = None
    load_pth: Callable[[keras.Model, Path], None] | None = None
    after_loading: Callable[[keras.Model], None] | None = None

    @property
    def available(self) -> bool:
        """Whether the pretrained weights are on this machine now."""
        return self.weights_file() is not None

    def load(self, *, image_size: int | None = None, weights: str = "pretrained") -> ImageBackbone:
        """Build the backbone.

        Args:
            image_size: Height and width of the images in pixels; None for the size that it was trained at.
            weights: ``pretrained``, ``none`` for random ones, or the path of a file (``.weights.h5``, ``.h5``,
                ``.keras``, for some backbones ``.pth``) or of a run folder.

        Returns:
            The backbone.

        Raises:
            BackboneError: The size is too small, or the weights cannot be had or do not fit.
        """
        size = self.image_size if image_size is None else image_size
        if size < self.minimum_size:
            raise BackboneError(
                f"Backbone {self.name} takes images of {self.minimum_size}x{self.minimum_size} pixels or more. "
                f"Received: image_size={size}. Use {self.minimum_size} or more; it was trained at {self.image_size}."
            )
        network = self.build_pretrained(size) if weights == "pretrained" else self.build(size)
        if weights not in ("pretrained", "none"):
            load_weights(network, Path(weights), self.name, load_pth=self.load_pth)
            if self.after_loading is not None:
                self.after_loading(network)
        return ImageBackbone(
            name=self.name,
            network=network,
            stages=find_stages(network),
            weights=weights,
            contract=self.contract,
            image_size=size,
        )


BACKBONES: Registry[BackboneRow] = Registry("backbone", BackboneError, group="keras_transfer.backbones")


def backbones_without_download() -> dict[str, str]:
    """Return the backbones whose pretrained weights install as a package, installed or not, and that package."""
    packages = {name: BACKBONES[name].package for name in BACKBONES}
    return {name: package for name, package in packages.items() if package is not None}
