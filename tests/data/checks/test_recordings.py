"""What a scan reports of recordings, what it caches, and which recordings are in two splits."""

import io

import numpy as np
import pytest
import soundfile

from keras_transfer.data.checks import recording_measures
from keras_transfer.data.checks.recording_measures import measure_recordings
from keras_transfer.data.checks.recordings import find_repeated_recordings, scan_recordings
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.formats.recordings import encode_wav
from keras_transfer.data.splits.splits import Split

RATE = 8000
RNG = np.random.default_rng(0)


def noise(seconds=0.5):
    return RNG.uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def write(folder, name, samples, **options):
    if options:
        with io.BytesIO() as file:
            soundfile.write(file, samples, RATE, **options)
            content = file.getvalue()
    else:
        content = encode_wav(samples, RATE)
    (folder / name).write_bytes(content)


def split_of(folder, name, files, spans=None):
    rows = len(files)
    recordings = Recordings(Files(folder, tuple(files)), spans)
    return Split(name, recordings, np.zeros(rows, np.int64), np.ones(rows, np.float32))


def test_a_scan_names_recordings_that_are_probably_useless(tmp_path):
    write(tmp_path, "good.wav", noise())
    write(tmp_path, "silent.wav", noise() * 1e-3)
    # A sine of three times full scale is cut for 1 - 2/pi * asin(1/3) = 78 % of the time.
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    write(tmp_path, "clipped.wav", np.clip(3 * sine, -1, 1))
    write(tmp_path, "loud.wav", sine)  # reaches full scale, and is not cut
    write(tmp_path, "offset.wav", 0.1 + 0.01 * noise())
    write(tmp_path, "short.wav", noise(0.02))
    write(tmp_path, "out of phase.wav", np.stack([noise()] * 2, 1) * [1, -1], format="WAV", subtype="FLOAT")
    names = sorted(file.name for file in tmp_path.iterdir())
    scan = scan_recordings([split_of(tmp_path, "train", names)], broken="error", max_seconds=60, memory=tmp_path / "m")
    assert list(scan.notes) == [
        "Silent recordings: 2, out of phase.wav, silent.wav",
        "Clipped recordings, which reach full scale: 1, clipped.wav",
        "Recordings with a DC offset: 1, offset.wav",
        "Recordings of less than 0.05 s: 1, short.wav",
    ]
    [clipped] = measure_recordings(Recordings(Files(tmp_path, ("clipped.wav",))), memory=tmp_path / "m")
    assert clipped.clipped == pytest.approx(1 - 2 / np.pi * np.arcsin(1 / 3), abs=0.01)
    assert clipped.peak == 1.0 and clipped.seconds == 1.0
    [good] = measure_recordings(Recordings(Files(tmp_path, ("good.wav",))), memory=tmp_path / "m")
    assert good.level == pytest.approx(0.5 / 3**0.5, rel=0.05)  # of a uniform distribution


def test_a_recording_is_decoded_once_and_again_if_it_changes(tmp_path, monkeypatch):
    decoded = []

    def count(content, spans, **options):
        decoded.extend(spans)
        return decode(content, spans, **options)

    decode = recording_measures.decode_clips
    monkeypatch.setattr(recording_measures, "decode_clips", count)
    for name in ("a.wav", "b.wav"):
        write(tmp_path, name, noise())
    spans = np.array([(0.0, np.inf), (0.0, 0.2), (0.0, np.inf)])

    def measure():
        return measure_recordings(
            Recordings(Files(tmp_path, ("a.wav", "a.wav", "b.wav")), spans), memory=tmp_path / "m"
        )

    first = measure()
    assert len(decoded) == 3
    assert measure() == first and len(decoded) == 3
    write(tmp_path, "b.wav", noise(0.3))
    assert measure()[2].seconds == 0.3 and len(decoded) == 4


def test_recordings_in_two_splits_are_found_in_any_format(tmp_path):
    sound = (noise() * 32767).astype(np.int16)
    write(tmp_path, "a.wav", sound, format="WAV", subtype="PCM_16")
    write(tmp_path, "b.flac", sound, format="FLAC", subtype="PCM_16")
    write(tmp_path, "other.wav", noise())
    splits = [split_of(tmp_path, "train", ["a.wav"]), split_of(tmp_path, "test", ["other.wav", "b.flac"])]
    repeated = find_repeated_recordings(splits, memory=tmp_path / "m")
    assert repeated.record == {"test in train": {"exact": 1, "same_file": 0, "pairs": [["b.flac", "a.wav"]]}}
    assert repeated.lines == ("1 recording of test is also in train, for example b.flac of test and a.wav of train",)


def test_clips_of_one_file_in_two_splits_are_a_leak(tmp_path):
    write(tmp_path, "a.wav", noise(2.0))
    write(tmp_path, "b.wav", noise(2.0))
    train = split_of(tmp_path, "train", ["a.wav", "b.wav"], np.array([(0.0, 0.5), (0.0, 1.0)]))
    test = split_of(tmp_path, "test", ["a.wav", "a.wav"], np.array([(0.5, 1.0), (1.0, np.inf)]))
    apart = split_of(tmp_path, "validation", [], np.zeros((0, 2)))
    [line] = find_repeated_recordings([train, apart, test], memory=tmp_path / "m").lines
    assert line == (
        "2 recordings of test are also in train as other clips of the same files; data.group keeps those of a file "
        "together, for example a.wav 0.50-1.00 s of test and a.wav 0.00-0.50 s of train"
    )
