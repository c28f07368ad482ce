"""Data that cannot be trained on: found before a backbone is built or a run folder is created."""

import shutil

import pandas as pd
import pytest
from PIL import Image


@pytest.fixture
def rejected(refused, tmp_path):
    """``rejected(source, "data.test=0.5", needs=[...])``: a run on the source is refused and leaves nothing."""
    recipe = tmp_path / "own.yaml"
    recipe.write_text("task: image_classification\ndata: {source: x, image_size: 32}\n", encoding="utf-8")

    def call(source, *overrides, **checks):
        folder = tmp_path / "out" / "run"
        message = refused("run", recipe, f"data.source={source}", *overrides, "--out", folder, **checks)
        assert not folder.parent.exists()
        return message

    return call


@pytest.fixture
def table(images):
    """``table(rows)``: a CSV next to the images; by default a valid one."""
    good = [
        {"path": f"{name}/{number:03}.{'jpg' if number % 2 else 'png'}", "label": name, "w": 1.0}
        for name in ("cat", "dog")
        for number in range(16)
    ]

    def write(change=lambda rows: rows, name="t.csv"):
        pd.DataFrame(change([dict(row) for row in good])).to_csv(images / name, index=False)
        return images / name

    return write


def test_a_missing_source(rejected, tmp_path):
    rejected(tmp_path / "absent", needs=[tmp_path / "absent", "not found"])


def test_a_misspelled_sample_set(rejected):
    rejected("solar_cell", needs=["'solar_cell'", "Did you mean solar_cells or"])


def test_a_file_of_an_unknown_kind(rejected, tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"x")
    rejected(tmp_path / "data.xlsx", needs=["data.xlsx", ".csv, .tsv, .jsonl, .parquet"])


@pytest.mark.parametrize("files", [[], ["a.png", "b.png"]])
def test_a_folder_without_classes(rejected, tmp_path, files):
    folder = tmp_path / "flat"
    folder.mkdir()
    for name in files:
        Image.new("RGB", (8, 8)).save(folder / name)
    rejected(folder, needs=[folder, "has no classes", "sub-folder named after the class"])


def test_one_class(rejected, make_images, tmp_path):
    folder = make_images(tmp_path / "p", {"cat": 8}, size=8)
    rejected(folder, needs=[folder, "one class: 'cat'", "at least two"])


def test_an_empty_class(rejected, images):
    (images / "owl").mkdir()
    rejected(images, needs=[images / "owl", "is empty", "Put images into it, or remove it"])


def test_a_class_with_one_image(rejected, images, make_images):
    make_images(images, {"owl": 1})
    rejected(images, needs=[images, "too few rows", "owl: 1", "Add rows"])


def test_a_train_folder_without_classes(rejected, make_images, tmp_path):
    (tmp_path / "p" / "train").mkdir(parents=True)
    make_images(tmp_path / "p" / "test", {"cat": 2, "dog": 2}, size=8)
    rejected(tmp_path / "p", needs=[tmp_path / "p" / "train", "has no classes"])


def test_a_class_that_only_the_test_folder_has(rejected, make_images, tmp_path):
    make_images(tmp_path / "p" / "train", {"cat": 4, "dog": 4}, size=8)
    make_images(tmp_path / "p" / "test", {"cat": 2, "dog": 2, "owl": 2}, size=8)
    rejected(tmp_path / "p", "data.validation=0.25", needs=["train", "'owl' (2 in all)"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero bytes"),
        (b"no image", "not an image"),
        ("truncated", "truncated"),
        ("tiff", "TIFF is not supported; convert it to JPEG or PNG"),
    ],
)
def test_a_broken_image(rejected, images, content, reason):
    file = images / "cat" / "001.jpg"
    if content == "truncated":
        content = file.read_bytes()[:-100]
    if content == "tiff":
        Image.new("RGB", (8, 8)).save(images / "x.tiff")
        content = (images / "x.tiff").read_bytes()
    file.write_bytes(content)
    rejected(images, needs=[f"{file}: ", reason, "data.broken=skip"])


def test_broken_images_of_all_splits_are_listed_at_once(rejected, images):
    files = sorted(images.glob("*/*"))
    for file in files[::2]:
        file.write_bytes(b"")
    rejected(images, needs=[f"{file}: zero bytes" for file in files[::2]], most_lines=20)


def test_skipping_that_leaves_a_class_without_images(rejected, images):
    for file in (images / "dog").iterdir():
        file.write_bytes(b"")
    rejected(images, "data.broken=skip", needs=["none of 'dog'", "Add examples"])


@pytest.mark.parametrize(
    ("change", "overrides", "needs"),
    [
        (
            lambda rows: [*rows, {"path": "cat/gone.png", "label": "cat"}],
            [],
            ["1 of 33 files", "cat/gone.png", "relative to"],
        ),
        (lambda rows: [*rows, rows[0]], [], ["twice", "cat/000.png", "Keep one row for each"]),
        (
            lambda rows: rows[:3] + [row | {"label": ""} for row in rows[3:5]] + rows[5:],
            [],
            ["'label' is empty", "row 4, 5"],
        ),
        (
            lambda rows: rows[:3] + [row | {"label": " "} for row in rows[3:5]] + rows[5:],
            [],
            ["'label' is empty", "row 4, 5"],
        ),
        (lambda rows: [rows[0] | {"path": None}, *rows[1:]], [], ["'path' is empty", "row 1"]),
        (lambda rows: rows, ["data.label=labell"], ["no column 'labell'", "Did you mean label?", "data.label"]),
        (lambda rows: rows, ["data.path=file"], ["no column 'file'", "data.path"]),
        (lambda rows: rows, ["data.stratify=[label, site]"], ["no column 'site'", "data.stratify"]),
        (lambda rows: rows, ["data.weight=wt"], ["data.weight", "no column 'wt'"]),
        (lambda rows: [rows[0] | {"w": "heavy"}, *rows[1:]], ["data.weight=w"], ["data.weight", "'w'", "numbers"]),
        (lambda rows: [row | {"w": 0} for row in rows], ["data.weight=w"], ["data.weight", "not only zeros"]),
        (lambda rows: rows[:1], [], ["one class: 'cat'"]),
    ],
)
def test_a_table_that_does_not_fit(rejected, table, change, overrides, needs):
    file = table(change)
    rejected(file, *overrides, needs=[file.name, *needs])


@pytest.mark.parametrize(
    ("name", "content", "needs"),
    [
        ("empty.csv", b"", ["Cannot read table", "empty.csv: "]),
        ("rows.csv", b"path,label\n", ["rows.csv", "no rows"]),
        ("ragged.csv", b"path,label\na,b\nc,d,e\n", ["Cannot read table", "ragged.csv: ", "line 3"]),
        ("binary.csv", b"\xff\x00\x81\n", ["Cannot read table", "binary.csv: "]),
        ("bad.jsonl", b'{"path": "a", "label": "b"}\n{"path": \n', ["bad.jsonl", "line 2"]),
        ("list.jsonl", b"[1, 2]\n", ["list.jsonl", "line 1"]),
        ("empty.jsonl", b"", ["empty.jsonl", "no column 'path'"]),
        ("text.parquet", b"no parquet at all", ["Cannot read table", "text.parquet: "]),
    ],
)
def test_a_table_that_cannot_be_read(rejected, tmp_path, name, content, needs):
    (tmp_path / name).write_bytes(content)
    rejected(tmp_path / name, needs=needs)


def test_a_stratify_column_that_a_folder_does_not_have(rejected, images):
    rejected(images, "data.stratify=[site]", needs=["data.stratify", "no column 'site'", "Columns: label"])


@pytest.mark.parametrize("key", ["data.test", "data.validation"])
def test_a_missing_separate_source(rejected, images, key):
    rejected(images, f"{key}=held_out.csv", needs=["held_out.csv", "not found"])


def test_a_separate_source_with_other_classes(rejected, images, tmp_path):
    other = shutil.copytree(images, tmp_path / "other")
    (other / "dog").rename(other / "wolf")
    rejected(images, f"data.test={other}", needs=[other, "wolf", "Classes: cat, dog"])


def test_too_few_rows_are_reported_with_their_numbers(rejected, make_images, tmp_path):
    folder = make_images(tmp_path / "p", {name: 2 for name in "abcdef"}, size=8)
    rejected(folder, needs=["data.test=0.2 takes 3 of 12 rows from 6 strata", "a: 2", "data.test"])
