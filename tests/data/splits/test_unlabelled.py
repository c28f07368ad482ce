"""Texts without labels, and with labels that are not looked at."""

import json

import pandas as pd
import pytest

from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.splits.known import parse_known
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.data.splits.unlabelled import load_unlabelled, read_unlabelled_split
from keras_transfer.errors import DataError


def load(source, *, seed=0, **options):
    return load_unlabelled(TextDataConfig(source=str(source), **options), seed=seed)


def names(splits):
    return {split.name: list(split.examples.names) for split in splits}


def write(folder, texts):
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_files(tmp_path):
    files = {f"{n:02}.txt": f"text {n}" for n in range(20)}
    others = {".git/HEAD": "ref", ".hidden.txt": "no", "image.png": "no", "deep/er/a.txt": "yes"}
    splits = load(write(tmp_path, files | others))
    assert sum(map(len, splits)) == 21
    assert [len(split) for split in splits] == [13, 3, 5]
    assert sorted(name for split in splits for name in split.examples.names) == sorted([*files, "deep/er/a.txt"])
    assert names(load(tmp_path)) == names(splits) != names(load(tmp_path, seed=1))
    assert splits.train.examples.segments[0] == ("text " + str(int(splits.train.examples.names[0][:2])),)


def test_a_folder_with_splits_keeps_them(tmp_path):
    files = {f"train/{n}.txt": f"a {n}" for n in range(8)} | {f"test/{n}.txt": f"b {n}" for n in range(3)}
    splits = load(write(tmp_path, files), validation=0.25)
    assert [len(split) for split in splits] == [6, 2, 3]
    assert all(name.startswith("test/") for name in splits.test.examples.names)
    assert all(name.startswith("train/") for part in (splits.train, splits.validation) for name in part.examples.names)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_without_labels(tmp_path, suffix):
    rows = [{"body": f"text {n}", "other": n} for n in range(20)]
    if suffix == ".csv":
        pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    else:
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = load(tmp_path / f"t{suffix}", text="body", test=0.25)
    assert [len(split) for split in splits] == [12, 3, 5]
    name, (text,) = splits.test.examples.names[0], splits.test.examples.segments[0]
    assert text == f"text {int(name.removeprefix('row ')) - 1}"


@pytest.fixture
def threads(tmp_path):
    rows = [{"text": f"text {n}", "thread": n // 4, "part": ("train", "test")[n % 5 == 0]} for n in range(40)]
    pd.DataFrame(rows).to_csv(tmp_path / "threads.csv", index=False)
    return tmp_path / "threads.csv"


def rows_of(split):
    return [int(name.removeprefix("row ")) - 1 for name in split.examples.names]


def test_a_table_without_labels_is_divided_by_its_column_of_splits(threads):
    splits = load(threads, split="part", validation=0.25)
    assert rows_of(splits.test) == list(range(0, 40, 5))
    assert [len(split) for split in splits] == [24, 8, 8]


def test_groups_of_texts_without_labels_stay_together(threads):
    splits = load(threads, group="thread", test=0.2, validation=0.25)
    assert [len(split) for split in splits] == [24, 8, 8]
    homes = [{row // 4 for row in rows_of(split)} for split in splits]
    assert sum(map(len, homes)) == 10 == len(set.union(*homes))


def test_folds_of_texts_without_labels_are_the_test_rows_once_each(threads):
    folds = [rows_of(load(threads, folds=4, fold=fold).test) for fold in range(1, 5)]
    assert sorted(row for fold in folds for row in fold) == list(range(40))


def test_texts_without_labels_are_stratified_by_other_columns(threads):
    splits = load(threads, stratify=["part"], test=0.25, validation=0.0)
    assert sum(row % 5 == 0 for row in rows_of(splits.test)) == 2
    assert len(splits.test) == 10


def test_notes_on_a_labelled_source_are_not_lost_with_its_labels(tmp_path):
    write(tmp_path, {f"{label}/{n}.txt": f"{label} {n}" for label in ("ham", "spam") for n in range(10)})
    write(tmp_path, {"notes.txt": "beside the classes"})
    assert load(tmp_path).notes == load_splits(TextDataConfig(source=str(tmp_path)), seed=0).notes != ()


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_labelled_texts_are_split_as_for_a_classifier_and_lose_their_labels(tmp_path, kind):
    if kind == "folder":
        source = write(tmp_path, {f"{label}/{n}.txt": f"{label} {n}" for label in ("ham", "spam") for n in range(10)})
        options = {}
    else:
        source, options = tmp_path / "t.csv", {"label": "stars"}
        rows = [{"text": f"text {n}", "stars": 1 + n % 2} for n in range(20)]
        pd.DataFrame(rows).to_csv(source, index=False)
    splits = load(source, seed=7, **options)
    labelled = load_splits(TextDataConfig(source=str(source), **options), seed=7)
    assert names(splits) == names(labelled)
    assert splits.target.names == ("text",)
    assert {label for split in splits for label in split.targets.tolist()} == {0}


def test_sources_for_validation_and_test_need_no_labels(tmp_path):
    labelled = write(
        tmp_path / "a", {f"{label}/{n}.txt": f"{label} {n}" for label in ("ham", "spam") for n in range(9)}
    )
    loose = write(tmp_path / "b", {"x.txt": "x", "y.txt": "y"})
    splits = load(labelled, test=str(loose), validation=0.25)
    assert [len(split) for split in splits] == [13, 5, 2]
    assert splits.test.examples.names == ("x.txt", "y.txt")


def test_pairs_need_a_second_text(tmp_path):
    write(tmp_path, {f"{n}.txt": "x" for n in range(8)})
    with pytest.raises(DataError, match=r"data\.text_pair: .* has no second texts"):
        load(tmp_path, text_pair="reply")


def test_a_run_that_is_read_again_has_the_same_rows_and_later_runs_respect_them(threads):
    first = load(threads, test=0.3, seed=3)
    record = json.loads(json.dumps(first.describe()))
    config = TextDataConfig(source=str(threads), test=0.3)
    again = load_unlabelled(config, seed=4, recorded=record)
    assert {name: sorted(rows) for name, rows in names(again).items()} == {
        name: sorted(rows) for name, rows in names(first).items()
    }
    known = parse_known("run", dict.fromkeys(names(first), str(threads)), record)
    later = load_unlabelled(config, seed=5, known=known)
    assert {name: set(rows) for name, rows in names(later).items()} == {
        name: set(rows) for name, rows in names(first).items()
    }


def test_a_separate_source_needs_only_a_text_column(threads, tmp_path):
    pd.DataFrame({"text": [f"other {n}" for n in range(5)]}).to_csv(tmp_path / "other.csv", index=False)
    other = str(tmp_path / "other.csv")
    options = {"stratify": ["part"], "weight": "thread", "group": "thread", "split": None}
    splits = load(threads, test=other, **options)
    assert splits.test.examples.segments == tuple((f"other {n}",) for n in range(5))
    assert splits.train.weights.max() > 1.0 == splits.test.weights.max()
    for name in ("test", "train"):
        split = read_unlabelled_split(name, other, TextDataConfig(source=str(threads), **options))
        assert (split.name, split.examples.segments) == (name, splits.test.examples.segments)
        assert split.weights.tolist() == [1.0] * 5


def test_names_that_no_label_has_are_refused_although_labels_are_dropped(tmp_path):
    source = write(tmp_path, {f"{label}/{n}.txt": f"{label} {n}" for label in ("ham", "spam") for n in range(10)})
    with pytest.raises(DataError, match=r"data\.relabel: No row has 'hamm'\. Did you mean ham"):
        load(source, relabel={"hamm": "spam"})
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match=r"data\.classes and data\.relabel: .* has no labels\. Leave this out"):
        load(write(tmp_path / "flat", {"a.txt": "a", "b.txt": "b"}), classes=["a", "b"], relabel={"a": "b"})
