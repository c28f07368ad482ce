"""Recordings that cannot be read: named before training, whatever is wrong with them."""

import io
import struct

import numpy as np
import pytest
import soundfile

from keras_transfer.data.checks.recordings import scan_recordings
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.formats.recordings import decode_recording, encode_wav
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)


def write(samples=NOISE, rate=RATE, **options):
    with io.BytesIO() as file:
        soundfile.write(file, samples, rate, **{"format": "WAV", **options})
        return file.getvalue()


WAV = write()
FLAC = write(format="FLAC")
OGG = write(format="OGG")


def patch(content, position, value):
    return content[:position] + value + content[position + len(value) :]


def with_size(size):
    """A WAV file whose header has another size of the samples than they have."""
    return patch(WAV, 40, struct.pack("<I", size))


def streamed(seconds):
    """A FLAC file whose header does not have its length, as streams are."""
    content = write(np.zeros(round(seconds * RATE), np.float32), format="FLAC")
    return patch(content, 21, bytes([content[21] & 0xF0, 0, 0, 0, 0]))


def split_of(folder, contents, spans=None):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    names = tuple(contents) if spans is None else tuple(contents)[:1] * len(spans)
    recordings = Recordings(Files(folder, names), spans)
    return Split("train", recordings, np.zeros(len(names), np.int64), np.ones(len(names), np.float32))


def scan(folder, contents, spans=None, **options):
    split = split_of(folder, {**contents, "good.wav": WAV}, spans)
    return scan_recordings([split], **{"broken": "skip", "max_seconds": 60.0, "memory": folder / "memory", **options})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "zero bytes", id="empty"),
        pytest.param(b"This is not a recording.\n" * 50, "not a recording", id="text"),
        pytest.param(bytes(5000), "not a recording", id="zeros"),
        pytest.param(b"\0\0\0 ftypM4A " + bytes(500), "M4A is not supported; convert it to WAV or FLAC", id="M4A"),
        pytest.param(write(format="CAF"), "CAF is not supported; convert it to WAV or FLAC", id="CAF"),
        pytest.param(WAV[: len(WAV) // 2], "cut off: its header promises 32,000 bytes of samples", id="cut WAV"),
        pytest.param(WAV[:40], "damaged or cut off", id="a header alone"),
        pytest.param(FLAC[: len(FLAC) // 2], "damaged or cut off: ", id="cut FLAC"),
        pytest.param(OGG[: len(OGG) // 2], "cut off: its last page is incomplete", id="cut Vorbis"),
        pytest.param(write(format="MP3")[:3000], "cut off: its header promises 1.00 s", id="cut MP3"),
        pytest.param(write(format="AIFF")[:9000], "cut off: its header promises", id="cut AIFF"),
        pytest.param(with_size(400_000), "cut off: its header promises 400,000 bytes", id="a header of more"),
        pytest.param(with_size(2_000), "a wrong header: it promises 2,000 bytes of samples, and 32,000", id="of less"),
        pytest.param(with_size(0), "a wrong header: it promises 0 bytes of samples", id="never finished"),
        pytest.param(write(NOISE[:0]), "0 samples", id="no samples"),
        pytest.param(encode_wav(np.append(NOISE, [np.nan, np.inf]), RATE), "2 of 16,002 samples are NaN", id="NaN"),
        pytest.param(encode_wav(NOISE * 32768, RATE), "divide them by 32768", id="whole numbers as floats"),
        pytest.param(write(np.zeros(61 * 1000), 1000), "61.0 s, more than data.max_seconds=60", id="too long"),
        pytest.param(streamed(61), "a stream of more than data.max_seconds=60", id="a stream that is too long"),
        pytest.param(
            patch(FLAC, 21, bytes([FLAC[21] | 0x0F])), "more than data.max_seconds=60", id="a header of 46 days"
        ),
    ],
)
def test_a_broken_recording_is_named(tmp_path, content, problem):
    result = scan(tmp_path, {"bad.wav": content})
    assert [line.startswith(f"{tmp_path}/bad.wav: ") and problem in line for line in result.broken] == [True], (
        result.broken
    )
    assert result.splits[0].examples.names == ("good.wav",)
    assert [(one.kind, one.example, one.split) for one in result.findings] == [("broken", "bad.wav", "train")]
    with pytest.raises(DataError, match=r"(?s)1 of 2 recordings cannot be read:\n .*bad\.wav: .*data\.broken=skip"):
        scan(tmp_path, {"bad.wav": content}, broken="error")


# What is unusual, and means one thing.
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(write(np.stack([NOISE] * 8, 1)), id="8 channels"),
        pytest.param(write(np.repeat(NOISE, 12), 192_000), id="192 kHz"),
        pytest.param(with_size(0xFFFFFFFF), id="a WAV stream"),
        pytest.param(streamed(1), id="a FLAC stream"),
        pytest.param(WAV + b"LIST" + struct.pack("<I", 4) + b"INFO", id="a chunk after the samples"),
        pytest.param(write(format="RF64"), id="RF64"),
    ],
)
def test_unusual_recordings_are_read(tmp_path, content):
    assert scan(tmp_path, {"odd.wav": content}, broken="error").broken == []
    assert len(decode_recording(content, sample_rate=RATE)) == RATE


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        pytest.param((0.8, 0.2), "the clip ends at 0.2 s, and starts at 0.8 s", id="end before start"),
        pytest.param((0.5, 0.5), "the clip ends at 0.5 s, and starts at 0.5 s", id="empty"),
        pytest.param((-0.1, 0.5), "the clip starts at -0.1 s", id="negative"),
        pytest.param((0.5, 1.5), "the clip ends at 1.50 s, and the recording at 1.00 s", id="ends after the file"),
        pytest.param((3.0, np.inf), "the clip starts at 3.00 s, and the recording ends at 1.00 s", id="after the file"),
    ],
)
def test_a_clip_outside_of_its_recording_is_named(tmp_path, span, problem):
    # A table's times are rounded: a clip may end a hundredth of a second after its recording.
    spans = np.array([(0.0, np.inf), span, (0.5, 1.005)])
    result = scan(tmp_path, {"a.wav": WAV}, spans)
    assert len(result.broken) == 1 and problem in result.broken[0]
    assert len(result.splits[0]) == 2


def test_a_long_recording_may_have_short_clips(tmp_path):
    long = write(np.zeros(100 * 1000), 1000)
    assert scan(tmp_path, {"long.wav": long}, np.array([(1.0, 2.0), (90.0, np.inf)]), max_seconds=10.0).broken == []


def test_missing_files_and_folders_are_named(tmp_path):
    split = split_of(tmp_path, {"good.wav": WAV})
    (tmp_path / "folder").mkdir()
    recordings = Recordings(Files(tmp_path, ("good.wav", "gone.wav", "folder")))
    split = Split("train", recordings, np.zeros(3, np.int64), np.ones(3, np.float32))
    result = scan_recordings([split], broken="skip", max_seconds=60.0, memory=tmp_path / "memory")
    assert [line.rpartition(": ")[2] for line in result.broken] == ["No such file or directory", "Is a directory"]


def test_a_split_of_only_broken_recordings_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no train row is left"):
        scan_recordings([split_of(tmp_path, {"a.wav": b""})], broken="skip", max_seconds=60.0, memory=tmp_path / "m")
