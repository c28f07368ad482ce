"""Decoders of networks for speech, token by token: the parts of a functional network that a decoding loop calls.

Written for KerasHub 0.32. The layers are the network's own, so that trained weights and adapters are used.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_transfer.backbones.audio.speech_network import find_token_embeddings
from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_internals import DecoderParts, decoder_parts, parts
from keras_transfer.networks.types import Layer, Operation, SymbolicTensor, Tensor

NEVER = -1e9
"""A logit by which a token is never chosen."""

_WHISPER, _MOONSHINE = "WhisperDecoder", "MoonshineDecoderBlock"
_TURN = "rotary_embedding"
# Other layers that may be in a decoder that is run from its parts.
_PASSIVE = ("InputLayer", "Dropout", "Identity", "Arange", "MoonshineRotaryEmbedding")


@dataclass(frozen=True)
class SplitNetwork:
    """The two halves of a network for speech.

    Attributes:
        encoder: From the front end's output to states, ``[batch, positions, width]``.
        decoder: From these states and ``int32[batch, length]`` tokens to states, ``[batch, length, width]``.
        turns: For Moonshine: from tokens to the rotary angles of their positions, ``[length, channels]``.
    """

    encoder: keras.Model
    decoder: keras.Model
    turns: keras.Model | None = None


def split_network(network: keras.Model) -> SplitNetwork:
    """Find where the encoder of a network ends.

    Args:
        network: Functional, from recordings and tokens to the decoder's states. Its layers are shared.

    Raises:
        BackboneError: The decoder receives more than the encoder's states.
    """
    inputs = {x.name: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name) for x in network.inputs}
    (tokens,) = (x for x in inputs.values() if x.dtype == "int32")
    (recordings,) = (x for x in inputs.values() if x is not tokens)
    # Operations that depend on tokens are called twice: after the encoder, and on an input in place of its states.
    alone: dict[int, SymbolicTensor] = {id(tokens): keras.Input(tokens.shape[1:], dtype="int32", name=tokens.name)}
    borders: dict[int, tuple[SymbolicTensor, SymbolicTensor]] = {}
    turns: list[SymbolicTensor] = []

    def cut(tensor: Any) -> Any:
        if not isinstance(tensor, keras.KerasTensor):
            return tensor
        if id(tensor) not in alone:
            alone[id(tensor)] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name="states")
            borders[id(tensor)] = (tensor, alone[id(tensor)])
        return alone[id(tensor)]

    def call(operation: Operation, *arguments: Any, **options: Any) -> Any:
        outputs = operation(*arguments, **options)
        turns.extend(options[_TURN] for _ in range(_kind(operation) == _MOONSHINE))
        if any(id(x) in alone for x in keras.tree.flatten((arguments, options))):
            arguments, options = keras.tree.map_structure(cut, (arguments, options))
            both = map(keras.tree.flatten, (outputs, operation(*arguments, **options)))
            alone.update({id(whole): own for whole, own in zip(*both, strict=True)})
        return outputs

    given = keras.tree.map_structure(lambda x: inputs[x.name], network.input)
    same = keras.models.clone_model(
        network, input_tensors=given, clone_function=lambda layer: layer, call_function=call
    )
    if len(borders) != 1:
        raise BackboneError(
            f"Network {network.name} cannot transcribe: {len(borders)} tensors go from its encoder to its decoder. "
            "Expected: the encoder's states alone."
        )
    ((states, own),) = borders.values()
    return SplitNetwork(
        keras.Model(recordings, states, name="encoder"),
        keras.Model([own, alone[id(tokens)]], alone[id(same.outputs[0])], name="decoder"),
        keras.Model(tokens, turns[0], name="turns") if turns else None,
    )


class Decoder(ABC):
    """From tokens to logits of the next token; the cache of earlier tokens is passed from call to call.

    A *row* is one transcript that is being decoded; a recording has as many rows as there are beams.
    """

    @abstractmethod
    def listen(self, states: Tensor) -> list[Tensor]:
        """Compute once what depends on the encoder's states, ``[batch, positions, width]``, alone."""

    @abstractmethod
    def start(self, rows: Tensor, total: int) -> list[Tensor]:
        """Return the cache before the first token.

        Args:
            rows: Number of rows.
            total: Maximum number of tokens of a row, including its prompt.
        """

    @abstractmethod
    def run(
        self, tokens: Tensor, place: Tensor, cached: Sequence[Tensor], heard: Sequence[Tensor], beams: int = 1
    ) -> tuple[Tensor, list[Tensor]]:
        """Process further tokens.

        Args:
            tokens: ``int32[rows, count]``.
            place: Number of earlier tokens.
            cached: What the previous call or :meth:`start` returned; the first axis of its tensors is that of rows.
            heard: What :meth:`listen` returned, for ``rows / beams`` recordings.
            beams: Number of consecutive rows that belong to one recording.

        Returns:
            ``float32[rows, vocabulary]``, logits of the token after the last one, and the new cached tensors.
        """


class PrefixDecoder(Decoder):
    """Any decoder: for each token, it runs on all tokens so far.

    Args:
        halves: The two halves of the network.
    """

    def __init__(self, halves: SplitNetwork) -> None:
        self._network, self._embedding = halves.decoder, find_token_embeddings(halves.decoder)[0]

    def listen(self, states: Tensor) -> list[Tensor]:
        """Return the states."""
        return [states]

    def start(self, rows: Tensor, total: int) -> list[Tensor]:
        """Return no tokens."""
        return [ops.zeros((rows, total), "int32")]

    def run(
        self, tokens: Tensor, place: Tensor, cached: Sequence[Tensor], heard: Sequence[Tensor], beams: int = 1
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the whole decoder on all tokens so far."""
        written = ops.slice_update(cached[0], (0, place), tokens)
        (states,) = heard
        states = states if beams == 1 else ops.repeat(states, beams, axis=0)
        hidden = self._network([states, written], training=False)
        last = ops.take(hidden, place + (tokens.shape[1] - 1), axis=1)
        return to_logits(self._embedding, last), [written]


class CachedDecoder(Decoder):
    """KerasHub's decoder of Whisper or of Moonshine, with the keys and values of earlier tokens cached.

    Args:
        halves: The two halves of the network.
    """

    def __init__(self, halves: SplitNetwork) -> None:
        layers = halves.decoder.layers
        self._blocks = [_read_block(layer) for layer in layers if _kind(layer) in (_WHISPER, _MOONSHINE)]
        self._embedding = find_token_embeddings(halves.decoder)[0]
        self._embed = next(layer for layer in layers if any(part is self._embedding for part in parts(layer)))
        self._norm = next(layer for layer in layers if _kind(layer) == "LayerNormalization")
        self._turns = halves.turns

    @classmethod
    def fits(cls, halves: SplitNetwork) -> bool:
        """Return whether a decoder consists of the layers of Whisper's or Moonshine's, and no others."""
        kinds = [_kind(layer) for layer in halves.decoder.layers]
        known = (*_PASSIVE, _WHISPER, _MOONSHINE, "TokenAndPositionEmbedding", "ReversibleEmbedding")
        return (_WHISPER in kinds) != (_MOONSHINE in kinds) and all(
            kind in known or (kind == "LayerNormalization" and kinds.count(kind) == 1) for kind in kinds
        )

    def listen(self, states: Tensor) -> list[Tensor]:
        """Return keys and values of the recording, for each block."""
        return [x for block in self._blocks for x in _keys_and_values(block.cross_attention, states)]

    def start(self, rows: Tensor, total: int) -> list[Tensor]:
        """Return keys and values that are zero, for each block."""
        kernels = [block.self_attention.key_dense for block in self._blocks]
        shapes = [(rows, kernel.kernel.shape[-2], total, kernel.kernel.shape[-1]) for kernel in kernels]
        return [
            ops.zeros(shape, kernel.compute_dtype)
            for shape, kernel in zip(shapes, kernels, strict=True)
            for _ in range(2)
        ]

    def run(
        self, tokens: Tensor, place: Tensor, cached: Sequence[Tensor], heard: Sequence[Tensor], beams: int = 1
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the blocks on the new tokens."""
        count, total = tokens.shape[1], cached[0].shape[2]
        places = place + ops.arange(count, dtype="int32")
        seen = ops.arange(total, dtype="int32")[None] <= places[:, None]
        if self._turns is None:
            x, turn = self._embed(tokens, start_index=place), None
        else:
            x, turn = self._embed(tokens), ops.take(self._turns(ops.zeros((1, total), "int32")), places, axis=0)
        updated: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            pair = slice(2 * number, 2 * number + 2)
            # KerasHub's layer (0.32) copies and transposes the keys and values of the recording for each token, a
            # third of the time of a token: its parts are called instead.
            normed = block.self_norm(x)
            keys, values = (
                ops.slice_update(old, (0, 0, place, 0), new)
                for old, new in zip(cached[pair], _keys_and_values(block.self_attention, normed, turn), strict=True)
            )
            query = _split_heads(_rotate(block.self_attention.query_dense(normed), turn))
            x = x + block.self_attention.output_dense(_join_heads(_attend(query, keys, values, seen)))
            x = x + _listen_again(block.cross_attention, block.cross_norm(x), heard[pair], beams)
            hidden = block.feedforward_norm(x)
            for dense in block.feedforward:
                hidden = dense(hidden)
            x = x + hidden
            updated += keys, values
        return to_logits(self._embedding, self._norm(x[:, -1])), updated


def make_decoder(halves: SplitNetwork) -> Decoder:
    """Return the fastest implementation for a decoder.

    Args:
        halves: The two halves of the network.
    """
    return CachedDecoder(halves) if CachedDecoder.fits(halves) else PrefixDecoder(halves)


def to_logits(embedding: Layer, states: Tensor) -> Tensor:
    """Return the logits of each token, ``float32[..., vocabulary]``."""
    return ops.cast(embedding(states, reverse=True), "float32")


def _kind(layer: Layer | Operation) -> str:
    return type(layer).__name__


def _read_block(layer: Layer) -> DecoderParts:
    if _kind(layer) == _WHISPER:
        return decoder_parts(layer)
    return DecoderParts(
        self_norm=layer.norm1,
        self_attention=layer.self_attention,
        cross_norm=layer.norm2,
        cross_attention=layer.cross_attention,
        feedforward_norm=layer.norm3,
        feedforward=(layer.ff,),
    )


def _keys_and_values(attention: Layer, x: Tensor, turn: Tensor | None = None) -> list[Tensor]:
    """Return ``[batch, heads, positions, width]``, in which each head is contiguous."""
    return [_split_heads(_rotate(attention.key_dense(x), turn)), _split_heads(attention.value_dense(x))]


def _split_heads(x: Tensor) -> Tensor:
    return ops.transpose(x, (0, 2, 1, 3))


_join_heads = _split_heads


def _attend(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None) -> Tensor:
    scores = ops.matmul(query * keys.shape[-1] ** -0.5, ops.transpose(keys, (0, 1, 3, 2)))
    if seen is not None:
        scores = ops.where(seen, scores, ops.cast(NEVER, scores.dtype))
    return ops.matmul(ops.softmax(scores), values)


def _listen_again(attention: Layer, x: Tensor, recording: Sequence[Tensor], beams: int) -> Tensor:
    """Attend to recordings, whose keys and values are shared by all beams."""
    query = _split_heads(attention.query_dense(x))
    if beams == 1:
        return attention.output_dense(_join_heads(_attend(query, *recording)))
    _, heads, count, width = query.shape
    query = ops.transpose(ops.reshape(query, (-1, beams, heads, count, width)), (0, 2, 1, 3, 4))
    found = _attend(ops.reshape(query, (-1, heads, beams * count, width)), *recording)
    found = ops.transpose(ops.reshape(found, (-1, heads, beams, count, width)), (0, 2, 3, 1, 4))
    return attention.output_dense(ops.reshape(found, (-1, count, heads, width)))


def _rotate(x: Tensor, turn: Tensor | None) -> Tensor:
    """Rotate pairs of the first channels by angles: Moonshine's rotary position embedding.

    Args:
        x: ``[batch, positions, heads, width]``.
        turn: ``[positions, channels]``, the angles, both of a pair equal; None to return ``x`` unchanged.
    """
    if turn is None:
        return x
    channels = turn.shape[-1]
    angles = ops.cast(turn, x.dtype)[None, :, None, :]
    turned, kept = x[..., :channels], x[..., channels:]
    pairs = ops.reshape(turned, (*ops.shape(turned)[:-1], channels // 2, 2))
    crossed = ops.reshape(ops.stack([-pairs[..., 1], pairs[..., 0]], axis=-1), ops.shape(turned))
    return ops.concatenate([turned * ops.cos(angles) + crossed * ops.sin(angles), kept], axis=-1)
