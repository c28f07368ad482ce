"""Decode audio files to samples, with soundfile and soxr, which the extra ``audio`` installs."""

import contextlib
import functools
import io
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.errors import DataError

Samples = NDArray[np.float32]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
"""Those of the files that are read, in the order in which they are tried."""

LARGEST = 10.0
"""Samples beyond this are on another scale: those of a recording are between -1 and 1, or a little more."""

_FORMATS = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "FLAC": "FLAC", "OGG": "OGG", "MP3": "MP3", "AIFF": "AIFF"}
# Formats that libsndfile does not support, by the bytes that they start with, after an offset.
_FOREIGN = (
    ("M4A", 4, b"ftyp"),
    ("WMA", 0, b"\x30\x26\xb2\x75"),
    ("WebM", 0, b"\x1a\x45\xdf\xa3"),
    ("AMR", 0, b"#!AMR"),
    ("AAC", 0, b"\xff\xf1"),
    ("AAC", 0, b"\xff\xf9"),
    ("MIDI", 0, b"MThd"),
)
# After a seek, lossy formats return other samples than when decoded from the start.
_FROM_THE_START = ("OGG", "MP3")
_BLOCK = 1 << 18
# Tables contain rounded times: a clip may end this much after its recording.
_ROUNDING_SECONDS = 0.01
# A decoder may return fewer samples than an MP3 promises: encoders pad the last frames, of 1,152 samples each.
_MP3_FRAMES = 2 * 1152
_MOST_FRAMES = 1 << 40
_UNKNOWN_SIZE = 0xFFFFFFFF


@dataclass(frozen=True)
class RecordingInfo:
    """The content of an audio file's header.

    Attributes:
        seconds: Duration; NaN for a stream whose header does not contain it.
        sample_rate: Samples per second, in Hz.
        channels: Number of channels.
        format: ``WAV``, ``FLAC``, ``OGG``, ``MP3`` or ``AIFF``.
    """

    seconds: float
    sample_rate: int
    channels: int
    format: str


def require_audio() -> None:
    """Check that the packages that read audio files are installed.

    Raises:
        DataError: One is not; the message has the command that installs them.
    """
    for name in ("soundfile", "soxr"):
        _import(name)


def read_info(content: bytes) -> RecordingInfo:
    """Read the header of an audio file.

    Raises:
        ValueError: It is not an audio file, or has fewer bytes than its header announces.
        DataError: A package is not installed.
    """
    with _open(content) as file:
        return _info_of(file)


def decode_recording(
    content: bytes, *, sample_rate: int, start: float | None = None, end: float | None = None
) -> Samples:
    """Decode a recording or a clip of it: its channels are averaged, and it is resampled by soxr (quality HQ).

    Args:
        content: The bytes of a WAV, FLAC, OGG (Vorbis or Opus), MP3 or AIFF file.
        start: Where the clip starts, in seconds; at the start of the recording by default.
        end: Where it ends, in seconds; at the end of the recording by default.

    Returns:
        ``float32[samples]``; full scale of the file is -1 to 1.

    Raises:
        ValueError: It cannot be decoded, or the clip is not within the recording.
        DataError: A package is not installed.
    """
    samples, rate = decode_at_own_rate(content, start=start, end=end)
    return resample(samples, rate, sample_rate)


def decode_at_own_rate(
    content: bytes, *, start: float | None = None, end: float | None = None, max_seconds: float | None = None
) -> tuple[Samples, int]:
    """Decode a recording or a clip as :func:`decode_recording` does, without resampling.

    Args:
        start: Where the clip starts, in seconds.
        end: Where it ends, in seconds.
        max_seconds: A longer recording or clip is refused, by its header if that contains the length.

    Returns:
        ``float32[samples]``, and their rate in Hz.

    Raises:
        ValueError: It cannot be decoded, is too long, or the clip is not within the recording.
        DataError: A package is not installed.
    """
    with _open(content) as file:
        return _decode(file, start, end, max_seconds), int(file.samplerate)


def decode_clips(
    content: bytes, spans: Sequence[tuple[float, float]], *, max_seconds: float | None = None
) -> tuple[list[Samples | str], int]:
    """Decode several clips of a recording as :func:`decode_at_own_rate` does; no part is decoded twice.

    Args:
        spans: Where each starts and ends, in seconds; ``inf`` is the end of the recording.

    Returns:
        The samples or the problem of each; and their rate in Hz.

    Raises:
        ValueError: The file cannot be read.
        DataError: A package is not installed.
    """
    with _open(content) as file:
        rate = int(file.samplerate)
        if len(spans) > 1 and _info_of(file).format in _FROM_THE_START:
            return _decode_in_one_pass(file, spans, max_seconds), rate
    found: list[Samples | str] = []
    for start, end in spans:
        try:
            clip = {"start": start or None, "end": None if end == math.inf else end}
            found.append(decode_at_own_rate(content, **clip, max_seconds=max_seconds)[0])
        except ValueError as error:
            found.append(str(error))
    return found, rate


def describe_too_long(seconds: float, max_seconds: float) -> str:
    """Return the problem of a recording that is longer than the recipe's limit."""
    return f"{seconds:,.1f} s, more than data.max_seconds={max_seconds:g}"


def resample(samples: Samples, sample_rate: int, to: int) -> Samples:
    """Return samples at another rate.

    Args:
        samples: ``float32[samples]``.

    Returns:
        ``float32[samples]``.
    """
    if sample_rate == to or not len(samples):
        return samples
    return np.asarray(_import("soxr").resample(samples, sample_rate, to, quality="HQ"), np.float32)


def encode_wav(samples: Samples, sample_rate: int) -> bytes:
    """Return the bytes of a WAV file with one channel of 32-bit floats, which represents samples exactly.

    Args:
        samples: ``float32[samples]``.

    Raises:
        ValueError: There are more samples than a WAV file supports.
    """
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    if len(data) + 36 > _UNKNOWN_SIZE:
        raise ValueError("more samples than a WAV file holds")
    float_format, channels, width = 3, 1, 4
    sizes = (float_format, channels, sample_rate, sample_rate * width, width, 8 * width)
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, *sizes)
    return header + struct.pack("<4sI", b"data", len(data)) + data


class _Content(io.BytesIO):
    """A file in memory; libsndfile seeks before the start of damaged files, which prints a traceback otherwise."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        raise DataError(
            f"Recordings need soundfile and soxr, and {name} is not installed. "
            "Install them with pip install 'keras-transfer[audio]'."
        ) from error


@functools.cache
def _stream_class() -> Any:
    """Files that are read sequentially: SoundFile seeks after each block, which fails if the length is unknown."""
    file_class: Any = _import("soundfile").SoundFile

    class Stream(file_class):
        def seekable(self) -> bool:
            return False

    return Stream


@contextlib.contextmanager
def _open(content: bytes) -> Iterator[Any]:
    """A ``soundfile.SoundFile``; a problem of the file is raised as a ValueError that describes it."""
    soundfile = _import("soundfile")
    if not content:
        raise ValueError("zero bytes")
    try:
        with _stream_class()(_Content(content)) as file:
            if file.format not in _FORMATS:
                raise ValueError(_unsupported(file.format))
            _check_whole(content)
            yield file
    except soundfile.LibsndfileError as error:
        raise ValueError(_explain(content, str(error.error_string))) from error


def _unsupported(name: str) -> str:
    return f"{name} is not supported; convert it to WAV or FLAC"


def _explain(content: bytes, reason: str) -> str:
    for name, offset, mark in _FOREIGN:
        if content[offset : offset + len(mark)] == mark:
            return _unsupported(name)
    is_known = content.startswith((b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM"))
    return f"damaged or cut off: {reason.rstrip('.')}" if is_known else "not a recording"


def _info_of(file: Any) -> RecordingInfo:
    is_known = 0 <= file.frames < _MOST_FRAMES
    seconds = file.frames / file.samplerate if is_known else float("nan")
    return RecordingInfo(seconds, int(file.samplerate), int(file.channels), _FORMATS[file.format])


@dataclass(frozen=True)
class _Part:
    """The frames of a clip: the first, the one after the last or None, and the maximum number to decode."""

    begin: int
    stop: int | None
    most: int

    @classmethod
    def of(cls, file: Any, start: float | None, end: float | None, max_seconds: float | None) -> "_Part":
        """Check a span by the header of its file."""
        rate = int(file.samplerate)
        begin = 0 if start is None else round(start * rate)
        stop = None if end is None else round(end * rate)
        if begin < 0 or (stop is not None and stop <= begin):
            raise ValueError(f"the clip starts at {start or 0.0:g} s and ends at {end:g} s" if end else "an empty clip")
        most = _MOST_FRAMES if max_seconds is None else int(max_seconds * rate)
        known = file.frames if file.frames < _MOST_FRAMES else begin
        length = min(known if stop is None else stop, known) - begin
        if length > most:
            raise ValueError(describe_too_long(length / rate, max_seconds or 0.0))
        return cls(begin, stop, most)

    def count(self, file: Any) -> int:
        """Return the number of frames to read; one more than the limit, to detect longer streams of unknown length."""
        left = (file.frames if self.stop is None else min(self.stop, file.frames)) - self.begin
        return min(self.most + 1, left)

    def join(self, file: Any, info: RecordingInfo, blocks: Sequence[Samples]) -> Samples:
        """Return the samples of a clip if they are complete."""
        samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        if len(samples) > self.most:
            raise ValueError(f"a stream of more than data.max_seconds={self.most / info.sample_rate:g}")
        _check_length(file, info, self.begin, self.stop, len(samples))
        return samples


def _decode(file: Any, start: float | None, end: float | None, max_seconds: float | None) -> Samples:
    """The mean of the channels between two times. Decoding in blocks bounds the memory, regardless of the header."""
    info, part = _info_of(file), _Part.of(file, start, end, max_seconds)
    _skip(file, info, part.begin)
    return part.join(file, info, list(_read_blocks(file, part.count(file))))


def _decode_in_one_pass(
    file: Any, spans: Sequence[tuple[float, float]], max_seconds: float | None
) -> list[Samples | str]:
    """Decode clips of a file in which a clip can only be read after everything before it."""
    info, parts = _info_of(file), dict[int, _Part]()
    found: list[Samples | str] = [""] * len(spans)
    for row, (start, end) in enumerate(spans):
        try:
            parts[row] = _Part.of(file, start, None if end == math.inf else end, max_seconds)
        except ValueError as error:
            found[row] = str(error)
    ends = {row: part.begin + part.count(file) for row, part in parts.items()}
    blocks: dict[int, list[Samples]] = {row: [] for row in parts}
    position = 0
    for block in _read_blocks(file, max(ends.values(), default=0)):
        for row, part in parts.items():
            first, last = max(part.begin - position, 0), min(ends[row] - position, len(block))
            if first < last:
                blocks[row].append(block[first:last].copy())
        position += len(block)
    for row, part in parts.items():
        try:
            found[row] = part.join(file, info, blocks[row])
        except ValueError as error:
            found[row] = str(error)
    return found


def _skip(file: Any, info: RecordingInfo, count: int) -> None:
    if count and info.format not in _FROM_THE_START and count <= file.frames:
        file.seek(count)
        return
    while count:
        passed = len(file.read(min(count, _BLOCK)))
        if not passed:
            return
        count -= passed


def _read_blocks(file: Any, left: int) -> Iterator[Samples]:
    while left > 0:
        block = file.read(min(left, _BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        # Sums of many channels in float64 are exact to float32.
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32)


def _check_length(file: Any, info: RecordingInfo, begin: int, stop: int | None, found: int) -> None:
    rate, frames = info.sample_rate, file.frames
    total = frames if frames < _MOST_FRAMES else begin + found
    if stop is not None and stop > total + round(_ROUNDING_SECONDS * rate):
        raise ValueError(f"the clip ends at {stop / rate:.2f} s, and the recording at {total / rate:.2f} s")
    if begin and begin >= total:
        raise ValueError(f"the clip starts at {begin / rate:.2f} s, and the recording ends at {total / rate:.2f} s")
    missing = min(total, total if stop is None else stop) - begin - found
    if missing > (_MP3_FRAMES + total // 100 if info.format == "MP3" else 0):
        raise ValueError(
            f"cut off: its header promises {total / rate:.2f} s, and it ends at {(begin + found) / rate:.2f} s"
        )


def _check_whole(content: bytes) -> None:
    """Refuse files of which libsndfile reads fewer samples than their headers announce, without an error."""
    if content[:4] in (b"RIFF", b"RF64", b"RIFX") and content[8:12] == b"WAVE":
        _check_chunks(content, b"data", "big" if content.startswith(b"RIFX") else "little")
    elif content.startswith(b"FORM"):
        _check_chunks(content, b"SSND", "big")
    elif content.startswith(b"OggS"):
        last = content.rfind(b"OggS")
        table = content[last + 27 : last + 27 + content[last + 26]] if last + 26 < len(content) else b""
        if last + 27 > len(content) or last + 27 + len(table) + sum(table) > len(content):
            raise ValueError("cut off: its last page is incomplete")


def _check_chunks(content: bytes, wanted: bytes, order: Any) -> None:
    """Compare the size of the samples in the header with the bytes that follow."""
    position = 12
    while position + 8 <= len(content):
        name, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], order)
        position += 8
        if name == wanted:
            left = len(content) - position
            if size == _UNKNOWN_SIZE:  # a stream, or RF64, whose sizes libsndfile reads from another chunk
                return
            if size > left:
                raise ValueError(f"cut off: its header promises {size:,} bytes of samples, and {left:,} are there")
            rest = content[position + size + size % 2 :]
            if len(rest) > max(size // 100, 4096) and not _is_chunk(rest, order):
                raise ValueError(
                    f"a wrong header: it promises {size:,} bytes of samples, and {left:,} are there; save it again"
                )
            return
        position += size + size % 2


def _is_chunk(content: bytes, order: Any) -> bool:
    return (
        content[:4].isascii()
        and content[:4].decode("ascii").isprintable()
        and (int.from_bytes(content[4:8], order) <= len(content) - 8)
    )
