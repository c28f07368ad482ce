"""Greedy decoding of KerasHub's Whisper, with keys and values of earlier tokens cached, as one graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_transfer.networks.types import Array, Tensor

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
    heads = backbone.num_heads
    shape = (heads, backbone.hidden_dim // heads)
    own = ops.zeros((batch, backbone.num_layers, 2, total, *shape))
    cross = ops.zeros((batch, backbone.num_layers, 2, ops.shape(states)[1], *shape))
    penalties = [_penalty(backbone.vocabulary_size, *rules.suppressed)]
    penalties.append(_penalty(backbone.vocabulary_size, *rules.suppressed, *rules.suppressed_first))

    def run(tokens: Tensor, place: Tensor, own: Tensor, cross: Tensor, *, first: bool) -> tuple[Tensor, Tensor, Tensor]:
        x = backbone.decoder_embeddings(tokens, start_index=place)
        owns, crosses = [], []
        for number, layer in enumerate(backbone.decoder_transformer_layers):
            x, one, other = layer(
                decoder_sequence=x,
                encoder_sequence=states,
                self_attention_cache=own[:, number],
                self_attention_cache_update_index=place,
                cross_attention_cache=cross[:, number],
                # Keys and values of the recording are computed once.
                cross_attention_cache_update_index=0 if first else None,
                training=False,
            )
            owns.append(one)
            crosses.append(other)
        x = backbone.decoder_layer_norm(x[:, -1:])
        logits = backbone.token_embedding(x, reverse=True)[:, 0] + penalties[int(first)]
        return ops.argmax(logits, axis=-1), ops.stack(owns, axis=1), ops.stack(crosses, axis=1) if first else cross

    chosen, own, cross = run(prompt, 0, own, cross, first=True)
    chosen = ops.cast(chosen, "int32")
    tokens = ops.full((batch, rules.longest), rules.end, "int32")
    tokens = ops.slice_update(tokens, (0, 0), chosen[:, None])

    def unfinished(count: Tensor, tokens: Tensor, last: Tensor, own: Tensor) -> Tensor:
        return ops.any(ops.not_equal(last, rules.end))

    def step(count: Tensor, tokens: Tensor, last: Tensor, own: Tensor) -> tuple[Tensor, ...]:
        found, own, _ = run(last[:, None], start + count - 1, own, cross, first=False)
        # A transcript that has ended stays so.
        found = ops.where(ops.equal(last, rules.end), rules.end, ops.cast(found, "int32"))
        return count + 1, ops.slice_update(tokens, (0, count), found[:, None]), found, own

    state = (ops.convert_to_tensor(1, "int32"), tokens, chosen, own)
    return ops.while_loop(unfinished, step, state, maximum_iterations=rules.longest - 1)[1]


def _penalty(size: int, *tokens: int) -> Array:
    penalty = np.zeros(size, np.float32)
    penalty[list(tokens)] = _NEVER
    return penalty
