"""WAV files as samples, in a TensorFlow graph: for clients that send the bytes of a recording to a SavedModel.

No operation here fails for any input: an invalid header results in no samples, and false.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.formats.recordings import LARGEST
from keras_transfer.networks.types import Tensor

RATES = (
    *(8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    *(64_000, 88_200, 96_000, 176_400, 192_000),
)
"""Sample rates, in Hz, that the graph resamples from."""

_UNKNOWN_SIZE = 0xFFFFFFFF
_MOST_CHUNKS = 256
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_ENCODINGS = ((_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64), (_MU_LAW, 8), (_A_LAW, 8))
# A low-pass filter like soxr's HQ: flat up to 91.3 % of the band, and 130 dB down at its end.
_PASSBAND = 0.913
_ATTENUATION_DB = 130.0


def decode_wavs(contents: Tensor, *, sample_rate: int, max_seconds: float) -> tuple[Tensor, Tensor]:
    """Decode WAV files: PCM of 8, 16, 24 or 32 bits, floats of 32 or 64 bits, mu-law and A-law.

    Args:
        contents: ``string[batch]``, the bytes of files.
        sample_rate: Of the result, in Hz; other rates of :data:`RATES` are resampled.

    Returns:
        ``float32[batch, samples of the longest]``, the mean of the channels, padded with zeros; and ``bool[batch]``,
        which could be read. Rows that could not be read are zeros.
    """

    def decode(content: Tensor) -> tuple[Tensor, Tensor]:
        samples, ok = decode_wav(content, sample_rate=sample_rate, max_seconds=max_seconds)
        return tf.RaggedTensor.from_tensor(samples[None])[0], ok

    ragged = tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0)
    rows, ok = tf.map_fn(decode, contents, fn_output_signature=(ragged, tf.TensorSpec([], tf.bool)))
    return tf.ensure_shape(rows.to_tensor(0.0), [None, None]), ok


def decode_wav(content: Tensor, *, sample_rate: int, max_seconds: float) -> tuple[Tensor, Tensor]:
    """Decode one WAV file as :func:`decode_wavs` does.

    Args:
        content: ``string[]``.

    Returns:
        ``float32[samples]``, none if it cannot be read; and ``bool[]``, whether it can.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    header, start, size, ok = _find_chunks(data)
    code, channels, rate = (_read_uint(data, header + at, count) for at, count in ((0, 2), (2, 2), (4, 4)))
    align, bits = (_read_uint(data, header + at, 2) for at in (12, 14))
    code = tf.where(code == _EXTENSIBLE, _read_uint(data, header + 24, 2), code)
    encodings = tf.constant(_ENCODINGS, tf.int64)
    matches = tf.reduce_all(encodings == tf.stack([code, bits]), axis=1)
    frames = size // tf.maximum(align, 1)
    ok &= tf.reduce_any(matches) & (channels > 0) & (align == channels * bits // 8) & (frames > 0)
    rates = tf.constant(RATES if sample_rate in RATES else (*RATES, sample_rate), tf.int64)
    ok &= tf.reduce_any(rates == rate)
    ok &= tf.cast(frames, tf.float64) <= max_seconds * tf.cast(rate, tf.float64)
    stop = tf.where(ok, start + frames * align, start)
    samples = _decode_samples(data[start:stop], tf.argmax(matches, output_type=tf.int32))
    samples = _mean_channels(samples, tf.where(ok, channels, 1))
    # This is false for NaN, too.
    ok &= tf.reduce_all(tf.abs(samples) <= LARGEST)
    samples = samples[: tf.where(ok, tf.size(samples), 0)]
    same = ~ok | (rate == sample_rate)
    return tf.cond(same, lambda: samples, lambda: resample(samples, rate, sample_rate)), ok


def resample(samples: Tensor, sample_rate: Tensor, to: int) -> Tensor:
    """Resample by a polyphase low-pass filter, a Kaiser-windowed sinc.

    With rates of a ratio M : L, output ``L q + p`` is a sum over the inputs around ``M q + p M / L``: a convolution
    with stride M and a kernel for each of the L phases p. M and L are multiples of the smallest such numbers, so that a
    kernel spans at most two strides.

    Args:
        samples: ``float32[samples]``.
        sample_rate: ``int64[]``, one of :data:`RATES`.

    Returns:
        ``float32[samples of the result]``.
    """
    place = tf.argmax(tf.constant(RATES, tf.int64) == sample_rate)
    least_up, least_down, times = (tf.gather(column, place) for column in _ratios(to))
    up, down, n = least_up * times, least_down * times, tf.size(samples, tf.int64)
    half = (down + 1) // 2
    count = (2 * n * up + down) // (2 * down)
    strides = (count + up - 1) // up
    blocks = tf.reshape(tf.pad(samples, [[half, (strides + 1) * down - half - n]]), [strides + 1, down])
    spans = tf.concat([blocks[:-1], blocks[1:]], axis=1)
    phases = tf.range(up, dtype=tf.int64)[None, :] * least_down
    inputs = (tf.range(2 * down, dtype=tf.int64)[:, None] - half) * least_up
    # Distances are multiples of 1 / L: a few values fill the kernel, which has hundreds of thousands.
    taps = _kaiser_sinc(least_up, least_down)
    kernel = tf.gather(taps, tf.minimum(tf.abs(phases - inputs), tf.size(taps, tf.int64) - 1))
    return tf.reshape(spans @ kernel, [-1])[:count]


def _find_chunks(data: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The offsets of the format and of the samples, the number of their bytes, and whether all of this is present."""
    n = tf.size(data, tf.int64)

    def go_on(position: Tensor, header: Tensor, start: Tensor, size: Tensor) -> Tensor:
        return (start == 0) & (position + 8 <= n)

    def walk(position: Tensor, header: Tensor, start: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        name, found, position = _read_uint(data, position, 4), _read_uint(data, position + 4, 4), position + 8
        is_data = name == _number(b"data")
        header = tf.where((name == _number(b"fmt ")) & (found >= 16), position, header)
        return (
            position + found + found % 2,
            header,
            tf.where(is_data, position, start),
            tf.where(is_data, found, size),
        )

    zero = tf.constant(0, tf.int64)
    state = (zero + 12, zero, zero, zero)
    # A file of empty chunks would loop forever.
    _, header, start, size = tf.while_loop(go_on, walk, state, maximum_iterations=_MOST_CHUNKS)
    left = n - start
    ok = (_read_uint(data, zero, 4) == _number(b"RIFF")) & (_read_uint(data, zero + 8, 4) == _number(b"WAVE"))
    ok &= (header > 0) & (start > 0)
    is_stream = size == _UNKNOWN_SIZE
    ok &= is_stream | ((size <= left) & ~_has_more(data, start + size + size % 2, size))
    return header, start, tf.where(is_stream, left, tf.minimum(size, left)), ok


def _has_more(data: Tensor, position: Tensor, size: Tensor) -> Tensor:
    """Whether so much follows the samples that the header must be wrong, and it is not a chunk."""
    left = tf.size(data, tf.int64) - position
    name = data[position : position + 4]
    is_chunk = tf.reduce_all((name >= 32) & (name < 127)) & (_read_uint(data, position + 4, 4) <= left - 8)
    return (left > tf.maximum(size // 100, 4096)) & ~is_chunk


def _number(name: bytes) -> int:
    return int.from_bytes(name, "little")


def _read_uint(data: Tensor, position: Tensor, count: int) -> Tensor:
    """A little-endian unsigned integer; bytes after the end count as zeros."""
    found = tf.cast(data[position : position + count], tf.int64)
    return tf.reduce_sum(found * tf.constant([256**place for place in range(count)], tf.int64)[: tf.size(found)])


def _decode_samples(data: Tensor, encoding: Tensor) -> Tensor:
    """From bytes to ``float32[samples of all channels]``."""

    def words(kind: Any, size: int) -> Tensor:
        return tf.bitcast(tf.reshape(data, [-1, size]), kind)

    def scaled(numbers: Tensor, bits: int) -> Tensor:
        return tf.cast(numbers, tf.float32) / 2.0 ** (bits - 1)

    def three_bytes() -> Tensor:
        parts = tf.cast(tf.reshape(data, [-1, 3]), tf.int32)
        return tf.reduce_sum(tf.bitwise.left_shift(parts, tf.constant([[8, 16, 24]])), axis=1)

    return tf.switch_case(
        encoding,
        [
            lambda: scaled(tf.cast(data, tf.int32) - 128, 8),
            lambda: scaled(words(tf.int16, 2), 16),
            lambda: scaled(three_bytes(), 32),
            lambda: scaled(words(tf.int32, 4), 32),
            lambda: words(tf.float32, 4),
            lambda: tf.cast(words(tf.float64, 8), tf.float32),
            lambda: tf.gather(tf.constant(_mu_law()), tf.cast(data, tf.int32)),
            lambda: tf.gather(tf.constant(_a_law()), tf.cast(data, tf.int32)),
        ],
    )


def _mean_channels(samples: Tensor, channels: Tensor) -> Tensor:
    def mean() -> Tensor:
        frames = tf.reshape(samples, tf.stack([-1, channels]))
        return tf.cast(tf.reduce_mean(tf.cast(frames, tf.float64), axis=1), tf.float32)

    return tf.cond(channels == 1, lambda: samples, mean)


def _mu_law() -> NDArray[np.float32]:
    """The 256 values of ITU-T G.711's mu-law."""
    code = 255 - np.arange(256)
    magnitude = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132
    return (np.where(code & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _a_law() -> NDArray[np.float32]:
    """The 256 values of ITU-T G.711's A-law."""
    code = np.arange(256) ^ 0x55
    segment, step = (code >> 4) & 7, ((code & 15) << 4) + 8
    magnitude = np.where(segment == 0, step, (step + 256) << np.maximum(segment - 1, 0))
    return (np.where(code & 128, magnitude, -magnitude) / 32768).astype(np.float32)


def _half_width() -> float:
    """Half the width of the filter, in samples of the lower rate, by Kaiser's formula."""
    transition = math.pi * (1.0 - _PASSBAND)
    return (_ATTENUATION_DB - 7.95) / (2.285 * transition) / 2.0


def _ratios(to: int) -> NDArray[np.int64]:
    """For each of :data:`RATES` the least L and M, and what they are multiplied by."""
    ratios = []
    for rate in RATES:
        up, down = to // math.gcd(rate, to), rate // math.gcd(rate, to)
        width = 2 * math.ceil(_half_width() * max(1.0, down / up)) + 1
        ratios.append((up, down, -(-width // down)))
    return np.array(ratios, np.int64).T


def _kaiser_sinc(up: Tensor, down: Tensor) -> Tensor:
    """Half the filter, ``float32[taps]``: a value per distance of 1 / L samples of the input; the last one is 0."""
    up, down = tf.cast(up, tf.float64), tf.cast(down, tf.float64)
    half = _half_width() * tf.maximum(down / up, 1.0)
    distances = tf.range(tf.floor(half * up) + 2.0, dtype=tf.float64) / up
    beta = 0.1102 * (_ATTENUATION_DB - 8.7)
    inside = tf.maximum(1.0 - (distances / half) ** 2, 0.0)
    root = beta * tf.sqrt(inside)
    window = tf.math.bessel_i0e(root) * tf.exp(root - beta) / float(np.i0(beta) * math.exp(-beta))
    cutoff = tf.minimum(up / down, 1.0) * (1.0 + _PASSBAND) / 2.0
    angle = math.pi * cutoff * distances
    sinc = tf.where(angle == 0.0, tf.ones_like(angle), tf.math.divide_no_nan(tf.sin(angle), angle))
    return tf.cast(tf.where(inside > 0.0, cutoff * sinc * window, 0.0), tf.float32)
