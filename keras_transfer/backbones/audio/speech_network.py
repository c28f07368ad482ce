"""From a KerasHub network for speech to the states of its encoder, or of its decoder.

Written for KerasHub 0.32, which has Whisper and Moonshine.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_transfer.networks.blank import to_zeros
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.stages import Stage, find_stages
from keras_transfer.networks.types import Layer, SymbolicTensor, Tensors, Variable

_OUTPUT, _DECODER_OUTPUT = "encoder_sequence_output", "decoder_sequence_output"

ENCODER, DECODER = "encoder", "decoder"

TOKENS = "token_ids"
"""The network's input for the tokens before the ones that it predicts."""

DECODER_LEAST = {"vocabulary_size": 1, "max_decoder_sequence_length": 1, "decoder_num_layers": 1}
"""Settings of KerasHub's networks that the decoder alone needs, at their least: it is built, and left out."""


def take_encoder(backbone: keras.Model, length: int, *, name: str) -> keras.Model:
    """Build a network of the encoder for inputs of one length.

    Padding is not masked. Positions are cut to the length: the first rows of Whisper's table are used, Moonshine's are
    constants of the graph. Weights fit any length, since the table keeps its size.

    Args:
        backbone: The KerasHub network. Its layers are copied: layers of a network should be in one graph only.
        length: Length of the input in time: frames of a log-mel spectrogram for Whisper, samples for Moonshine.

    Returns:
        A functional model of KerasHub's layers, from ``float32[batch, length, channels]`` to
        ``[batch, tokens, features]``.
    """
    recordings, *_ = find_encoder_inputs(backbone)
    inputs = keras.Input((length, recordings.shape[-1]), name=recordings.name, dtype="float32")
    return _rebuild(backbone, {recordings.name: inputs}, _OUTPUT, inputs, name=name)


def take_speech_network(backbone: keras.Model, length: int, *, name: str) -> keras.Model:
    """Build a network of encoder and decoder for recordings of one length and texts of any length.

    The encoder is that of :func:`take_encoder`. Only later tokens are masked: padding of a text comes after it, and
    earlier tokens do not attend to it.

    Args:
        length: Length of the recordings; see :func:`take_encoder`.

    Returns:
        A functional model of KerasHub's layers, from a dictionary of recordings, ``float32[batch, length, channels]``
        by their name in KerasHub, and ``token_ids``, ``int32[batch, tokens]``, to the states of the decoder after its
        last normalization, ``[batch, tokens, width]``.
    """
    recordings, *_ = find_encoder_inputs(backbone)
    inputs = {
        recordings.name: keras.Input((length, recordings.shape[-1]), name=recordings.name, dtype="float32"),
        TOKENS: keras.Input((None,), name=TOKENS, dtype="int32"),
    }
    given = {recordings.name: inputs[recordings.name], f"decoder_{TOKENS}": inputs[TOKENS]}
    return _rebuild(backbone, given, _DECODER_OUTPUT, inputs, name=name)


def take_first_state(backbone: keras.Model, length: int, *, name: str) -> keras.Model:
    """Build a network of Whisper's encoder, and of its decoder for the first step only.

    Args:
        backbone: The KerasHub network, whose only token is the one that transcripts start with.
        length: Length of the recordings; see :func:`take_encoder`.

    Returns:
        A functional model of KerasHub's layers, from ``float32[batch, length, channels]`` to the state of the decoder
        after that token, ``[batch, 1, width]``.
    """
    encoder = take_encoder(backbone, length, name=name)
    blocks = backbone.decoder_transformer_layers
    # The decoder's input depends on the states, not on the recordings: the part after a frozen encoder needs only its
    # output.
    x = keras.ops.zeros_like(encoder.output[:, :1, 0], dtype="int32")
    for layer in (backbone.decoder_embeddings, *blocks, backbone.decoder_layer_norm):
        copied = _copy(layer)
        x = copied(x, encoder.output) if layer in blocks else copied(x)
        copied.set_weights(layer.get_weights())
    return keras.Model(encoder.input, x, name=name)


def _rebuild(
    backbone: keras.Model, given: Mapping[str, SymbolicTensor], output: str, inputs: Any, *, name: str
) -> keras.Model:
    """Copy the part of a network before an output; its other inputs are masks, which mask nothing here."""
    part = keras.Model(backbone.input, backbone.output[output])
    masks = {key: keras.Input(x.shape[1:], name=key, dtype=x.dtype) for key, x in backbone.input.items()}
    length = next(iter(given.values())).shape[1]
    # For recordings, positions may be counted from a mask; for texts, masks are not used.
    whole: dict[int, Any] = {
        id(mask): np.ones((1, length), "bool") if key.startswith("encoder_") else None
        for key, mask in masks.items()
        if key not in given
    }

    def call(layer: Layer, *arguments: Any, **options: Any) -> Tensors:
        if type(layer).__name__ == "MoonshineRotaryEmbedding" and arguments[0].shape[0] is None:
            return _rotate(part.get_layer(layer.name), *arguments)
        arguments, options = keras.tree.map_structure(lambda x: whole.get(id(x), x), (arguments, options))
        outputs = layer(*arguments, **options)
        if len(keras.tree.flatten(outputs)[0].shape) == 3 or _is_open(arguments):
            return outputs
        # Tensors that are equal for every recording, such as a mask or rotary positions, are neither passed on from
        # stage to stage nor computed again.
        arguments, options = keras.tree.map_structure(to_zeros, (arguments, options))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, layer(*arguments, **options))

    with warnings.catch_warnings():
        # Keras warns about an input whose name has changed.
        warnings.simplefilter("ignore")
        opened = keras.models.clone_model(
            part, input_tensors={**masks, **given}, clone_function=_copy, call_function=call
        )
    network = keras.Model(inputs, opened.output, name=name)
    # By layer: Keras numbers some of those inside a layer over the whole process, so that their paths differ.
    for layer in network.layers:
        for weight, value in zip(layer.weights, _weights_of(part, layer.name), strict=True):
            weight.assign(value)
    return network


def _weights_of(part: keras.Model, name: str) -> list[Variable]:
    layer = next((layer for layer in part.layers if layer.name == name), None)
    return [] if layer is None else list(layer.weights)


def _is_open(arguments: Sequence[Any]) -> bool:
    """Whether an argument has a length that is not fixed: that of a text."""
    return any(
        None in x.shape[1:2] for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor) and x.shape
    )


def _rotate(layer: Layer, positions: SymbolicTensor) -> SymbolicTensor:
    """Compute KerasHub's rotary layer for any number of positions, without its weight, which is a constant."""
    angles = keras.ops.expand_dims(keras.ops.cast(positions, layer.dtype), 1)
    frequencies = keras.ops.convert_to_numpy(layer.inv_freq)
    return keras.ops.repeat(angles * frequencies[None], 2, axis=1)


def find_encoder_inputs(backbone: keras.Model) -> list[SymbolicTensor]:
    """Return the inputs of the encoder: recordings, and their padding mask if there is one."""
    inputs = [tensor for name, tensor in backbone.input.items() if name.startswith("encoder_")]
    return sorted(inputs, key=lambda tensor: len(tensor.shape), reverse=True)


def find_token_embeddings(layer: Layer) -> list[Layer]:
    """Return the layers in a network, or nested in a layer, that embed tokens and can turn vectors into logits."""
    return [part for part in parts(layer) if isinstance(part, keras.layers.ReversibleEmbedding)]


def find_speech_stages(network: keras.Model) -> tuple[Stage, ...]:
    """Split a network for recordings into stages; the blocks of a decoder are stages, too.

    Two tensors are alive between these blocks: the states of the encoder, which every block of the decoder reads, and
    the current states of the decoder.
    """
    has_decoder = any(find_token_embeddings(layer) for layer in network.layers)
    return find_stages(network, branches=2 if has_decoder else 1)


def find_parts(stages: Sequence[Stage]) -> Mapping[str, range]:
    """Return which stages belong to the encoder and which to the decoder; empty if there is no decoder."""
    first = next((stage.index for stage in stages if any(map(find_token_embeddings, stage.layers))), None)
    return {} if first is None else {ENCODER: range(first), DECODER: range(first, len(stages))}


def _copy(layer: Layer) -> Layer:
    if type(layer).__name__ == "Padder":
        # KerasHub's (0.32) cannot be saved if a preset sets its dtype.
        return keras.layers.ZeroPadding1D(1, name=layer.name, dtype=layer.dtype_policy)
    return layer.__class__.from_config(layer.get_config())
