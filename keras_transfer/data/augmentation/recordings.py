"""Random changes to recordings for training: a function of seed, epoch and row, from samples to samples.

SpecAugment is applied to the samples, too, so that the model needs no other input: a stretch of silence, and a band of
frequencies that is removed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from keras_transfer.config.augmentation import AudioAugmentationConfig
from keras_transfer.data.formats.recordings import resample

Floats = NDArray[np.float32]
Padding = Literal["silence", "repeat"]

ReadPart = Callable[[int, int], Floats]
"""From the first sample and a number of samples to that part of a recording."""

# Relative to the minimum ratio of the recording to the noise.
_NOISE_RANGE_DB = 20.0
# Speeds are multiples of 1 / 1000.
_PACE = 1000


@dataclass(frozen=True)
class Draws:
    """Random numbers of one example in one epoch, each from 0 to 1, regardless of which changes are on.

    Turning one change on or off therefore does not affect the others.
    """

    crop: float
    gain: float
    shift: float
    noise: float
    speed: float
    time_width: float
    time_start: float
    frequency_width: float
    frequency_start: float
    mixup: float


def is_identity(config: AudioAugmentationConfig) -> bool:
    """Return whether all changes except mixup are off."""
    changes = (config.gain, config.shift, config.speed, config.time_mask, config.frequency_mask)
    return not config.crop and not any(changes) and config.noise is None


def fill_up(samples: Floats, size: int, padding: Padding) -> Floats:
    """Pad a recording to the length of the network's input.

    Args:
        samples: ``float32[up to size]``.
    """
    if len(samples) >= size:
        return samples[:size]
    if padding == "repeat" and len(samples):
        return np.resize(samples, size)
    return np.pad(samples, (0, size - len(samples)))


@dataclass(frozen=True)
class Augmenter:
    """Augments recordings for an epoch of training.

    Attributes:
        sample_rate: Sample rate in Hz.
    """

    size: int
    sample_rate: int
    padding: Padding
    config: AudioAugmentationConfig
    seed: int

    def draw(self, epoch: int, row: int) -> tuple[Draws, np.random.Generator]:
        """Return the random numbers of an example in an epoch, and a generator for noise."""
        generator = np.random.default_rng([self.seed, epoch, row])
        return Draws(*generator.random(len(Draws.__dataclass_fields__)).tolist()), generator

    def show(self, read: ReadPart, length: int, epoch: int, row: int) -> tuple[Floats, float]:
        """Return a recording as augmented in an epoch, and its random number for mixup.

        Returns:
            ``float32[size]``, and a number from 0 to 1.
        """
        draws, generator = self.draw(epoch, row)
        samples = fill_up(self._read_clip(read, length, draws), self.size, self.padding)
        return self._change(samples, draws, generator), draws.mixup

    def _read_clip(self, read: ReadPart, length: int, draws: Draws) -> Floats:
        """The part of a recording that is used, at most ``size`` samples after a change of speed."""
        # Ratios of small numbers are resampled fast.
        pace = round(_PACE * (1.0 + self.config.speed * _signed(draws.speed)))
        count = min(max(self.size * pace // _PACE, 1), length)
        start = int((length - count + 1) * draws.crop) if self.config.crop else (length - count) // 2
        return resample(read(start, count), pace, _PACE)[: self.size]

    def _change(self, samples: Floats, draws: Draws, generator: np.random.Generator) -> Floats:
        config, size = self.config, self.size
        if config.shift:
            samples = _shift(samples, round(config.shift * size * _signed(draws.shift)), self.padding)
        if config.gain:
            samples = samples * np.float32(10.0 ** (config.gain * _signed(draws.gain) / 20.0))
        if config.noise is not None:
            samples = _add_noise(samples, config.noise + _NOISE_RANGE_DB * draws.noise, generator)
        if config.frequency_mask:
            width = config.frequency_mask * draws.frequency_width
            samples = remove_band(samples, self.sample_rate, (1.0 - width) * draws.frequency_start, width)
        if config.time_mask:
            width = round(config.time_mask * draws.time_width * size)
            start = round((size - width) * draws.time_start)
            samples = np.concatenate([samples[:start], np.zeros(width, np.float32), samples[start + width :]])
        return samples


def remove_band(samples: Floats, sample_rate: int, start: float, width: float) -> Floats:
    """Remove a band of mel frequencies (SpecAugment, Park et al. 2019, https://arxiv.org/abs/1904.08779).

    Args:
        samples: ``float32[samples]``.
        start: Where the band starts, as a share of the mel scale from 0 Hz to half the rate.
    """
    # Padding separates the end of a recording from its start, and makes the transform fast for any length.
    size = fft.next_fast_len(len(samples) + sample_rate // 100, real=True)
    spectrum = fft.rfft(samples, size)
    mels = 1127.0 * np.log1p(fft.rfftfreq(size, 1.0 / sample_rate) / 700.0)
    shares = mels / (1127.0 * np.log1p(sample_rate / 2.0 / 700.0))
    spectrum[(start <= shares) & (shares < start + width)] = 0.0
    return np.asarray(fft.irfft(spectrum, size)[: len(samples)], np.float32)


def _shift(samples: Floats, by: int, padding: Padding) -> Floats:
    """Shift a recording; the gap at one end is filled with padding."""
    moved = np.roll(samples, by)
    if padding == "silence":
        moved[: max(by, 0)] = 0.0
        moved[len(moved) + min(by, 0) :] = 0.0
    return moved


def _add_noise(samples: Floats, ratio_db: float, generator: np.random.Generator) -> Floats:
    power = float(np.mean(np.square(samples), dtype=np.float64))
    scale = np.float32(np.sqrt(power / 10.0 ** (ratio_db / 10.0)))
    return samples + scale * generator.standard_normal(len(samples), np.float32)


def _signed(number: float) -> float:
    return 2.0 * number - 1.0
