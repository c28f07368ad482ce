"""Greedy decoding of KerasHub's Whisper, with keys and values of earlier tokens cached, as one graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_transfer.networks.keras_internals import DecoderParts, decoder_parts
from keras_transfer.networks.types import Array, Layer, Tensor

_NEVER = -1e9


@dataclass(frozen=True, kw_only=True)
class DecodingRules:
    """What decoding starts from, ends with and leaves out.

    Attributes:
        prompt: Tokens that a transcript starts with: start, language, task, no timestamps.
        end: The token that ends it; it fills up shorter ones.
        suppressed: Tokens that are never chosen.
        suppressed_first: Tokens that are not chosen first, such as a space or the end.
        longest: Most tokens that are chosen.
    """

    prompt: Sequence[int]
    end: int
    suppressed: Sequence[int] = ()
    suppressed_first: Sequence[int] = ()
    longest: int = 224


def decode_greedily(backbone: keras.Model, states: Tensor, rules: DecodingRules) -> Tensor:
    """Choose the likeliest token again and again.

    Args:
        backbone: KerasHub's ``WhisperBackbone``.
        states: Of its encoder, ``float32[batch, positions, width]``.
        rules: What it starts from, ends with and leaves out.

    Returns:
        ``int32[batch, longest]``, the chosen tokens without the prompt.
    """
    batch, start, total = ops.shape(states)[0], len(rules.prompt), len(rules.prompt) + rules.longest
    prompt = ops.broadcast_to(ops.convert_to_tensor([list(rules.prompt)], "int32"), (batch, start))
    layers = [decoder_parts(block) for block in backbone.decoder_transformer_layers]
    # Keys and values of the recording are computed once.
    recording = [_keys_and_values(layer.cross_attention, states) for layer in layers]
    empty = ops.zeros((batch, backbone.num_heads, total, backbone.hidden_dim // backbone.num_heads))
    penalties = [_penalty(backbone.vocabulary_size, *rules.suppressed)]
    penalties.append(_penalty(backbone.vocabulary_size, *rules.suppressed, *rules.suppressed_first))

    def run(tokens: Tensor, place: Tensor, cached: Sequence[Tensor], *, first: bool) -> tuple[Tensor, list[Tensor]]:
        x = backbone.decoder_embeddings(tokens, start_index=place)
        places = place + ops.arange(tokens.shape[1], dtype="int32")
        seen = ops.arange(total, dtype="int32")[None] <= places[:, None]
        updated: list[Tensor] = []
        for number, layer in enumerate(layers):
            x, *pair = _run_layer(layer, x, place, seen, cached[2 * number : 2 * number + 2], recording[number])
            updated += pair
        logits = backbone.token_embedding(backbone.decoder_layer_norm(x[:, -1]), reverse=True) + penalties[int(first)]
        return ops.cast(ops.argmax(logits, axis=-1), "int32"), updated

    chosen, cached = run(prompt, ops.convert_to_tensor(0, "int32"), [empty] * 2 * len(layers), first=True)
    tokens = ops.full((batch, rules.longest), rules.end, "int32")
    tokens = ops.slice_update(tokens, (0, 0), chosen[:, None])

    def unfinished(count: Tensor, tokens: Tensor, last: Tensor, *cached: Tensor) -> Tensor:
        return ops.any(ops.not_equal(last, rules.end))

    def step(count: Tensor, tokens: Tensor, last: Tensor, *cached: Tensor) -> tuple[Tensor, ...]:
        found, updated = run(last[:, None], start + count - 1, cached, first=False)
        # A transcript that has ended stays so.
        found = ops.where(ops.equal(last, rules.end), rules.end, found)
        return count + 1, ops.slice_update(tokens, (0, count), found[:, None]), found, *updated

    state = (ops.convert_to_tensor(1, "int32"), tokens, chosen, *cached)
    return ops.while_loop(unfinished, step, state, maximum_iterations=rules.longest - 1)[1]


def _run_layer(
    layer: DecoderParts, x: Tensor, place: Tensor, seen: Tensor, cached: Sequence[Tensor], recording: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    # KerasHub's layer (0.32) copies and transposes the keys and values of the recording for each token, a third of the
    # time of a token: its parts are called instead.
    attention, normed = layer.self_attention, layer.self_norm(x)
    keys, values = (
        ops.slice_update(old, (0, 0, place, 0), new)
        for old, new in zip(cached, _keys_and_values(attention, normed), strict=True)
    )
    x = x + _attend(attention, normed, keys, values, seen)
    x = x + _attend(layer.cross_attention, layer.cross_norm(x), *recording)
    hidden = layer.intermediate(layer.feedforward_norm(x))
    return x + layer.output(hidden), keys, values


def _keys_and_values(attention: Layer, x: Tensor) -> list[Tensor]:
    """Return ``[batch, heads, positions, width]``, over which each head goes in one piece."""
    return [ops.transpose(dense(x), (0, 2, 1, 3)) for dense in (attention.key_dense, attention.value_dense)]


def _attend(attention: Layer, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None) -> Tensor:
    query = ops.transpose(attention.query_dense(x), (0, 2, 1, 3)) * keys.shape[-1] ** -0.5
    scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))
    if seen is not None:
        scores = ops.where(seen, scores, _NEVER)
    found = ops.matmul(ops.softmax(scores), values)
    return attention.output_dense(ops.transpose(found, (0, 2, 1, 3)))


def _penalty(size: int, *tokens: int) -> Array:
    penalty = np.zeros(size, np.float32)
    penalty[list(tokens)] = _NEVER
    return penalty
