"""Transcribed recordings that cannot be learned from: refused with what is wrong, or named before training."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from keras_transfer.config.data import SpeechDataConfig
from keras_transfer.data.checks.transcripts import scan_transcripts
from keras_transfer.data.formats.recordings import encode_wav
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.errors import DataError

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, RATE).astype(np.float32)
CLIP = {"start": "from", "end": "to"}


def write(samples=NOISE):
    with io.BytesIO() as file:
        soundfile.write(file, samples, RATE, format="WAV")
        return file.getvalue()


WAV = write()


@pytest.fixture
def load(tmp_path):
    """Reads a table of eight good rows and others, and scans it."""

    def load(*rows, contents=None, broken="skip", **options):
        good = [{"path": f"good{n}.wav", "text": f"good sentence {n}", "from": n / 20, "to": 1.0} for n in range(8)]
        files = {row["path"]: WAV for row in good} | (contents or {})
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        table = pd.DataFrame([*good, *rows])
        table.to_json(tmp_path / "table.jsonl", orient="records", lines=True)
        config = SpeechDataConfig(source=str(tmp_path / "table.jsonl"), validation=0.0, test=0.0, **options)
        splits = load_splits(config, seed=0)
        return scan_transcripts(tuple(splits), broken=broken, max_seconds=60.0, memory=tmp_path / "memory")

    return load


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "zero bytes", id="zero bytes"),
        pytest.param(b"a transcript\n" * 99, "not a recording", id="text"),
        pytest.param(WAV[: len(WAV) // 2], "cut off", id="cut"),
        pytest.param(write(NOISE[:0]), "0 samples", id="no samples"),
        pytest.param(encode_wav(np.append(NOISE, np.nan), RATE), "NaN or infinite", id="NaN"),
        pytest.param(write(np.tile(NOISE, 61)), "61.0 s, more than data.max_seconds=60", id="too long to decode"),
        pytest.param(write(np.tile(NOISE, 31)), "31.0 s, more than the 30 s that the network hears", id="too long"),
    ],
)
def test_broken_recordings_are_named_as_for_classes(load, content, problem):
    row = {"path": "bad.wav", "text": "what was said"}
    (line,) = load(row, contents={"bad.wav": content}).broken
    assert line.partition("bad.wav: ")[2].startswith(problem) or problem in line
    with pytest.raises(DataError, match=r"(?s)1 of 9 transcribed recordings cannot be used:.*data\.broken=skip"):
        load(row, contents={"bad.wav": content}, broken="error")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        pytest.param({"text": "no path"}, "column 'path' is empty in 1 rows: row 9", id="no path"),
        pytest.param({"path": "  ", "text": "blank"}, "column 'path' is empty in 1 rows: row 9", id="blank path"),
        pytest.param({"path": "gone.wav", "text": "gone"}, "gone.wav", id="no file"),
        pytest.param({"path": "good1.wav", "text": "again"}, "names 1 recordings twice: good1.wav", id="twice"),
        pytest.param({"path": "x.wav", "text": 17}, "not transcripts (number): 17 in row 9", id="a number"),
        pytest.param({"path": "x.wav", "text": ["a"]}, "not transcripts (list): ['a'] in row 9", id="a list"),
    ],
)
def test_invalid_rows_are_refused(load, row, problem):
    with pytest.raises(DataError) as caught:
        load(row, contents={"x.wav": WAV})
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        pytest.param({"from": 0.8, "to": 0.2}, "the clip ends at 0.2 s, and starts at 0.8 s", id="end before start"),
        pytest.param({"from": 0.5, "to": 9.0}, "the clip ends at 9.00 s, and the recording at 1.00 s", id="after it"),
    ],
)
def test_clips_outside_of_their_recordings_are_named(load, span, problem):
    (line,) = load({"path": "bad.wav", "text": "said", **span}, contents={"bad.wav": WAV}, **CLIP).broken
    assert problem in line


def test_times_that_are_not_seconds_are_refused(load):
    with pytest.raises(DataError, match=r"column 'from' has values that are not seconds: '0:01' \(text\) in row"):
        load({"path": "bad.wav", "text": "said", "from": "0:01", "to": 1.0}, contents={"bad.wav": WAV}, **CLIP)


# What is odd may be right: it is named, and stays.
def test_a_transcript_in_another_script_is_named(load):
    many = {f"more{n}.wav": WAV for n in range(20)}
    rows = [{"path": name, "text": f"usual words {name[4]}"} for name in many]
    found = load(*rows, {"path": "other.wav", "text": "обычные слова"}, contents={**many, "other.wav": WAV})
    assert found.broken == []
    assert found.notes[-1] == "Transcripts in another script than most (usual: Latin): 1, other.wav (Cyrillic)"


def test_an_empty_transcript_is_an_error_unless_it_is_skipped(load):
    row = {"path": "mute.wav", "text": None}
    assert [line.partition("mute.wav: ")[2] for line in load(row, contents={"mute.wav": WAV}).broken] == [
        "no transcript"
    ]
    dots = {"path": "dots.wav", "text": "... ?!"}
    assert load(dots, contents={"dots.wav": WAV}).broken == []
    assert len(load(dots, contents={"dots.wav": WAV}, normalization="words").broken) == 1


HEADER = "client_id\tpath\tsentence\n"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param({"test.tsv": HEADER}, "has test.tsv, but neither train.tsv nor validated.tsv", id="test alone"),
        pytest.param({"train.tsv": HEADER}, "has no rows", id="no rows"),
        pytest.param({"train.tsv": ""}, "has no column 'path'. Columns: none", id="nothing"),
        pytest.param({"train.tsv": HEADER + "a\tx.wav\tb\tc\n"}, "line 2 has 4 fields, but the header has 3", id="tab"),
        pytest.param({"train.tsv": HEADER + "a\ty.wav\tb\n"}, "y.wav", id="no clip"),
        pytest.param({"train.tsv": HEADER + "a\tx.wav\t\udce9t\udce9\n"}, "is not UTF-8 in 1 rows: row 1", id="cp1252"),
        pytest.param(
            {"train.tsv": HEADER + "a\tx.wav\tb\n", "dev.tsv": HEADER + "a\tx.wav\tb\n"}, "twice: x.wav", id="leak"
        ),
    ],
)
def test_tables_of_common_voice_that_cannot_be_read(tmp_path, files, problem):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "x.wav").write_bytes(WAV)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as caught:
        load_splits(SpeechDataConfig(source=str(tmp_path)), seed=0)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "has no rows", id="no lines"),
        pytest.param(b"19-1-0000 SAID\n19-1-0007 GONE\n", "19-1-0007", id="no recording"),
        pytest.param(b"19-1-0000 \xe9t\xe9\n", "is not UTF-8 in 1 rows: row 1", id="cp1252"),
        pytest.param(b"19-1-0000\n", "has no transcripts", id="an ID alone"),
    ],
)
def test_transcripts_of_librispeech_that_cannot_be_read(tmp_path, content, problem):
    chapter = tmp_path / "19" / "1"
    chapter.mkdir(parents=True)
    (chapter / "19-1-0000.wav").write_bytes(WAV)
    (chapter / "19-1.trans.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_splits(SpeechDataConfig(source=str(tmp_path)), seed=0)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["talk.wav", "empty"])
def test_a_source_without_a_table_or_transcripts_is_refused(tmp_path, name):
    (tmp_path / "talk.wav").write_bytes(WAV)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"unknown format|without transcripts\. Expected a table"):
        load_splits(SpeechDataConfig(source=str(tmp_path / name)), seed=0)


def test_keys_of_tables_are_refused_in_a_known_layout(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "x.wav").write_bytes(WAV)
    (tmp_path / "train.tsv").write_text(HEADER + "a\tx.wav\tb\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"data\.root: .* is a folder of Common Voice, which has its own tables of paths"
    ):
        load_splits(SpeechDataConfig(source=str(tmp_path), root="elsewhere"), seed=0)
    shutil.rmtree(tmp_path / "clips")
    with pytest.raises(DataError, match=r"without transcripts"):
        load_splits(SpeechDataConfig(source=str(tmp_path)), seed=0)
