"""Transcripts as targets: read, divided, recorded, restored and corrected."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from keras_transfer.config.data import SpeechDataConfig
from keras_transfer.data.splits.known import parse_known
from keras_transfer.data.splits.splits import load_splits, read_split
from keras_transfer.errors import DataError

TEXTS = [f"Sentence  number {n}." for n in range(20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for number in range(20):
        soundfile.write(folder / f"{number:02}.wav", rng.uniform(-0.3, 0.3, 1600 + number), 16000)
    table = pd.DataFrame(
        {
            "path": [f"{n:02}.wav" for n in range(20)],
            "text": TEXTS,
            "speaker": [f"s{n % 5}" for n in range(20)],
            "weight": [1 + n % 3 for n in range(20)],
            "number": range(20),
        }
    )
    table.to_csv(folder / "table.csv", index=False)
    return folder


def config(folder, **options):
    return SpeechDataConfig(source=str(folder / "table.csv"), **options)


def test_targets_are_normalized_transcripts(folder):
    splits = load_splits(config(folder), seed=0)
    assert splits.train.targets.dtype == object
    assert [len(split) for split in splits] == [13, 3, 4]
    for split in splits:
        expected = [f"Sentence number {int(Path(name).stem)}." for name in split.examples.names]
        assert split.targets.tolist() == expected
    assert splits.target.names == ("text",)
    assert any("data.normalization=whitespace changes 20 of 20" in note for note in splits.notes)
    words = load_splits(config(folder, normalization="words"), seed=0)
    assert words.train.targets[0] == splits.train.targets[0].lower().removesuffix(".")
    assert words.train.fingerprint(words.target) != splits.train.fingerprint(splits.target)


def test_a_run_that_is_read_again_has_the_same_rows_and_transcripts(folder):
    section = config(folder, group="speaker", weight="weight", validation=0.2)
    splits = load_splits(section, seed=3)
    record = json.loads(json.dumps(splits.describe()))
    assert record["transcript_names"] == ["text"]
    assert record["splits"]["train"]["words"] == 3 * len(splits.train)
    again = load_splits(section, seed=99, recorded=record)
    assert [split.fingerprint(again.target) for split in again] == [
        record["splits"][split.name]["fingerprint"] for split in again
    ]
    assert [value for _, value in record["splits"]["test"]["rows"]] == again.test.targets.tolist()
    speakers = [set(split.groups) for split in splits]
    assert not speakers[0] & speakers[2]
    assert set(splits.train.weights.tolist()) == {1.0, 2.0, 3.0}


# A network must not be tested on what the network that it started from was trained on.
def test_rows_of_an_earlier_run_keep_their_splits(folder):
    first = load_splits(config(folder), seed=0)
    known = parse_known("run", dict.fromkeys(("train", "validation", "test"), "t"), first.describe())
    second = load_splits(config(folder), seed=1, known=known)
    assert set(second.train.examples.names) == set(first.train.examples.names)
    assert load_splits(config(folder), seed=1).train.examples.names != first.train.examples.names


def test_each_row_is_a_test_row_of_one_fold(folder):
    for options in ({}, {"group": "speaker"}):
        folds = [load_splits(config(folder, folds=4, fold=n, **options), seed=0) for n in range(1, 5)]
        tested = [name for splits in folds for name in splits.test.examples.names]
        assert sorted(tested) == [f"{n:02}.wav" for n in range(20)]


def test_a_table_of_corrections_has_new_transcripts(folder):
    file = folder / "fixed.csv"
    file.write_text('example,label\n03.wav," What was\tsaid "\n', encoding="utf-8")
    splits = load_splits(config(folder, relabel=str(file), validation=0.0, test=0.0), seed=0)
    assert splits.train.targets[3] == "What was said"
    assert (
        load_splits(config(folder, validation=0.0, test=0.0), seed=0, recorded=splits.describe()).train.targets[3]
        == "What was said"
    )
    file.write_text("example,label\n03.wav,  \n", encoding="utf-8")
    with pytest.raises(DataError, match=r"has no transcript for 03\.wav"):
        load_splits(config(folder, relabel=str(file)), seed=0)


def test_a_run_is_evaluated_on_another_source(folder):
    target = load_splits(config(folder), seed=0).target
    split = read_split("other", str(folder / "table.csv"), config(folder, group="speaker"), target)
    assert len(split) == 20
    assert split.targets[7] == "Sentence number 7."


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        pytest.param(["a", 5, ["b"]], r"not transcripts \(list, number\): 5 in row 2, \['b'\] in row 3", id="others"),
        pytest.param(["a", "b\udce9", "c"], r"is not UTF-8 in 1 rows: row 2", id="wrong bytes"),
        pytest.param([None, " ", "\n"], r"has no transcripts: the column of data\.label is empty", id="all empty"),
    ],
)
def test_a_column_of_other_values_is_named(folder, texts, problem):
    table = pd.DataFrame(
        {"path": [str(folder / f"{n:02}.wav") for n in range(3)], "text": pd.Series(texts, dtype=object)}
    )
    section = SpeechDataConfig(source="<python: x>")
    with pytest.raises(DataError, match=problem):
        load_splits(section, seed=0, given={"<python: x>": table})


def test_a_split_without_any_transcript_is_refused(folder):
    table = pd.read_csv(folder / "table.csv").assign(split=["train"] * 10 + ["test"] * 10)
    table.loc[10:, "text"] = None
    section = SpeechDataConfig(source="<python: x>", split="split", root=str(folder))
    with pytest.raises(DataError, match="The test split has 10 rows, and none has a transcript"):
        load_splits(section, seed=0, given={"<python: x>": table})
