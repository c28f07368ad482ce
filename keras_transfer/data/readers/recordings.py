"""Recordings as tf.data: decoded once, of one length, augmented, in an order that depends only on (seed, epoch)."""

import copy
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.augmentation import AudioAugmentationConfig
from keras_transfer.data.augmentation.from_python import SampleFunction, apply_to_each, draw_seed
from keras_transfer.data.augmentation.mixing import blend
from keras_transfer.data.augmentation.recordings import Augmenter, Padding, fill_up, is_identity
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.examples.samples import Samples
from keras_transfer.data.formats.recordings import decode_recording, encode_wav, read_info
from keras_transfer.data.formats.wav_graph import RATES, decode_wavs
from keras_transfer.data.readers.base import CLIENTS, INPUTS, PLAIN, Reader, Rows, View, divide_rows, shuffle_rows
from keras_transfer.data.readers.decoding import decode_recordings
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError, DataError
from keras_transfer.networks.types import Array, Dataset, JsonObject, Tensor, Tensors

_FORMAT = 1
_WHOLE_SHARE = 0.95
_MOST_AUTO_SECONDS = 30.0
# Automatic lengths are whole hundredths of a second.
_AUTO_STEPS_PER_SECOND = 100
# Limit for a batch from clients.
_MOST_WINDOWS = 64
# Limit for a recording with which an export is verified.
_SAMPLE_WINDOWS = 4
_Floats = NDArray[np.float32]


class AudioReader(Reader):
    """Reads recordings, changes them at random for training, and makes batches of them.

    A network takes ``float32[batch, samples]``: the middle of a longer recording, or in training a part that is drawn
    again in each epoch; a shorter one is padded. A predictor takes ``float32[batch, time]``, whole recordings padded
    with zeros, and averages over windows.

    Args:
        sample_rate: Sample rate in Hz.
        samples: Number of samples of the network's input.
        max_seconds: Longer recordings from clients are refused.

    Attributes:
        sample_rate: Sample rate in Hz.
        samples: Number of samples of the network's input.
    """

    tensor_endpoint = "serve_samples"
    predictor_view = View(whole=True)

    def __init__(
        self,
        *,
        sample_rate: int,
        samples: int,
        padding: Padding,
        augmentation: AudioAugmentationConfig,
        seed: int,
        max_seconds: float,
    ) -> None:
        self.sample_rate, self.samples, self.padding = sample_rate, samples, padding
        self._augmenter = Augmenter(samples, sample_rate, padding, augmentation, seed)
        self._max_seconds = max_seconds
        self._function: SampleFunction | None = None
        self.mixes = bool(augmentation.mixup)
        self.raw_inputs = (tf.TensorSpec([None], tf.string, "wav_bytes"),)
        self.tensor_inputs = (tf.TensorSpec([None, None], tf.float32, "samples"),)

    @classmethod
    def fit(
        cls,
        splits: Sequence[Split],
        *,
        sample_rate: int,
        seconds: float | Literal["auto"],
        shortest: int,
        longest: int | None,
        padding: Padding,
        augmentation: AudioAugmentationConfig,
        seed: int,
        max_seconds: float,
    ) -> tuple[Self, list[Split]]:
        """Decode splits, each recording once, and choose the network's length by those of the first split.

        Args:
            splits: The training rows come first; their examples are recordings.
            seconds: Length of the network's input; auto: 95 % of the training recordings are whole, if that is at most
                30 s.
            longest: Maximum number of samples; None if there is no bound.

        Returns:
            The reader, and the splits with samples for examples.

        Raises:
            ConfigError: The backbone does not support this length.
            DataError: Some cannot be decoded.
        """
        check_seconds(seconds, sample_rate, shortest, longest)
        prepared = [decode_split(split, sample_rate, cached=True) for split in splits]
        lengths = _samples(prepared[0]).lengths
        if seconds == "auto":
            samples = choose_samples(lengths, sample_rate, shortest, longest)
        else:
            samples = round(seconds * sample_rate)
        if not (lengths > samples).any():  # there is nothing to crop
            augmentation = augmentation.model_copy(update={"crop": False})
        reader = cls(
            sample_rate=sample_rate,
            samples=samples,
            padding=padding,
            augmentation=augmentation,
            seed=seed,
            max_seconds=max_seconds,
        )
        return reader, prepared

    def with_function(self, function: SampleFunction) -> "AudioReader":
        """Return a reader that also changes training examples by a user's function, after the other changes.

        Args:
            function: As :func:`~keras_transfer.data.augmentation.from_python.take_sample_function` returns it.
        """
        reader = copy.copy(self)
        reader._function = function
        # The name does not identify a function: features of its examples are not cached.
        reader.mixes = True
        return reader

    def prepare(self, split: Split) -> Split:
        return decode_split(split, self.sample_rate, cached=False)

    def cuts(self, split: Split) -> bool:
        """Return whether a recording is longer than the network's input."""
        return bool((_samples(split).lengths > self.samples).any())

    def order(self, split: Split, *, batch_size: int, seed: int, epochs: range, skip: int = 0) -> Dataset:
        return shuffle_rows(len(split), batch_size=batch_size, seed=seed, epochs=epochs, skip=skip)

    def evaluation_order(self, split: Split, *, batch_size: int, view: View = PLAIN) -> list[Rows]:
        """Return the rows in their own order; for whole recordings, from the shortest to the longest.

        A batch has up to ``batch_size`` windows, so that a batch of long recordings does not take more memory.
        """
        if not view.whole:
            return divide_rows(np.arange(len(split)), batch_size)
        return self._divide(_samples(split).lengths, batch_size)

    def load(self, split: Split, view: View) -> Callable[[Tensor], Tensor]:
        """Return a function from row numbers to recordings according to a view."""
        if view.epoch is not None:
            epoch = tf.constant(view.epoch, tf.int64)
            return lambda rows: self._show(split, epoch, rows)[0]
        examples = _samples(split)
        gather, shape = (self._gather_whole, [None, None]) if view.whole else (self._gather, [None, self.samples])

        def load(rows: Tensor) -> Tensor:
            gathered = tf.numpy_function(lambda rows: gather(examples, rows), [rows], tf.float32, stateful=False)
            return tf.ensure_shape(gathered, shape)

        return load

    def make_batch(self, split: Split) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensors]:
        """Return a function that augments recordings and mixes them."""

        def make(epoch: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensors:
            samples, numbers = self._show(split, epoch, rows)
            return blend(samples, targets, weights, numbers, self._augmenter.config.mixup)

        return make

    def training_views(self, epochs: range, most: int) -> Sequence[View]:
        """Return the first epochs of a phase, or the plain view if nothing is augmented."""
        if most == 1 or is_identity(self._augmenter.config):
            return (PLAIN,)
        return [View(epoch=epoch) for epoch in epochs[:most]]

    def describe(self, split: Split, views: Sequence[View]) -> dict[str, Any]:
        """Return rate, length, padding and, if a view is augmented, the random changes."""
        augmented = any(view.epoch is not None for view in views)
        return {
            "format": _FORMAT,
            "sample_rate": self.sample_rate,
            "samples": self.samples,
            "padding": self.padding,
            "augmentation": self._augmenter.config.model_dump() if augmented else None,
            "seed": self._augmenter.seed if augmented else None,
        }

    def report(self, splits: Sequence[Split]) -> dict[str, Any]:
        """Return the length of the network's input, and the share of each split that is longer."""
        cut = {split.name: float((_samples(split).lengths > self.samples).mean()) for split in splits if len(split)}
        return {"sample_rate": self.sample_rate, "seconds": self.samples / self.sample_rate, "cut": cut}

    def find_lost(self, split: Split) -> list[str]:
        """Return whether the samples can still be read; the files are not read again."""
        problem = _samples(split).data.problem()
        return [] if problem is None else [problem]

    def write_samples(self, split: Split, rows: Rows, folder: Path) -> None:
        """Write WAV files of 32-bit floats at the model's rate, which are read back exactly: up to four windows."""
        examples = _samples(split)
        for number, row in enumerate(rows):
            samples = examples.read(int(row), count=_SAMPLE_WINDOWS * self.samples)
            (folder / f"{number:02}.wav").write_bytes(encode_wav(samples, self.sample_rate))

    def read_samples(self, folder: Path) -> Recordings:
        """Read back these files."""
        return Recordings(Files(folder, tuple(file.name for file in sorted(folder.glob("*.wav")))))

    @property
    def preprocessing(self) -> JsonObject:
        """Rate and length, how shorter recordings are padded, and how channels are averaged."""
        return {
            "kind": "audio",
            "sample_rate": self.sample_rate,
            "samples": self.samples,
            "padding": self.padding,
            "channels": "mean",
            "max_seconds": self._max_seconds,
        }

    def write_client(self, folder: Path) -> str | None:
        """Write ``inputs.py``, which decodes and resamples with soundfile and soxr."""
        shutil.copyfile(CLIENTS / "audio.py", folder / INPUTS)
        return None

    def to_raw(self, content: bytes) -> bytes:
        """Turn FLAC, OGG, MP3 or a WAV file at an unusual rate into a WAV file at the model's rate."""
        try:
            info = read_info(content)
            if (content.startswith(b"RIFF") and info.sample_rate in RATES) or not info.seconds <= self._max_seconds:
                return content
            return encode_wav(decode_recording(content, sample_rate=self.sample_rate), self.sample_rate)
        except (ValueError, DataError):  # DataError: soundfile is not installed, and the graph only reads WAV
            return content

    def decode(self, *raw: Tensor) -> Tensor:
        """Turn ``string[batch]``, the bytes of WAV files, into samples."""
        return self.decode_checked(*raw)[0]

    def decode_checked(self, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """Decode WAV files at one of the usual rates, and of at most ``max_seconds``."""
        samples, ok = decode_wavs(raw[0], sample_rate=self.sample_rate, max_seconds=self._max_seconds)
        return self._lengthen(samples), ok

    def divide_tensors(self, tensors: Mapping[str, Array]) -> list[tuple[Rows, Mapping[str, Array]]]:
        """Group recordings of similar length: each row of a batch has as many windows as the longest one."""
        ((name, samples),) = tensors.items()
        lengths = np.where(samples != 0, np.arange(1, samples.shape[1] + 1), 0).max(axis=1, initial=0)
        parts = self._divide(lengths, _MOST_WINDOWS)
        widths = [int(self._windows(lengths[rows]).max()) * self.samples for rows in parts]
        return [(rows, {name: samples[rows, :width]}) for rows, width in zip(parts, widths, strict=True)]

    def arrange(self, *tensors: Tensor) -> Tensor:
        return self._lengthen(tensors[0])

    def arrange_checked(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples as they are, and silence in place of recordings with values that are NaN or infinite."""
        ok = tf.reduce_all(tf.math.is_finite(tensors[0]), axis=1)
        return self._lengthen(tf.where(ok[:, None], tensors[0], 0.0)), ok

    def _lengthen(self, samples: Tensor) -> Tensor:
        """Pad short batches to the length of the network's input: an input cannot be empty."""
        missing = tf.maximum(self.samples - tf.shape(samples)[1], 0)
        return tf.pad(samples, [[0, 0], [0, missing]])

    def _divide(self, lengths: Rows, most: int) -> list[Rows]:
        """Rows from the shortest to the longest, in batches of up to that many windows; a single row may have more."""
        windows = self._windows(lengths)
        batches: list[list[int]] = []
        for row in np.argsort(lengths, kind="stable").tolist():
            if not batches or (len(batches[-1]) + 1) * windows[row] > most:
                batches.append([])
            batches[-1].append(row)
        return [np.array(batch, np.int64) for batch in batches]

    def _windows(self, lengths: Rows) -> Rows:
        return np.maximum(-(-lengths // self.samples), 1)

    def _gather(self, examples: Samples, rows: Rows) -> _Floats:
        """The middle of each recording."""
        starts = np.maximum(examples.lengths[rows] - self.samples, 0) // 2
        parts = (examples.read(int(row), int(start), self.samples) for row, start in zip(rows, starts, strict=True))
        return _stack([fill_up(part, self.samples, self.padding) for part in parts], self.samples)

    def _gather_whole(self, examples: Samples, rows: Rows) -> _Floats:
        """Each recording as a whole, padded to few different shapes, since JAX compiles each one."""
        size = int(self._windows(examples.lengths[rows]).max(initial=1)) * self.samples
        return _stack([fill_up(examples.read(int(row)), size, "silence") for row in rows], size)

    def _show(self, split: Split, epoch: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented recordings, and their random numbers for mixup."""
        examples = _samples(split)

        def show(epoch: int, row: int) -> tuple[_Floats, float]:
            length = int(examples.lengths[row])
            return self._augmenter.show(functools.partial(examples.read, row), length, epoch, row)

        def gather(epoch: NDArray[np.int64], rows: Rows) -> tuple[_Floats, _Floats]:
            shown = [show(int(epoch), row) for row in rows.tolist()]
            return _stack([part for part, _ in shown], self.samples), np.array([own for _, own in shown], np.float32)

        samples, numbers = tf.numpy_function(gather, [epoch, rows], [tf.float32, tf.float32], stateful=False)
        samples, numbers = tf.ensure_shape(samples, [None, self.samples]), tf.ensure_shape(numbers, [None])
        if self._function is None:
            return samples, numbers
        seed = self._augmenter.seed
        seeds = tf.map_fn(lambda row: draw_seed(seed, epoch, row), rows, fn_output_signature=tf.int32)
        return apply_to_each(self._function, samples, seeds), numbers


def choose_samples(lengths: Rows, sample_rate: int, shortest: int, longest: int | None) -> int:
    """Return the length at which 95 % of the recordings are whole, within 30 s and the limits of a backbone.

    Args:
        longest: Maximum number of samples; None if there is no bound.
    """
    step = sample_rate // _AUTO_STEPS_PER_SECOND
    whole = -(-int(np.quantile(lengths, _WHOLE_SHARE, method="inverted_cdf")) // step) * step
    most = round(_MOST_AUTO_SECONDS * sample_rate)
    return max(min(whole, most if longest is None else min(most, longest)), shortest)


def check_seconds(seconds: float | Literal["auto"], sample_rate: int, shortest: int, longest: int | None) -> None:
    """Refuse a length that a backbone does not support.

    Args:
        seconds: The value of ``data.seconds``.
        longest: Maximum number of samples; None if there is no bound.

    Raises:
        ConfigError: With the supported lengths.
    """
    if seconds == "auto":
        return
    samples = round(seconds * sample_rate)
    if samples < shortest:
        raise ConfigError(
            f"data.seconds: this backbone takes {shortest / sample_rate:g} s at least. Received: {seconds:g}. "
            "Use more, or auto; shorter recordings are padded."
        )
    if longest is not None and samples > longest:
        raise ConfigError(
            f"data.seconds: this backbone takes {longest / sample_rate:g} s at most. Received: {seconds:g}. "
            "Use less, or auto; of longer recordings, predictions are a mean over windows."
        )


def decode_split(split: Split, sample_rate: int, *, cached: bool) -> Split:
    """Return a split with samples for examples; see :func:`decode_recordings`."""
    examples = split.examples
    if isinstance(examples, Samples) and examples.sample_rate == sample_rate:
        return split
    recordings = examples.recordings if isinstance(examples, Samples) else cast(Recordings, examples)
    return split.with_examples(decode_recordings(recordings, sample_rate, cached=cached))


def _samples(split: Split) -> Samples:
    return cast(Samples, split.examples)


def _stack(parts: list[_Floats], size: int) -> _Floats:
    return np.stack(parts) if parts else np.zeros((0, size), np.float32)
