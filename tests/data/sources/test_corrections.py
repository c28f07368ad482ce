import json

import pandas as pd
import pytest

from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.data.checks.findings import Finding, read_findings, sort_findings, write_findings
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.data.splits.unlabelled import load_unlabelled
from keras_transfer.errors import DataError


@pytest.fixture
def table(tmp_path):
    """``table("a.csv", 40)``: texts of two classes in turn; those of one table are not those of another."""

    def write(name, rows=40, **columns):
        texts = [f"{name} {number}" for number in range(rows)]
        labels = ["bad" if number % 2 else "good" for number in range(rows)]
        pd.DataFrame({"text": texts, "label": labels, **columns}).to_csv(tmp_path / name, index=False)
        return str(tmp_path / name)

    return write


@pytest.fixture
def lines(tmp_path):
    def write(name, *lines):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(tmp_path / name)

    return write


def labels_of(splits):
    return {
        name: splits.target.decode(row)
        for split in splits
        for name, row in zip(split.examples.names, split.targets, strict=True)
    }


def test_findings_are_read_as_they_were_written(tmp_path):
    findings = [
        Finding("outlier", "a, b\nc.png", "test", "cat", 'far "away"', 0.5),
        Finding("suspicious_label", "d.png", "train", '["x"]', "p", 0.25, '["y"]'),
        Finding("few_rows", label="rare", detail="3 rows"),
    ]
    write_findings(tmp_path / "audit.csv", findings)
    assert read_findings(tmp_path / "audit.csv") == findings
    assert [one.kind for one in sort_findings(findings)] == ["suspicious_label", "few_rows", "outlier"]


def test_rows_are_left_out_before_splits_are_drawn(table, tmp_path):
    write_findings(
        tmp_path / "audit.csv",
        [
            Finding("duplicate", "row 3", "test"),
            Finding("outlier", "row 3", "test"),
            Finding("empty", "row 40"),
            Finding("few_rows", label="bad"),
        ],
    )
    config = TextDataConfig(source=table("a.csv"), exclude=tmp_path / "audit.csv", test=0.25)
    splits = load_splits(config, seed=0)
    left = set(labels_of(splits))
    assert left == {f"row {number}" for number in range(1, 41)} - {"row 3", "row 40"}
    assert len(splits.test) == 10  # a quarter of 38 rows, rounded up
    assert splits.describe()["corrections"] == {"excluded": {"train": ["row 3", "row 40"]}, "relabelled": {}}
    assert "data.exclude: 2 of 40 rows are left out" in splits.notes
    assert "corrections" not in load_splits(config.model_copy(update={"exclude": None}), seed=0).describe()


@pytest.mark.parametrize(
    ("settings", "column", "changed", "expected"),
    [
        pytest.param({}, {}, "bad", "bad", id="class"),
        pytest.param(
            {"classes": ["good", "bad", "new"], "validation": 0.0, "test": 0.0},
            {},
            "new",
            "new",
            id="a class that data.classes lists",
        ),
        pytest.param(
            {"target": "multilabel", "separator": "|"},
            {"label": ["a|b", "b", "c", "a"] * 10},
            '["a"]',
            ["a"],
            id="labels as JSON",
        ),
        pytest.param(
            {"target": "multilabel", "separator": "|"},
            {"label": ["a|b", "b", "c", "a"] * 10},
            "b|a",
            ["a", "b"],
            id="labels",
        ),
        pytest.param(
            {"target": "multilabel", "separator": "|"}, {"label": ["a|b", "b", "c", "a"] * 10}, "", [], id="no label"
        ),
        pytest.param({"target": "number"}, {"label": [1.5, 2.0] * 20}, "7.25", [7.25], id="number"),
    ],
)
def test_rows_get_other_labels(table, tmp_path, settings, column, changed, expected):
    fixed = tmp_path / "fixed.csv"
    pd.DataFrame({"example": ["row 1"], "label": [changed]}).to_csv(fixed, index=False)
    config = TextDataConfig(source=table("a.csv", **column), relabel=str(fixed), **settings)
    plain = labels_of(load_splits(config.model_copy(update={"relabel": {}, "classes": None}), seed=0))
    splits = load_splits(config, seed=0)
    assert labels_of(splits) == {**plain, "row 1": expected}
    # A run is read again with what it recorded, whatever has become of the file.
    record = json.loads(json.dumps(splits.describe()))
    fixed.unlink()
    again = load_splits(config, seed=0, recorded=record)
    assert [split.fingerprint(again.target) for split in again] == [split.fingerprint(again.target) for split in splits]


def test_a_class_whose_last_row_gets_another_label_is_removed(table, lines):
    config = TextDataConfig(
        source=table("a.csv", label=["good", "bad"] * 19 + ["goood", "bad"]),
        relabel=lines("fixed.csv", "example,label", "row 39,good"),
    )
    assert load_splits(config, seed=0).target.names == ("bad", "good")


def test_rows_of_several_sources(table, lines):
    source, test = table("a.csv", 40), table("b.csv", 8)
    exclude = lines("audit.csv", "example,split", "row 1,test", "row 2,train", "row 9,test", "row 12,validation")
    config = TextDataConfig(source=source, test=test, exclude=exclude)
    splits = load_splits(config, seed=0)
    assert sorted(splits.test.examples.names) == [f"row {number}" for number in range(2, 9)]
    assert len(splits.train) + len(splits.validation) == 37
    assert {"row 2", "row 9", "row 12"} & {*splits.train.examples.names, *splits.validation.examples.names} == set()
    unlabelled = load_unlabelled(config, seed=0)
    assert [split.examples.names for split in unlabelled] == [split.examples.names for split in splits]
    unclear = config.model_copy(update={"exclude": lines("names.csv", "example", "row 1")})
    with pytest.raises(DataError, match=r"names 1 rows that are in two sources:\n  row 1 of .*a.csv and of .*b.csv"):
        load_splits(unclear, seed=0)


def test_rows_of_a_folder_next_to_a_table_with_custom_columns(lines, tmp_path):
    pd.DataFrame({"body": [f"text {n}" for n in range(20)], "stars": ["good", "bad"] * 10}).to_csv(tmp_path / "a.csv")
    for label in ("good", "bad"):
        (tmp_path / "held_out" / label).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "held_out" / label / f"{number}.txt").write_text(f"{label} {number}")
    exclude = lines("audit.csv", "example,split", "good/0.txt,test", "row 1,train")
    config = TextDataConfig(
        source=str(tmp_path / "a.csv"), text="body", label="stars", test=str(tmp_path / "held_out"), exclude=exclude
    )
    splits = load_splits(config, seed=0)
    assert splits.test.examples.names == ("bad/0.txt", "bad/1.txt", "good/1.txt")
    assert len(splits.train) + len(splits.validation) == 19


def test_images_are_left_out_and_relabelled(images, lines):
    exclude = lines("audit.csv", "example", "cat/000.png", "dog/001.jpg")
    fixed = lines("fixed.csv", "example,label", "cat/002.png,dog", "cat/000.png,dog")
    config = ImageDataConfig(source=str(images), exclude=exclude, relabel=fixed)
    splits = load_splits(config, seed=0)
    labels = labels_of(splits)
    assert len(labels) == 30
    assert labels["cat/002.png"] == "dog"
    assert splits.corrections.to_json()["relabelled"] == {"train": {"cat/002.png": "dog"}}
