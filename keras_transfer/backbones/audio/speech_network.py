"""From a KerasHub network for speech to the states of its encoder.

Read in KerasHub 0.32, which has Whisper and Moonshine.
"""

from typing import Any

import keras
import numpy as np

from keras_transfer.networks.types import Layer, SymbolicTensor, Tensors

_OUTPUT = "encoder_sequence_output"

DECODER_LEAST = {"vocabulary_size": 1, "max_decoder_sequence_length": 1, "decoder_num_layers": 1}
"""Settings of KerasHub's networks that the decoder alone needs, at their least: it is built, and left out."""


def take_encoder(backbone: keras.Model, length: int, *, name: str) -> keras.Model:
    """Make a network of the encoder for inputs of one length.

    No padding is masked. Positions are cut to the length: of Whisper's table those of the length are used, Moonshine's
    are constants of the graph. Weights fit any length, since the table keeps its size.

    Args:
        backbone: The KerasHub network. Its layers are copied: those of a network should be in one graph only.
        length: Of the input in time: frames of a log-mel spectrogram for Whisper, samples for Moonshine.
        name: Of the network.

    Returns:
        A functional model of KerasHub's layers, from ``float32[batch, length, channels]`` to
        ``[batch, tokens, features]``.
    """
    recordings, *masks = find_encoder_inputs(backbone)
    encoder = keras.Model([recordings, *masks], backbone.output[_OUTPUT])
    inputs = keras.Input((length, recordings.shape[-1]), name=recordings.name, dtype="float32")
    blank_masks = [keras.Input((length,), name=mask.name, dtype="bool") for mask in masks]
    whole = {id(mask): np.ones((1, length), "bool") for mask in blank_masks}

    def call(layer: Layer, *arguments: Any, **options: Any) -> Tensors:
        arguments, options = keras.tree.map_structure(lambda x: whole.get(id(x), x), (arguments, options))
        outputs = layer(*arguments, **options)
        if len(keras.tree.flatten(outputs)[0].shape) == 3:
            return outputs
        # What is the same for every recording, as a mask or rotary positions, is no reason to hand it on from stage to
        # stage, nor to compute it again.
        arguments, options = keras.tree.map_structure(_blank, (arguments, options))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, layer(*arguments, **options))

    opened = keras.models.clone_model(
        encoder, input_tensors=[inputs, *blank_masks], clone_function=_copy, call_function=call
    )
    network = keras.Model(inputs, opened.output, name=name)
    values = {weight.path: weight for weight in encoder.weights}
    for weight in network.weights:
        weight.assign(values[weight.path])
    return network


def find_encoder_inputs(backbone: keras.Model) -> list[SymbolicTensor]:
    """Return the inputs of the encoder: recordings, and where they are padding, if there is a mask."""
    inputs = [tensor for name, tensor in backbone.input.items() if name.startswith("encoder_")]
    return sorted(inputs, key=lambda tensor: len(tensor.shape), reverse=True)


def _copy(layer: Layer) -> Layer:
    if type(layer).__name__ == "Padder":
        # KerasHub's (0.32) cannot be saved if a preset says its dtype.
        return keras.layers.ZeroPadding1D(1, name=layer.name, dtype=layer.dtype_policy)
    return layer.__class__.from_config(layer.get_config())


def _blank(value: Any) -> Any:
    if not isinstance(value, keras.KerasTensor):
        return value
    return np.zeros([1 if length is None else length for length in value.shape], value.dtype)
