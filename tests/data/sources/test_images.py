import json
import os
import shutil

import pandas as pd
import pytest

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.sources.find import read_source
from keras_transfer.errors import DataError


def read(source, **options):
    return read_source(str(source), ImageDataConfig(source=str(source), **options))


def write_table(file, rows):
    table = pd.DataFrame(rows)
    if file.suffix == ".csv":
        table.to_csv(file, index=False)
    elif file.suffix == ".parquet":
        table.to_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_folder_refuses_keys_that_name_columns(make_images, tmp_path):
    root = make_images(tmp_path / "p", {"dog": 2, "cat": 3})
    with pytest.raises(DataError, match=r"data\.path and data\.label: only tables have columns, and .* is a folder"):
        read(root, path="file", label="animal")
    # They may be for another source of the same recipe.
    assert len(read(root, label="animal", test="held_out.csv").rows) == 5


def test_a_folder_gives_one_row_per_image_in_a_fixed_order(make_images, tmp_path):
    root = make_images(tmp_path / "p", {"dog": 2, "cat": 3})
    source = read(root)
    assert source.class_names == ("cat", "dog")
    assert source.root == root
    assert source.rows["path"].tolist() == [
        "cat/000.png",
        "cat/001.jpg",
        "cat/002.png",
        "dog/000.png",
        "dog/001.jpg",
    ]
    assert source.rows["label"].tolist() == ["cat"] * 3 + ["dog"] * 2
    assert set(source.rows["split"]) == {""}


def test_a_folder_reads_images_from_subfolders_and_ignores_hidden_ones(make_images, tmp_path):
    root = make_images(tmp_path / "p", {"cat": 1, "dog": 1})
    make_images(root / "cat", {"session 1": 1})
    for hidden in (root / ".git", root / "__MACOSX", root / "cat" / ".thumbnails"):
        hidden.mkdir()
        (hidden / "000.png").write_bytes(b"x")
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "notes.txt").write_text("not a class")
    assert read(root).rows["path"].tolist() == ["cat/000.png", "cat/session 1/000.png", "dog/000.png"]


def test_folder_with_train_validation_and_test_keeps_them_apart(make_images, tmp_path):
    root = tmp_path / "p"
    for number, name in enumerate(("train", "validation", "test"), start=1):
        make_images(root / name, {"cat": number, "dog": number})
    source = read(root)
    assert source.class_names == ("cat", "dog")
    assert source.rows["split"].value_counts().to_dict() == {"train": 2, "validation": 4, "test": 6}
    assert all(
        path.split("/")[0] == split for path, split in zip(source.rows["path"], source.rows["split"], strict=True)
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".CSV"])
def test_a_table_with_custom_column_names_and_further_columns(images, suffix):
    rows = [
        {"file": f"{animal}/{number:03}.{'jpg' if number % 2 else 'png'}", "animal": animal, "site": f"s{number % 3}"}
        for animal in ("dog", "cat")
        for number in range(4)
    ]
    file = write_table(images / f"table{suffix.lower()}", rows)
    file = file.rename(file.with_suffix(suffix))
    source = read(file, path="file", label="animal", stratify=["label", "site"])
    assert source.root == images
    assert source.class_names == ("cat", "dog")
    assert source.rows["path"].tolist() == sorted(row["file"] for row in rows)
    by_path = {row["file"]: row for row in rows}
    for path, label, site in zip(source.rows["path"], source.rows["label"], source.rows["site"], strict=True):
        assert (label, site) == (by_path[path]["animal"], by_path[path]["site"])


def test_a_table_accepts_absolute_paths(images, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rows = [{"path": str(images / name / "000.png"), "label": name} for name in ("cat", "dog")]
    source = read(write_table(elsewhere / "t.csv", rows))
    assert [(source.root / path).is_file() for path in source.rows["path"]] == [True, True]


def test_labels_of_a_csv_are_read_verbatim(images):
    names = ["007", "NA", "None", "1.0", "True"]
    lines = [f"cat/00{number}.{'jpg' if number % 2 else 'png'},{name}" for number, name in enumerate(names)]
    file = images / "t.csv"
    file.write_text("path,label\n" + "\n".join(lines), encoding="utf-8")
    source = read(file)
    assert source.rows["label"].tolist() == names
    assert source.class_names == ("007", "1.0", "NA", "None", "True")


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0]])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_whole_numbers_as_labels_become_class_names(images, suffix, labels):
    rows = [{"path": "cat/000.png", "label": labels[0]}, {"path": "dog/000.png", "label": labels[1]}]
    expected = ("0.0", "1.0") if suffix == ".csv" and isinstance(labels[0], float) else ("0", "1")
    assert read(write_table(images / f"t{suffix}", rows)).class_names == expected


def test_a_column_with_a_default_name_does_not_replace_the_configured_one(images):
    rows = [
        {"file": f"{name}/000.png", "path": "nonsense", "class": name, "label": "wrong", "split": "train"}
        for name in ("cat", "dog")
    ]
    source = read(write_table(images / "t.csv", rows), path="file", label="class")
    assert source.rows[["path", "label", "split"]].values.tolist() == [
        ["cat/000.png", "cat", ""],
        ["dog/000.png", "dog", ""],
    ]


def test_jsonl_accepts_blank_lines_and_line_separators_inside_strings(images):
    file = images / "t.jsonl"
    lines = ['{"path": "cat/000.png", "label": "a\u2028b"}', "", '{"path": "dog/000.png", "label": "dog"}', ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert read(file).class_names == ("a\u2028b", "dog")


def test_solar_cells_has_the_published_numbers():
    source = read("solar_cells")
    assert source.class_names == ("functional", "defective")
    assert len(source.rows) == 2624
    assert source.rows["label"].value_counts().to_dict() == {"functional": 1803, "defective": 821}
    assert source.rows["probability"].round(4).value_counts().to_dict() == {
        0.0: 1508,
        1.0: 715,
        0.3333: 295,
        0.6667: 106,
    }
    assert source.rows["cell_type"].value_counts().to_dict() == {"poly": 1550, "mono": 1074}
    sure = source.rows["probability"].isin([0.0, 1.0])
    assert source.rows["certainty"][sure].unique().tolist() == [1.0]
    assert source.rows["certainty"][~sure].round(3).unique().tolist() == [0.333]
    assert all((source.root / path).is_file() for path in source.rows["path"])


def test_a_weight_column_is_checked(images):
    rows = [{"path": "cat/000.png", "label": "cat", "w": 0.5}, {"path": "dog/000.png", "label": "dog", "w": -1}]
    with pytest.raises(DataError, match="must have numbers of at least 0"):
        read(write_table(images / "t.csv", rows), weight="w")
    rows[1]["w"] = 2
    assert read(write_table(images / "t.csv", rows), weight="w").rows["w"].tolist() == [0.5, 2.0]


def test_a_csv_with_an_index_column_and_short_rows_as_spreadsheets_write_them(images):
    file = images / "t.csv"
    file.write_bytes(b"\xef\xbb\xbf,path,label,site\r\n0,cat/000.png,cat,a\r\n\r\n1,dog/000.png,dog\r\n")
    rows = read(file).rows
    assert rows[["path", "label"]].values.tolist() == [["cat/000.png", "cat"], ["dog/000.png", "dog"]]
    assert rows["site"].tolist() == ["a", None]


def test_a_parquet_with_an_index_and_categories(images):
    table = pd.DataFrame({"label": pd.Categorical(["dog", "cat"]), "path": ["dog/000.png", "cat/000.png"]})
    table.set_index("path").to_parquet(images / "t.parquet")
    source = read(images / "t.parquet")
    assert source.rows[["path", "label"]].values.tolist() == [["cat/000.png", "cat"], ["dog/000.png", "dog"]]


@pytest.mark.parametrize(
    ("labels", "needs"),
    [
        ([5, "5"], ["mixes number and text", "5 in row 1, '5' in row 2", "all classes as text"]),
        ([True, "True"], ["mixes text and true or false", "'True' in row 2, True in row 1"]),
        ([1, True], ["mixes number and true or false"]),
        ([["a"], ["b"]], ["values that are not classes", "['a'] in row 1, ['b'] in row 2", "one class"]),
        (["a", None], ["'label' is empty in 1 rows: row 2"]),
    ],
)
def test_labels_that_are_not_classes(images, labels, needs):
    rows = [{"path": f"{n}/000.png", "label": label} for n, label in zip(("cat", "dog"), labels, strict=True)]
    with pytest.raises(DataError) as refusal:
        read(write_table(images / "t.jsonl", rows))
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


def test_true_and_false_as_labels_become_class_names(images):
    rows = [{"path": "cat/000.png", "label": True}, {"path": "dog/000.png", "label": False}]
    assert read(write_table(images / "t.parquet", rows)).class_names == ("False", "True")


def test_names_that_are_not_utf8_are_refused_before_they_reach_a_run_folder(images):
    file = images / "t.csv"
    file.write_bytes(b"path,label,site\ncat/000.png,caf\xe9,a\ndog/000.png,dog,\xe9\n")
    with pytest.raises(
        DataError, match=r"t\.csv: column 'label' is not UTF-8 in 1 rows: row 1\. Save the file as UTF-8"
    ):
        read(file)
    file.write_bytes(b"path,label,site\ncat/000.png,cat,a\ndog/000.png,dog,\xe9\n")
    assert len(read(file).rows) == 2
    with pytest.raises(DataError, match="column 'site' is not UTF-8 in 1 rows: row 2"):
        read(file, stratify=["label", "site"])
    os.rename(os.fsencode(images / "cat" / "000.png"), os.fsencode(images / "cat") + b"/caf\xe9.png")
    with pytest.raises(DataError, match=r"1 files whose names are not UTF-8: cat/caf\\udce9\.png\. Rename them"):
        read(images)


def test_home_is_expanded(images, monkeypatch):
    monkeypatch.setenv("HOME", str(images.parent))
    assert len(read("~/images").rows) == 32


def test_an_image_that_a_table_names_twice_is_refused(images):
    rows = [{"path": "cat/000.png", "label": "cat"}, {"path": "cat/000.png", "label": "dog"}]
    with pytest.raises(DataError, match=r"names 1 images twice: cat/000\.png"):
        read(write_table(images / "t.csv", rows))


def test_a_moved_folder_gives_the_same_rows(images, tmp_path):
    before = read(images).rows
    moved = shutil.move(images, tmp_path / "moved")
    assert read(moved).rows.equals(before)
