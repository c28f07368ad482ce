"""Heat maps of the evidence for outputs in recordings, over time and frequency."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.examples.samples import Samples
from keras_transfer.data.formats.recordings import read_info
from keras_transfer.data.readers.base import PLAIN, Reader
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError
from keras_transfer.explain.grad_cam import BATCH, GradCam, SequenceGradCam, finish_maps
from keras_transfer.explain.opened import OpenedModel
from keras_transfer.explain.records import EncodedAudio, EncodedImage, Explained, Shown
from keras_transfer.explain.thumbnails import blend, encode_jpeg

_NO_MAP = "No heat map: no stage of the network has a map over time."
_WIDTH, _HEIGHT = 320, 96
# Of a spectrogram: the number of frequencies, and the range below the maximum, at which it is black.
_LOWEST_HERTZ, _DECIBELS = 50.0, 80.0
_WINDOW_SECONDS = 0.032
_MOST_SECONDS = 10
_MOST_COLOUR = 0.65
_AGAINST = np.array([120.0, 190.0, 255.0])


def explain_recordings(
    opened: OpenedModel | None,
    reader: Reader,
    recordings: Examples,
    outputs: Sequence[Sequence[int]],
    count: int,
    *,
    signed: bool,
) -> list[Explained]:
    """Compute heat maps by Grad-CAM, for the part of each recording that is used in training without augmentation.

    Args:
        opened: The model; None if it could not be opened.
        signed: Whether a map includes evidence against an output.

    Returns:
        One per recording.
    """
    # A network sees a sequence, [batch, time, channels], or a spectrogram, [batch, frequency, time, channels].
    is_sequence = opened is not None and len(opened.network.input_shape) == 3
    grad_cam = None if opened is None else opened.explainer(SequenceGradCam if is_sequence else GradCam)
    explained = [_read(reader, recordings, row) for row in range(len(recordings))]
    there = [row for row, one in enumerate(explained) if one.seen is not None]
    for start in range(0, len(there), BATCH):
        rows = there[start : start + BATCH]
        samples = np.stack([np.asarray(explained[row].seen) for row in rows])
        maps = None if grad_cam is None else grad_cam.explain(samples, [outputs[row] for row in rows], count)
        if maps is None:
            continue
        if not is_sequence:  # as in an image, the lowest frequency is at the bottom
            maps = maps[:, :, ::-1].transpose(0, 1, 3, 2)
        for place, row in enumerate(rows):
            own = finish_maps(maps[: len(outputs[row]), place], (_WIDTH, _HEIGHT), signed=signed)
            explained[row] = Explained(samples[place], own)
    return explained


def _read(reader: Reader, recordings: Examples, row: int) -> Explained:
    """One recording, without maps; training has decoded its own, and other files may be missing."""
    split = Split("recordings", recordings.select([row]), np.zeros(1, np.int64), np.ones(1, np.float32))
    try:
        if not isinstance(recordings, Samples):
            split = reader.prepare(split)
        samples = np.asarray(reader.load(split, PLAIN)(np.zeros(1, np.int64)), np.float32)[0]
        return Explained(samples, problem=_NO_MAP)
    except DataError as error:
        return Explained(problem=f"It can no longer be read: {' '.join(str(error).split())}")


def to_shown(name: str, outputs: tuple[str, ...], explained: Explained, sample_rate: int) -> Shown:
    """Return an explanation for the page: a player, a spectrogram, and the spectrogram under heat maps."""
    samples = explained.seen
    if samples is None:
        return Shown(name, problem=explained.problem)
    spectrogram = make_spectrogram(samples, sample_rate)
    maps = () if explained.maps is None else explained.maps
    notes = [explained.problem] if explained.problem else []
    if len(samples) > _MOST_SECONDS * sample_rate:
        notes.append(f"The player has the first {_MOST_SECONDS} s.")
    return Shown(
        name,
        image=_draw(spectrogram),
        audio=encode_audio(samples[: _MOST_SECONDS * sample_rate], sample_rate),
        outputs=outputs,
        overlays=tuple(_draw(spectrogram, heat) for heat in maps),
        note=" ".join(notes),
    )


def show_recordings(recordings: Examples, sample_rate: int, *, most_seconds: float = 30.0) -> list[Shown]:
    """Return recordings for the page, without an explanation: a player and a spectrogram of each.

    Args:
        most_seconds: Maximum length of each recording, from its start.

    Returns:
        One per recording, in order. A missing or damaged one has a problem.
    """
    return [_show(recordings, row, sample_rate, most_seconds) for row in range(len(recordings))]


def _show(recordings: Any, row: int, sample_rate: int, most_seconds: float) -> Shown:
    name, most = recordings.names[row], int(most_seconds * sample_rate)
    try:
        samples = recordings.read(row) if isinstance(recordings, Samples) else recordings.decode(row, sample_rate)
    except (OSError, ValueError, DataError) as error:
        return Shown(name, problem=f"It can no longer be read: {' '.join(str(error).split())}")
    note = f"The player has the first {most_seconds:g} s of {len(samples) / sample_rate:.1f} s."
    heard = samples[:most]
    return Shown(
        name,
        image=_draw(make_spectrogram(heard, sample_rate)),
        audio=encode_audio(heard, sample_rate),
        note=note if len(samples) > most else "",
    )


def find_lengths(recordings: Any) -> NDArray[np.float64]:
    """Return the durations of recordings, in seconds, ``float64[recordings]``; NaN for unreadable ones.

    Args:
        recordings: For decoded ones, the duration is known; for others, headers are read.
    """
    if isinstance(recordings, Samples):
        return recordings.lengths / recordings.sample_rate
    return np.array([_find_length(recordings, row) for row in range(len(recordings))], np.float64)


def _find_length(recordings: Recordings, row: int) -> float:
    start, end = recordings.span(row)
    try:
        whole = end if np.isfinite(end) else read_info(recordings.read(row)).seconds
    except (OSError, ValueError, DataError):
        return float("nan")
    return whole - start


def make_spectrogram(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return a spectrogram of a recording for people to look at.

    Args:
        samples: ``float32[samples]``.

    Returns:
        ``float32[320, 96]`` in 0..1: time, and frequency from 50 Hz to half the rate in equal steps of the mel scale
        (O'Shaughnessy 1987). 1 is the maximum, 0 is 80 dB below it or less.
    """
    window = int(_WINDOW_SECONDS * sample_rate)
    starts = np.linspace(0, max(len(samples) - window, 0), _WIDTH).astype(np.int64)
    padded = np.pad(samples, (0, max(window - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[starts] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    mels = np.linspace(_to_mel(_LOWEST_HERTZ), _to_mel(sample_rate / 2), _HEIGHT)
    bins = 700.0 * (10.0 ** (mels / 2595.0) - 1.0) / (sample_rate / window)
    lower = np.clip(bins.astype(np.int64), 0, power.shape[1] - 2)
    share = bins - lower
    shown = power[:, lower] * (1.0 - share) + power[:, lower + 1] * share
    loudest = shown.max()
    if loudest <= 0.0:
        return np.zeros((_WIDTH, _HEIGHT), np.float32)
    decibels = 10.0 * np.log10(np.maximum(shown / loudest, 10.0 ** (-_DECIBELS / 10.0)))
    return np.asarray(decibels / _DECIBELS + 1.0, np.float32)


def _to_mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def draw_preview(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Return the spectrogram of a recording as a JPEG image.

    Args:
        samples: ``float32[samples]``.
    """
    return _draw(make_spectrogram(samples, sample_rate)).content


def encode_audio(samples: NDArray[np.float32], sample_rate: int) -> EncodedAudio:
    """Encode a recording as MP3, which every browser supports.

    Args:
        samples: ``float32[samples]`` in -1..1.
        sample_rate: In Hz; 8,000 to 48,000.
    """
    import soundfile

    with io.BytesIO() as file:
        soundfile.write(file, np.clip(samples, -1.0, 1.0), sample_rate, format="MP3", compression_level=0.7)
        return EncodedAudio(file.getvalue(), "audio/mpeg", len(samples) / sample_rate)


def _draw(spectrogram: NDArray[np.float32], heat: NDArray[np.float32] | None = None) -> EncodedImage:
    """A spectrogram in colours; under a heat map, in grey. Low frequencies are at the bottom."""
    from matplotlib import colormaps

    if heat is None:
        colours = colormaps["magma"](spectrogram)[..., :3] * 255.0
    else:
        colours = blend(255.0 * spectrogram[..., None], heat, against=_AGAINST, most=_MOST_COLOUR)
    pixels = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return encode_jpeg(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1])), quality=75)
