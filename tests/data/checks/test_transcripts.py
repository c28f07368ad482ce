"""Transcripts that cannot be used, and those that hardly belong to their recordings."""

import numpy as np
import pytest
import soundfile

from keras_transfer.audit.recordings import audit_transcripts
from keras_transfer.data.checks.recordings import find_repeated_recordings
from keras_transfer.data.checks.transcripts import find_odd_rates, scan_transcripts
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.transcripts import TRANSCRIPTS
from keras_transfer.errors import DataError

RATE = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for number in range(60):  # of 1 to 3.95 s
        soundfile.write(folder / f"{number:02}.wav", rng.uniform(-0.3, 0.3, RATE + 50 * number), RATE)
    soundfile.write(folder / "long.wav", rng.uniform(-0.3, 0.3, 31 * RATE), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    return folder


def say(number):
    """About 12 characters per second."""
    return ("word " * 40)[: round(12 * (1 + number / 20)) + number % 3].strip()


def split_of(folder, texts, name="train"):
    recordings = Recordings(Files(folder, tuple(texts)))
    return Split(name, recordings, TRANSCRIPTS.encode(texts.values()), np.ones(len(texts), np.float32))


def scan(folder, *splits, **options):
    return scan_transcripts(splits, **{"broken": "skip", "max_seconds": 60.0, "memory": folder / "memory", **options})


USUAL = {f"{n:02}.wav": say(n) for n in range(60)}


def test_usual_transcripts_have_no_problems(folder):
    found = scan(folder, split_of(folder, USUAL))
    assert (found.broken, found.notes, found.findings) == ([], [], [])


def test_empty_and_too_long_rows_are_broken(folder):
    texts = {**USUAL, "03.wav": "", "04.wav": " \u200b", "long.wav": "word " * 70, "silent.wav": "a word here"}
    split = split_of(folder, texts)
    found = scan(folder, split)
    problems = [line.removeprefix(f"{folder}/") for line in found.broken]
    assert problems == [
        "03.wav: no transcript",
        "04.wav: no transcript",
        "long.wav: 31.0 s, more than the 30 s that the network hears at once; divide it at a pause",
    ]
    assert [(one.kind, one.example) for one in found.findings] == [
        ("empty", "03.wav"),
        ("empty", "04.wav"),
        ("broken", "long.wav"),
    ]
    assert len(found.splits[0]) == len(split) - 3
    assert len(found.splits[0].targets) == len(split) - 3
    assert found.notes == ["Silent recordings: 1, silent.wav"]
    with pytest.raises(DataError, match=r"3 of 62 transcribed recordings cannot be used:\n.*03\.wav: no transcript"):
        scan(folder, split, broken="error")
    shorter = scan(folder, split_of(folder, USUAL), seconds=2.0).broken
    assert len(shorter) == 39
    assert shorter[0].endswith("21.wav: 2.0 s, more than the 2 s that the network hears at once; divide it at a pause")


# A long test recording is transcribed window by window; a loss on a part of its transcript would mean nothing.
def test_long_recordings_are_allowed_only_in_the_test_split(folder):
    texts = {**USUAL, "long.wav": "word " * 70}
    assert scan(folder, split_of(folder, texts, "test")).broken == []
    assert len(scan(folder, split_of(folder, texts, "validation")).broken) == 1


def test_odd_transcripts_are_named(folder):
    texts = {**USUAL, "30.wav": "word " * 40, "31.wav": "word", "40.wav": "слово слово слово слово сло"}
    usual = np.median([len(text) / (1 + int(name[:2]) / 20) for name, text in texts.items()])
    assert f"{usual:.1f}" == "12.3"
    assert scan(folder, split_of(folder, texts)).notes == [
        "Transcripts that are long for their recordings (usual: 12.3 characters per second): 1, 30.wav (80.0)",
        "Transcripts that are short for their recordings (usual: 12.3 characters per second): 1, 31.wav (1.6)",
        "Transcripts in another script than most (usual: Latin): 1, 40.wav (Cyrillic)",
    ]
    splits = Splits(
        TRANSCRIPTS,
        *(
            split_of(folder, own, name)
            for own, name in (
                (dict(list(texts.items())[:50]), "train"),
                (dict(list(texts.items())[50:]), "validation"),
                ({}, "test"),
            )
        ),
    )
    found = {(one.kind, one.example): one for one in audit_transcripts(splits, memory=folder / "memory")}
    assert set(found) == {("odd_rate", "30.wav"), ("odd_rate", "31.wav"), ("script", "40.wav")}
    assert found["odd_rate", "30.wav"].detail == "80.0 characters per second; most have about 12.3"
    assert found["script", "40.wav"].detail == "Cyrillic; most texts are in Latin"
    assert found["odd_rate", "31.wav"].label == "word"


def test_names_of_speakers_are_suspected(folder):
    notes = scan(folder, split_of(folder, {name: f"speaker {int(name[:2]) % 3}" for name in USUAL})).notes
    assert "Only 3 different transcripts of 60 recordings: is data.label the column of transcripts?" in notes


def test_shifted_rows_are_suspected(folder):
    order = np.random.default_rng(1).permutation(60)
    texts = {f"{n:02}.wav": say(order[n]) for n in range(60)}
    (note,) = [line for line in scan(folder, split_of(folder, texts)).notes if "Long recordings" in line]
    assert "does each row have the transcript of its own recording?" in note


@pytest.mark.parametrize(
    ("lengths", "odd"),
    [
        pytest.param([10] * 9 + [100], [], id="all others alike, no measure"),
        pytest.param([9, 10, 11] * 6 + [40], [18], id="far"),
        pytest.param([9, 10, 11] * 6 + [15], [], id="less than twice"),
        pytest.param([8, 10, 12] * 2 + [99], [], id="few rows"),
        pytest.param([9, 10, 11] * 6 + [60] * 4, [], id="many"),
    ],
)
def test_a_rate_is_odd_if_few_are_far_from_most(lengths, odd):
    assert list(find_odd_rates(lengths, [1.0] * len(lengths))) == odd


# The same sentence by another speaker is not a leak.
def test_the_same_recording_in_two_splits_is_a_leak(folder):
    train, test = (
        split_of(folder, {"00.wav": "same", "01.wav": "one"}),
        split_of(folder, {"02.wav": "same", "01.wav": "two"}, "test"),
    )
    found = find_repeated_recordings([train, test], memory=folder / "memory")
    assert found.record == {"test in train": {"exact": 1, "same_file": 0, "pairs": [["01.wav", "01.wav"]]}}
