"""Compute a log-mel spectrogram from samples inside the graph of a model.

Window and Fourier transform are one strided convolution with fixed kernels: that is the same in TensorFlow, JAX, ONNX
and LiteRT, which do not all have a Fourier transform.
"""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np

from keras_transfer.networks.types import Array, JsonObject, Tensor

Norm = Literal["slaney", "mean"]


@keras.saving.register_keras_serializable(package="keras_transfer")
class LogMel(keras.layers.Layer):
    """The logarithm of the power in each mel band and frame, ``float32[batch, frames, mels]``.

    ``log10(max(power, floor))``, clipped to ``decades`` below the recording's maximum. Bands are triangles on Slaney's
    mel scale, as in librosa and Whisper: linear up to 1 kHz, logarithmic above. Nothing in it is trained.

    Args:
        sample_rate: Sample rate in Hz.
        mels: Number of bands.
        window: Length of the Hann window, in samples.
        hop: Samples from one frame to the next.
        frame: Length that frames are counted by, in samples: there are ``1 + (samples - frame) // hop``. The window is
            in the middle of it. The window's own length by default.
        transform: Length of the Fourier transform; at least the window's, and by default the least power of two with
            which each band has a frequency.
        lowest: Lower end of the first band, in Hz.
        highest: Upper end of the last band, in Hz; half the sample rate by default.
        norm: ``slaney``: each triangle has an area of 1 over Hz. ``mean``: its values add up to 1.
        gain: Factor on samples.
        floor: The least power.
        decades: Range of a recording, in powers of ten: 8 are 80 dB. None for no bound.
        reflect: Samples that are mirrored at the start and at the end.

    Example:
        >>> layer = LogMel(sample_rate=16_000, mels=32, window=400, hop=160)
        >>> tuple(layer(keras.ops.zeros((1, 16_000))).shape)
        (1, 98, 32)
    """

    needs_float32 = True

    def __init__(
        self,
        *,
        sample_rate: int,
        mels: int,
        window: int,
        hop: int,
        frame: int | None = None,
        transform: int | None = None,
        lowest: float = 0.0,
        highest: float | None = None,
        norm: Norm = "slaney",
        gain: float = 1.0,
        floor: float = 1e-10,
        decades: float | None = 8.0,
        reflect: tuple[int, int] = (0, 0),
        **options: Any,
    ) -> None:
        # Half precision is not precise enough for samples and powers.
        super().__init__(**{**options, "dtype": "float32"})
        self._settings = {
            **{"sample_rate": sample_rate, "mels": mels, "window": window, "hop": hop, "frame": frame},
            **{"transform": transform, "lowest": lowest, "highest": highest, "norm": norm, "gain": gain},
            **{"floor": floor, "decades": decades, "reflect": tuple(reflect)},
        }
        self.hop, self.window, self.frame = hop, window, frame or window
        self.floor, self.decades, self.reflect = floor, decades, tuple(reflect)
        make = mel_filters(sample_rate, mels, lowest=lowest, highest=highest or sample_rate / 2, norm=norm)
        filters = make(transform) if transform else _fill_every_band(make, window)
        used = np.flatnonzero(filters.any(axis=1))
        # Frequencies that no band uses are not computed.
        bins = np.arange(used[0], used[-1] + 1)
        self._filters = filters[bins].astype(np.float32)
        self._kernel = fourier_kernel(window, 2 * (len(filters) - 1), bins, gain)

    def call(self, samples: Tensor) -> Tensor:
        samples = keras.ops.expand_dims(samples, -1)
        if any(self.reflect):
            samples = keras.ops.pad(samples, ((0, 0), self.reflect, (0, 0)), mode="reflect")
        start, frames = (self.frame - self.window) // 2, 1 + (samples.shape[1] - self.frame) // self.hop
        samples = samples[:, start : start + (frames - 1) * self.hop + self.window]
        waves = keras.ops.conv(samples, self._kernel, self.hop, "valid", data_format="channels_last")
        power = keras.ops.square(waves)
        bins = self._filters.shape[0]
        power = keras.ops.matmul(power[..., :bins] + power[..., bins:], self._filters)
        logarithm = keras.ops.log(keras.ops.maximum(power, self.floor)) * (1 / np.log(10))
        if self.decades is None:
            return logarithm
        return keras.ops.maximum(logarithm, keras.ops.max(logarithm, axis=(1, 2), keepdims=True) - self.decades)

    def compute_output_shape(self, input_shape: tuple[int | None, int]) -> tuple[int | None, int, int]:
        batch, samples = input_shape
        return batch, 1 + (samples + sum(self.reflect) - self.frame) // self.hop, self._filters.shape[1]

    def get_config(self) -> JsonObject:
        return {**super().get_config(), **self._settings}


def fourier_kernel(window: int, transform: int, bins: Array, gain: float = 1.0) -> Array:
    """Make the kernel of a convolution that is a windowed Fourier transform.

    Args:
        transform: Length of the Fourier transform, for which the window is padded with zeros.
        bins: The frequencies, as multiples of ``sample rate / transform``.

    Returns:
        ``float32[window, 1, 2 * bins]``: real parts, then imaginary parts.
    """
    place = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * place / window)
    # The product of integers is reduced modulo the length first: angles of thousands of turns would lose precision.
    angle = 2 * np.pi * (place[:, None] * np.asarray(bins, np.int64) % transform) / transform
    kernel = gain * hann[:, None] * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return kernel[:, None].astype(np.float32)


def mel_filters(sample_rate: int, mels: int, *, lowest: float, highest: float, norm: Norm) -> Callable[[int], Array]:
    """Return a function from the length of a Fourier transform to ``float[frequencies, mels]``, the weight of each."""

    def make(transform: int) -> Array:
        frequencies = np.arange(transform // 2 + 1)[:, None] * sample_rate / transform
        ends = _to_hz(np.linspace(_to_mel(lowest), _to_mel(highest), mels + 2))
        left, middle, right = ends[:-2], ends[1:-1], ends[2:]
        rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
        triangles = np.maximum(0, np.minimum(rising, falling))
        if norm == "slaney":
            return triangles * (2 / (right - left))
        return triangles / np.maximum(triangles.sum(axis=0), 1e-9)

    return make


def _fill_every_band(make: Callable[[int], Array], window: int) -> Array:
    transform = 1 << (window - 1).bit_length()
    while not (filters := make(transform)).any(axis=0).all():
        transform *= 2
    return filters


# Slaney's scale: 15 mels of 66.7 Hz each, then 27 mels to a factor of 6.4.
_KNEE_HZ, _KNEE_MEL, _STEP = 1000.0, 15.0, np.log(6.4) / 27


def _to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz * _KNEE_MEL / _KNEE_HZ
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _STEP)


def _to_hz(mel: Array) -> Array:
    above = _KNEE_HZ * np.exp(_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _KNEE_HZ / _KNEE_MEL, above)


@keras.saving.register_keras_serializable(package="keras_transfer")
class SpectrogramImage(keras.layers.Layer):
    """A log-mel spectrogram, ``float32[batch, frames, mels]``, as an image, ``float32[batch, mels, frames, channels]``.

    The lowest band is at the bottom. The maximum of a recording is 255, ``decades`` below it is 0. If the maximum is
    below ``quietest``, the latter is 255: silence is black.

    Args:
        channels: Number of channels of the image; all are equal.
        decades: Range of a recording, in powers of ten: 8 are 80 dB.
        quietest: ``log10`` of the lowest power that is white; -6 is 60 dB below a tone of full scale.
    """

    needs_float32 = True

    def __init__(self, channels: int = 3, decades: float = 8.0, quietest: float = -6.0, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})
        self.channels, self.decades, self.quietest = channels, decades, quietest

    def call(self, mel: Tensor) -> Tensor:
        ops = keras.ops
        loudest = ops.maximum(ops.max(mel, axis=(1, 2), keepdims=True), self.quietest)
        levels = ops.clip((mel - loudest) / self.decades + 1, 0, 1) * 255
        image = ops.expand_dims(ops.flip(ops.transpose(levels, (0, 2, 1)), axis=1), -1)
        return ops.concatenate([image] * self.channels, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, int, int]) -> tuple[int | None, int, int, int]:
        batch, frames, mels = input_shape
        return batch, mels, frames, self.channels

    def get_config(self) -> JsonObject:
        settings = {"channels": self.channels, "decades": self.decades, "quietest": self.quietest}
        return {**super().get_config(), **settings}
