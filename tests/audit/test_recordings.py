"""What an audit finds in recordings."""

import numpy as np

from keras_transfer.audit.recordings import audit_recordings
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.formats.recordings import encode_wav
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.classes import ClassTarget

RATE = 8000
RNG = np.random.default_rng(0)


def test_an_audit_finds_what_is_wrong_with_recordings(tmp_path):
    def write(name, samples):
        (tmp_path / name).write_bytes(encode_wav(np.asarray(samples, np.float32), RATE))

    usual = {f"{number:02}.wav": RNG.uniform(-0.5, 0.5, RATE).astype(np.float32) for number in range(40)}
    odd = {
        "silent.wav": np.zeros(RATE),
        "clipped.wav": np.clip(RNG.uniform(-20, 20, RATE), -1, 1),
        "offset.wav": RNG.uniform(0.2, 0.3, RATE),
        "long.wav": RNG.uniform(-0.5, 0.5, 5 * RATE),
        "copy.wav": usual["03.wav"],
        "nearly.wav": np.rint(usual["04.wav"] * 32768) / 32768,  # as a file of 16 bits has it
        "wrong.wav": usual["05.wav"],
    }
    for name, samples in {**usual, **odd}.items():
        write(name, samples)
    names, target = (*usual, *odd), ClassTarget(("a", "b"))
    labels = np.array([int(name == "wrong.wav") for name in names])
    train = Split("train", Recordings(Files(tmp_path, names)), labels, np.ones(len(names), np.float32))
    none = train.select([])
    findings = audit_recordings(Splits(target, train, none, none), memory=tmp_path / "m")
    assert sorted((one.kind, one.example) for one in findings) == [
        ("clipped", "clipped.wav"),
        ("conflicting_labels", "05.wav"),
        ("conflicting_labels", "wrong.wav"),
        ("dc_offset", "offset.wav"),
        ("duplicate", "copy.wav"),
        ("near_duplicate", "nearly.wav"),
        ("odd_length", "long.wav"),
        ("silent", "silent.wav"),
    ]
    details = {one.kind: one.detail for one in findings}
    assert details["odd_length"] == "5.00 s; most are like 1.00 s"
    assert details["duplicate"] == "the same bytes as 03.wav (train)"
    assert details["near_duplicate"] == "the same samples as 04.wav (train)"
