"""Networks for images with other than three channels: the first convolution is adapted from its pretrained weights.

A channel beyond red, green and blue starts as the mean of those three. If there are fewer than three, each starts as
the mean, times 3 / channels: a grey image results in the same output as when it is repeated as red, green and blue.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_transfer.backbones.base import ImageBackbone
from keras_transfer.backbones.images.hub_network import ImageNetwork
from keras_transfer.backbones.weights import set_weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import find_stages
from keras_transfer.networks.types import Array


def with_channels(backbone: ImageBackbone, channels: int) -> ImageBackbone:
    """Adapt a backbone to images of another number of channels.

    Args:
        backbone: A backbone for three channels; it is not changed.

    Returns:
        A copy with the same weights, except for those of the first convolution.

    Raises:
        BackboneError: The network cannot be built for that number of channels.
    """
    if channels == backbone.channels:
        return backbone
    if backbone.channels != 3:
        raise BackboneError(
            f"Backbone {backbone.name} takes images of {backbone.channels} channels. Received: data.channels="
            f"{channels}. Set data.channels={backbone.channels}: only networks for three channels are adapted."
        )
    try:
        network = _rebuild(backbone.network, channels)
        values = [
            _fit(keras.ops.convert_to_numpy(own), tuple(wide.shape), channels)
            for own, wide in zip(backbone.network.weights, network.weights, strict=True)
        ]
    except (ValueError, TypeError) as error:
        raise BackboneError(
            f"Backbone {backbone.name} cannot be built for images of {channels} channels: {error}. Use another "
            "backbone, such as efficientnet_lite0, or data.channels=3."
        ) from error
    set_weights(network, values)
    contract = backbone.contract
    if isinstance(contract.scale, tuple):
        contract = replace(contract, scale=tuple(_extend(contract.scale, channels)))
    if isinstance(contract.offset, tuple):
        contract = replace(contract, offset=tuple(_extend(contract.offset, channels)))
    return replace(backbone, network=network, stages=find_stages(network), contract=contract, channels=channels)


def _rebuild(network: keras.Model, channels: int) -> keras.Model:
    """The same network for images of another number of channels, with random weights."""
    if isinstance(network, ImageNetwork):
        return network.with_channels(channels)
    inputs = keras.Input((*network.input_shape[1:3], channels), name=network.inputs[0].name)
    return keras.models.clone_model(
        network, input_tensors=inputs, clone_function=lambda layer: _rebuild_layer(layer, channels)
    )


def _rebuild_layer(layer: keras.layers.Layer, channels: int) -> keras.layers.Layer:
    if isinstance(layer, keras.Sequential):
        # Its configuration contains the shape of its input; without it, the layer accepts any shape.
        return keras.Sequential([_rebuild_layer(inner, channels) for inner in layer.layers], name=layer.name)
    if isinstance(layer, keras.Model) and layer.input_shape[-1] == 3:
        return _rebuild(layer, channels)
    config = layer.get_config()
    if isinstance(layer, (keras.layers.Normalization, keras.layers.Rescaling)):
        config = {key: _extend(value, channels) if _is_per_channel(value) else value for key, value in config.items()}
    rebuilt: keras.layers.Layer = type(layer).from_config(config)
    return rebuilt


def _is_per_channel(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 3 and all(isinstance(x, int | float) for x in value)


def _extend(values: Sequence[float], channels: int) -> list[float]:
    """Settings of red, green and blue for another number of channels."""
    mean = sum(values) / 3
    return [*values, *[mean] * (channels - 3)] if channels > 3 else [mean] * channels


def _fit(value: Array, shape: tuple[int, ...], channels: int) -> Array:
    if value.shape == shape:
        return value
    axes = [axis for axis, (own, wide) in enumerate(zip(value.shape, shape, strict=True)) if own != wide]
    if len(axes) != 1 or value.shape[axes[0]] != 3:
        raise ValueError(f"a weight of shape {list(value.shape)} would have the shape {list(shape)}")
    mean = value.mean(axis=axes[0], keepdims=True)
    if channels > 3:
        return np.concatenate([value, *[mean] * (channels - 3)], axis=axes[0])
    # For kernels, the sum over channels is preserved; means and variances of channels are not sums.
    return np.repeat(mean * (3 / channels if value.ndim > 1 else 1), channels, axis=axes[0])
