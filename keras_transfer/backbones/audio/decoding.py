"""From the states of an encoder to the tokens of transcripts, by greedy decoding or beam search, as one graph.

Beam search and the scores of beams are CTranslate2's (4.8, ``decoding.cc``), which equal OpenAI's apart from the order
in which beams end; timestamps and noise without speech follow OpenAI's rules (``ApplyTimestampRules`` of
``whisper/decoding.py``, ``should_skip`` of ``whisper/transcribe.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_transfer.backbones.audio.decoders import NEVER, Decoder
from keras_transfer.networks.types import Array, Tensor


@dataclass(frozen=True, kw_only=True)
class DecodingRules:
    """Prompt, end token, and the tokens that decoding suppresses or prefers.

    Attributes:
        prompt: Tokens that a transcript starts with: start, language, task, no timestamps.
        end: The token that ends it; shorter transcripts are padded with it.
        suppressed: Tokens that are never chosen.
        suppressed_first: Tokens that are not chosen as the first one, such as a space or the end.
        longest: Maximum number of chosen tokens.
        beams: Beam width; 1 is greedy decoding.
        length_penalty: A transcript's score is the sum of its log-probabilities divided by its length to this power.
        timestamp_begin: The token of 0 s, if the prompt asks for timestamps; each further token is one step later.
        first_timestamp: Maximum number of steps before the first timestamp.
        no_speech: The token by which a network predicts, right after the start, that there is no speech; None for
            networks without one.
        no_speech_threshold: The probability of that token above which there is no text, unless decoding is sure of one.
        sure: The mean log-probability above which decoding is sure.
    """

    prompt: Sequence[int]
    end: int
    suppressed: Sequence[int] = ()
    suppressed_first: Sequence[int] = ()
    longest: int = 224
    beams: int = 1
    length_penalty: float = 1.0
    timestamp_begin: int | None = None
    first_timestamp: int = 50
    no_speech: int | None = None
    no_speech_threshold: float = 1.0
    sure: float = -1.0


class Decoded(NamedTuple):
    """Transcripts of a batch of recordings.

    Attributes:
        tokens: ``int32[batch, longest]``, the chosen tokens without the prompt.
        log_probability: ``float32[batch]``, the sum over the chosen tokens and the end, if reached; 0 for noise.
        length: ``int32[batch]``, the number of these tokens; 0 for noise.
    """

    tokens: Tensor
    log_probability: Tensor
    length: Tensor


def decode(decoder: Decoder, states: Tensor, rules: DecodingRules) -> Decoded:
    """Choose tokens.

    Args:
        decoder: The network's decoder.
        states: The encoder's states, ``[batch, positions, width]``.
        rules: The decoding rules.

    Returns:
        The transcripts.
    """
    heard = decoder.listen(states)
    batch, start = ops.shape(states)[0], len(rules.prompt)
    prompt = ops.broadcast_to(ops.convert_to_tensor([list(rules.prompt)], "int32"), (batch, start))
    nothing = decoder.start(batch, start + rules.longest)
    first = start if rules.no_speech is None else 1
    after_start, cached = decoder.run(prompt[:, :first], ops.convert_to_tensor(0, "int32"), nothing, heard)
    logits = after_start
    if first < start:
        logits, cached = decoder.run(prompt[:, first:], ops.convert_to_tensor(first, "int32"), cached, heard)
    choose = _decode_greedily if rules.beams == 1 else _decode_by_beams
    found = choose(decoder, rules, logits, cached, heard)
    return found if rules.no_speech is None else _leave_out_noise(found, after_start, rules)


def _leave_out_noise(found: Decoded, after_start: Tensor, rules: DecodingRules) -> Decoded:
    """Remove the text of recordings that probably contain no speech."""
    no_speech = ops.softmax(after_start)[:, rules.no_speech]
    sure = found.log_probability > rules.sure * ops.cast(found.length, "float32")
    noise = ops.logical_and(no_speech > rules.no_speech_threshold, ops.logical_not(sure))
    return Decoded(
        ops.where(noise[:, None], rules.end, found.tokens),
        ops.where(noise, 0.0, found.log_probability),
        ops.where(noise, 0, found.length),
    )


def _decode_greedily(
    decoder: Decoder, rules: DecodingRules, logits: Tensor, cached: Sequence[Tensor], heard: Sequence[Tensor]
) -> Decoded:
    """Choose the most probable token at each step."""
    penalties = _Penalties(logits.shape[-1], rules)
    start = len(rules.prompt)
    chosen, total = _take_likeliest(penalties.first(logits))
    tokens = ops.full((ops.shape(logits)[0], rules.longest), rules.end, "int32")
    tokens = ops.slice_update(tokens, (0, 0), chosen[:, None])

    def unfinished(
        count: Tensor, tokens: Tensor, last: Tensor, total: Tensor, length: Tensor, *cached: Tensor
    ) -> Tensor:
        return ops.any(ops.not_equal(last, rules.end))

    def step(
        count: Tensor, tokens: Tensor, last: Tensor, total: Tensor, length: Tensor, *cached: Tensor
    ) -> tuple[Tensor, ...]:
        logits, updated = decoder.run(last[:, None], start + count - 1, cached, heard)
        found, value = _take_likeliest(penalties.later(logits, tokens, count))
        # A transcript that has ended remains ended.
        ended = ops.equal(last, rules.end)
        found, value = ops.where(ended, rules.end, found), ops.where(ended, 0.0, value)
        length = length + ops.cast(ops.logical_not(ended), "int32")
        return count + 1, ops.slice_update(tokens, (0, count), found[:, None]), found, total + value, length, *updated

    state = (ops.convert_to_tensor(1, "int32"), tokens, chosen, total, ops.ones_like(chosen), *cached)
    found = ops.while_loop(unfinished, step, state, maximum_iterations=rules.longest - 1)
    return Decoded(found[1], found[3], found[4])


def _take_likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most probable token of each row, and its log-probability."""
    value = ops.max(logits, axis=-1) - ops.logsumexp(logits, axis=-1)
    return ops.cast(ops.argmax(logits, axis=-1), "int32"), value


class _Beams(NamedTuple):
    """Unfinished transcripts, and the best finished one.

    Attributes:
        tokens: ``int32[batch, beams, longest]``.
        totals: ``float32[batch, beams]``, sums of log-probabilities.
        ended: ``int32[batch]``, the number of finished transcripts.
        best: ``int32[batch, longest]``, the tokens of the best finished one.
        score: ``float32[batch]``, its score: the sum of log-probabilities, normalized by length.
        total: ``float32[batch]``, its sum of log-probabilities.
        length: ``int32[batch]``, its length, including the end.
    """

    tokens: Tensor
    totals: Tensor
    ended: Tensor
    best: Tensor
    score: Tensor
    total: Tensor
    length: Tensor


def _decode_by_beams(
    decoder: Decoder, rules: DecodingRules, logits: Tensor, cached: Sequence[Tensor], heard: Sequence[Tensor]
) -> Decoded:
    """Extend the most probable transcripts until as many are finished as there are beams; return the best by score."""
    penalties, width, start = _Penalties(logits.shape[-1], rules), rules.beams, len(rules.prompt)
    batch = ops.shape(logits)[0]
    blank = ops.full((batch, rules.longest), rules.end, "int32")
    none = ops.zeros((batch,), "int32")
    beams = _Beams(
        ops.full((batch, 1, rules.longest), rules.end, "int32"),
        ops.zeros((batch, 1)),
        none,
        blank,
        ops.full((batch,), NEVER, "float32"),
        ops.zeros((batch,)),
        none,
    )
    beams, _ = _extend(beams, ops.log_softmax(penalties.first(logits))[:, None], 0, rules)
    cached = [ops.repeat(each, width, axis=0) for each in cached]

    def unfinished(count: Tensor, *state: Tensor) -> Tensor:
        return ops.any(ops.less(state[2], width))

    def step(count: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        beams, cached = _Beams(*state[: len(_Beams._fields)]), state[len(_Beams._fields) :]
        tokens = ops.reshape(beams.tokens, (-1, rules.longest))
        last = ops.take(tokens, count - 1, axis=1)
        logits, updated = decoder.run(last[:, None], start + count - 1, cached, heard, width)
        values = ops.log_softmax(penalties.later(logits, tokens, count))
        beams, parents = _extend(beams, ops.reshape(values, (-1, width, values.shape[-1])), count, rules)
        first = ops.arange(ops.shape(parents)[0], dtype="int32")[:, None] * width
        rows = ops.reshape(first + parents, (-1,))
        return count + 1, *beams, *(ops.take(each, rows, axis=0) for each in updated)

    state = (ops.convert_to_tensor(1, "int32"), *beams, *cached)
    found = _Beams(*ops.while_loop(unfinished, step, state, maximum_iterations=rules.longest - 1)[1 : len(beams) + 1])
    return Decoded(found.best, found.total, found.length)


def _extend(beams: _Beams, values: Tensor, count: Tensor | int, rules: DecodingRules) -> tuple[_Beams, Tensor]:
    """Add a token to each beam.

    Args:
        beams: At first, one per recording.
        values: ``float32[batch, beams, vocabulary]``, log-probabilities of the next token.
        count: Number of tokens so far.
        rules: The decoding rules.

    Returns:
        The most probable unfinished transcripts, as many as there are beams, and the beams that they extend.
    """
    width, vocabulary = rules.beams, values.shape[-1]
    sums = ops.reshape(beams.totals[:, :, None] + values, (-1, values.shape[1] * vocabulary))
    # Each beam can end once: of twice as many candidates, enough continue.
    totals, places = ops.top_k(sums, 2 * width)
    parents, chosen = places // vocabulary, ops.cast(places % vocabulary, "int32")
    parents = ops.cast(parents, "int32")
    ends = ops.equal(chosen, rules.end)
    tokens = ops.take_along_axis(beams.tokens, parents[:, :, None], axis=1)
    tokens = ops.where(ops.arange(rules.longest, dtype="int32") == count, chosen[:, :, None], tokens)
    beams = _note_ended(beams, tokens[:, :width], totals[:, :width], ends[:, :width], count, rules)
    left, kept = ops.top_k(ops.where(ends, 2 * NEVER, totals), width)
    kept = ops.cast(kept, "int32")
    going = beams._replace(tokens=ops.take_along_axis(tokens, kept[:, :, None], axis=1), totals=left)
    return going, ops.take_along_axis(parents, kept, axis=1)


def _note_ended(
    beams: _Beams, tokens: Tensor, totals: Tensor, ends: Tensor, count: Tensor | int, rules: DecodingRules
) -> _Beams:
    """Update the best finished transcript, unless enough have finished already; at the last step, all finish."""
    longest = ops.equal(count, rules.longest - 1)
    own = ops.cast(count + 1, "int32")
    # The end is not counted, but its probability is.
    lengths = ops.where(ends, ops.maximum(count, 1), own)
    open_ = ops.less(beams.ended, rules.beams)[:, None]
    over = ops.logical_and(ops.logical_or(ends, longest), open_)
    scores = totals / ops.cast(lengths, "float32") ** rules.length_penalty
    scores = ops.where(over, scores, 2 * NEVER)
    first = ops.argmax(scores, axis=-1)[:, None]
    score = ops.take_along_axis(scores, first, axis=1)[:, 0]
    better = ops.greater(score, beams.score)
    return beams._replace(
        ended=beams.ended + ops.sum(ops.cast(over, "int32"), axis=-1),
        best=ops.where(better[:, None], ops.take_along_axis(tokens, first[:, :, None], axis=1)[:, 0], beams.best),
        score=ops.where(better, score, beams.score),
        total=ops.where(better, ops.take_along_axis(totals, first, axis=1)[:, 0], beams.total),
        length=ops.where(better, own, beams.length),
    )


class _Penalties:
    """The changes that the rules make to logits."""

    def __init__(self, vocabulary: int, rules: DecodingRules) -> None:
        self._rules = rules
        self._always = _penalty(vocabulary, *rules.suppressed)
        self._first = _penalty(vocabulary, *rules.suppressed, *rules.suppressed_first)
        begin = rules.timestamp_begin
        if begin is not None:
            # The prompt ends with the no-timestamps token, and a transcript starts with one.
            self._always[begin - 1] = NEVER
            self._first[:begin] = NEVER
            self._first[begin + rules.first_timestamp + 1 :] = NEVER

    def first(self, logits: Tensor) -> Tensor:
        """Return the logits of the first token after the rules."""
        return logits + self._first

    def later(self, logits: Tensor, tokens: Tensor, count: Tensor) -> Tensor:
        """Return the logits of a later token after the rules.

        Args:
            logits: ``float32[rows, vocabulary]``.
            tokens: ``int32[rows, longest]``, the earlier tokens.
            count: Number of earlier tokens.
        """
        logits, begin = logits + self._always, self._rules.timestamp_begin
        if begin is None:
            return logits
        numbers = ops.arange(logits.shape[-1], dtype="int32")
        last = ops.greater_equal(ops.take(tokens, count - 1, axis=1), begin)
        before = ops.greater_equal(ops.take(tokens, ops.maximum(count - 2, 0), axis=1), begin)
        latest = ops.max(ops.where(tokens >= begin, tokens, begin), axis=1)
        # In pairs: an end is followed by a start or the end of the transcript; a start is followed by text. They do not
        # decrease, and an end is later than its start.
        closes = ops.logical_and(last, ops.logical_not(before))
        least = ops.where(closes, latest, latest + 1)
        stamps = numbers >= begin
        barred = ops.logical_or(
            ops.logical_and(stamps, ops.logical_or(ops.logical_and(last, before)[:, None], numbers < least[:, None])),
            ops.logical_and(closes[:, None], numbers < self._rules.end),
        )
        logits = ops.where(barred, NEVER, logits)
        # If timestamps together are more probable than the most probable other token, a timestamp is chosen.
        stamped = ops.logsumexp(logits[:, begin:], axis=-1) > ops.max(logits[:, :begin], axis=-1)
        return ops.where(ops.logical_and(stamped[:, None], numbers < begin), NEVER, logits)


def _penalty(size: int, *tokens: int) -> Array:
    penalty = np.zeros(size, np.float32)
    penalty[list(tokens)] = NEVER
    return penalty
