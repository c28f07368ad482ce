"""Data as people bring it: read as intended and reported in a line, or refused with both readings.

Expected rows are written down here, or made with pandas, Pillow and the standard library.
"""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer import DataError, Run
from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.config.recipe_file import parse_recipe, read_recipe
from keras_transfer.data.sources import python_objects
from keras_transfer.data.sources.find import read_source
from keras_transfer.data.sources.python_objects import name_objects
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.recipe.spec import with_absolute_paths
from keras_transfer.storage.cache_store import FeatureStore

COLOURS = {"cat": (250, 0, 0), "dog": (0, 0, 250)}
EVEN = {"validation": 0.25, "test": 0.25}


def draw(file, label, number=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    red, green, blue = COLOURS[label]
    Image.new("RGB", (8, 8), (red, green + number, blue)).save(file)


def load(source, given=None, kind=ImageDataConfig, **options):
    return load_splits(kind(source=str(source), **{**EVEN, **options}), seed=0, given=given)


def content(split):
    """The pixels' label and the label of the rows of a split, in order: they agree if the right files are read."""
    names = ("cat", "dog")
    found = []
    for row, target in enumerate(split.targets):
        with Image.open(io.BytesIO(split.examples.read(row))) as image:
            found.append((names[int(image.convert("RGB").getpixel((0, 0))[2] > 100)], names[int(target)]))
    return found


def agrees(splits):
    pairs = [pair for split in splits for pair in content(split)]
    return len(pairs) > 0 and all(seen == label for seen, label in pairs)


@pytest.fixture
def two_tables(tmp_path):
    """Two tables of files that are named alike, in two folders: what is a cat in one is a dog in the other."""
    for place, order in (("mine", ("cat", "dog")), ("other", ("dog", "cat"))):
        rows = [{"path": f"{n:02}.png", "label": order[n % 2]} for n in range(16)]
        for n, row in enumerate(rows):
            draw(tmp_path / place / row["path"], row["label"], n)
        pd.DataFrame(rows).to_csv(tmp_path / place / "labels.csv", index=False)
    return tmp_path


# Roots.


def test_each_table_has_its_own_root(two_tables, monkeypatch):
    mine, other = two_tables / "mine", two_tables / "other"
    shutil.copy(other / "labels.csv", two_tables / "moved.csv")
    test = {"source": str(two_tables / "moved.csv"), "root": str(other)}
    assert agrees(load(mine / "labels.csv", test=test))
    assert agrees(load(mine / "labels.csv", test=str(other / "labels.csv")))
    monkeypatch.chdir(two_tables)
    recipe = {"task": "image_classification", "data": {"source": "mine/labels.csv", "test": test | {"root": "other"}}}
    absolute = with_absolute_paths(parse_recipe(recipe, known={}, where="It"))
    assert absolute.data.test.root == str(other)
    monkeypatch.chdir("/")
    assert agrees(load_splits(absolute.data, seed=0))


@pytest.mark.parametrize("key", ["test", "validation"])
def test_a_path_that_exists_under_two_roots_is_refused(two_tables, key):
    mine, other = two_tables / "mine", two_tables / "other"
    options = {key: str(other / "labels.csv"), "root": str(mine)}
    with pytest.raises(DataError) as refusal:
        load(mine / "labels.csv", **options)
    wanted = ["16 of 16 paths lead to two files", str(other / "00.png"), str(mine / "00.png"), f"Set data.{key}.root"]
    assert [need for need in wanted if need not in str(refusal.value)] == [], refusal.value
    options[key] = {"source": options[key], "root": str(other)}
    assert agrees(load(mine / "labels.csv", **options))
    for file in other.glob("*.png"):
        file.unlink()
    options[key] = str(other / "labels.csv")
    with pytest.raises(
        DataError, match=f"16 of them exist in {mine}. If these are meant, set data.{key}.root to {mine}"
    ):
        load(mine / "labels.csv", **options)


def test_evaluate_reads_the_files_of_the_table(finished_run, two_tables, tmp_path):
    """As filed: a run with data.root, and a table of files that are numbered alike in another folder."""
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    mine, other = two_tables / "mine", two_tables / "other"
    text = re.sub(r"( +)root: null", rf"\1root: {mine}", text, count=1)
    (folder / "recipe.yaml").write_text(re.sub(r"source: .*", f"source: {mine / 'labels.csv'}", text), encoding="utf-8")
    run = Run(folder)
    assert run.config.data.root == str(mine)
    with pytest.raises(DataError, match=r"lead to two files, .*Set --root"):
        run.evaluate(other / "labels.csv")
    right = run.evaluate(other / "labels.csv", root=other)
    by_folder = {label: tmp_path / "split" / label for label in COLOURS}
    for n in range(16):
        draw(by_folder[("dog", "cat")[n % 2]] / f"{n:02}.png", ("dog", "cat")[n % 2], n)
    # The same images in another order.
    split = run.evaluate(tmp_path / "split")
    assert (right.n, right.confusion, right.loss) == (16, split.confusion, pytest.approx(split.loss))
    assert run.evaluate({"source": other / "labels.csv", "root": str(other)}).to_json() == right.to_json()


# Folders.


def make_folder(root, files):
    for number, path in enumerate(files):
        draw(root / path, "dog" if "dog" in path else "cat", number)
    return root


def classes(prefix, count=4, names=("cat", "dog")):
    return [f"{prefix}{name}/{n}.png" for name in names for n in range(count)]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        pytest.param(("Train", "Test"), {"train": 6, "validation": 2, "test": 8}, id="capitals"),
        pytest.param(("training", "validation"), {"validation": 8}, id="training"),
        pytest.param(("TRAIN", "Val", "testing"), {"train": 8, "validation": 8, "test": 8}, id="val"),
        pytest.param(("train", "valid"), {"validation": 8}, id="valid"),
        pytest.param(("train", "dev", "eval "), None, id="twins"),
        pytest.param(("train", "eval"), {"validation": 8}, id="eval"),
    ],
)
def test_folders_named_like_splits(tmp_path, folders, splits):
    root = make_folder(tmp_path / "p", [path for folder in folders for path in classes(f"{folder}/")])
    if splits is None:
        with pytest.raises(DataError, match="2 folders for the validation split: dev and eval"):
            load(root)
        return
    names = {name for name in folders if name != {"val": "validation"}.get(name, name) or name[:2].islower()}
    found = load_splits(
        ImageDataConfig(source=str(root), **({} if "validation" in splits else {"validation": 0.25})), seed=0
    )
    assert found.target.names == ("cat", "dog")
    assert {name: len(getattr(found, name)) for name in splits} == splits
    said = [note for note in found.notes if note.startswith("Splits by folder: ")]
    assert len(said) == 1 and all(f"{name} -> " in said[0] for name in names)


def test_a_test_folder_without_classes_is_for_predictions(tmp_path):
    """As Kaggle has it."""
    root = make_folder(tmp_path / "p", [*classes("train/", 8), "test/1.png", "test/2.png", "test/3.png"])
    splits = load(root)
    assert sorted(map(len, splits)) == [3, 4, 9] and agrees(splits)
    (note,) = splits.notes
    assert "the 3 files of test/" in note and f"keras-transfer predict RUN {root / 'test'}" in note


def test_a_flat_test_folder_next_to_classes(tmp_path):
    root = make_folder(tmp_path / "p", [*classes(""), "test/1.png", "test/2.png"])
    with pytest.raises(DataError, match=r"could be a class, or unlabelled rows .*data\.folders=classes"):
        load(root)
    assert load(root, folders="classes", validation=0, test=0).target.names == ("cat", "dog", "test")


def test_classes_that_hold_only_folders(tmp_path):
    root = make_folder(tmp_path / "p", [*classes("cat/", 2, ("a", "b")), *classes("dog/", 2, ("a", "b"))])
    with pytest.raises(DataError) as refusal:
        load(root)
    for need in ("Class folder", "only folders: a, b", "data.folders=classes", f"data.source={root / 'cat'}"):
        assert need in str(refusal.value)
    assert load(root, folders="classes").target.names == ("cat", "dog")
    make_folder(root, ["cat/0.png", "dog/0.png"])
    assert len(read_source(str(root), ImageDataConfig(source=str(root))).rows) == 10
    inside = make_folder(tmp_path / "q", classes("train/", 2, ("cat/x", "dog/y")))
    with pytest.raises(DataError, match=r"data\.folders=splits"):
        load(inside)
    assert load(inside, folders="splits", validation=0, test=0).target.names == ("cat", "dog")
    (tmp_path / "q" / "train").rename(tmp_path / "q" / "learn")
    with pytest.raises(DataError, match="no folder named train"):
        load(inside, folders="splits")


def test_a_class_may_be_named_train(tmp_path):
    root = make_folder(tmp_path / "p", classes("", 4, ("train", "dog")))
    with pytest.raises(DataError, match=r"could be a class, as dog, or the training rows.*data\.folders=classes"):
        load(root)
    assert load(root, folders="classes").target.names == ("dog", "train")


def test_a_folder_with_splits_is_not_one_split(two_tables, tmp_path):
    root = make_folder(tmp_path / "p", [*classes("train/"), *classes("test/")])
    with pytest.raises(DataError, match="folders for the splits test, train"):
        load(two_tables / "mine" / "labels.csv", test=str(root))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_metadata_next_to_the_images_as_in_hugging_face_datasets(tmp_path, suffix):
    def write(folder, count):
        rows = [{"file_name": f"images/{n}.png", "label": ("cat", "dog")[n % 2], "by": f"p{n}"} for n in range(count)]
        for n, row in enumerate(rows):
            draw(folder / row["file_name"], row["label"], n)
        file = folder / f"metadata{suffix}"
        if suffix == ".csv":
            pd.DataFrame(rows).to_csv(file, index=False)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    write(tmp_path / "one", 16)
    splits = load(tmp_path / "one")
    assert sum(map(len, splits)) == 16 and agrees(splits)
    assert splits.notes[0].startswith(f"Labels from metadata{suffix} (columns file_name and label)")
    draw(tmp_path / "one" / "images" / "extra.png", "cat", 99)
    assert (
        load(tmp_path / "one").notes[1] == f"Left out, not listed in metadata{suffix}: 1 of the files: images/extra.png"
    )
    write(tmp_path / "two" / "train", 8)
    write(tmp_path / "two" / "test", 4)
    splits = load_splits(ImageDataConfig(source=str(tmp_path / "two"), validation=0), seed=0)
    assert [len(split) for split in splits] == [8, 0, 4] and agrees([splits.train, splits.test])
    (tmp_path / "one" / "metadata.jsonl").write_text("{}\n")
    (tmp_path / "one" / "metadata.csv").touch()
    with pytest.raises(DataError, match=r"metadata\.csv and metadata\.jsonl, which both could be"):
        load(tmp_path / "one")


def test_pipes_and_devices_never_block(tmp_path):
    root = make_folder(tmp_path / "p", classes(""))
    os.mkfifo(root / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"has 1 pipes or devices, which are not files: pipe\.png"):
        load(root)
    table = root / "t.csv"
    table.write_text("path,label\ncat/pipe.png,cat\n/dev/zero,dog\n")
    with pytest.raises(DataError, match="names 2 of 2 paths that are not files, but folders, pipes or devices"):
        load(table)
    os.mkfifo(root / "u.csv")
    with pytest.raises(DataError, match="not found"):
        load(root / "u.csv")


def test_names_that_are_not_utf8_are_shown(tmp_path):
    root = make_folder(tmp_path / "p", classes(""))
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.txt")).write_text("x")
    for note in load(root).notes:
        note.encode()
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.txt")).rename(os.fsdecode(os.fsencode(root) + b"/cat/caf\xe9.png"))
    with pytest.raises(DataError, match=r"names are not UTF-8: cat/caf\\udce9\.png"):
        load(root)


# Tables.

ROWS = [(f"Text {n}, “quoted” é", ("ham", "spam")[n % 2]) for n in range(16)]


def write_table(file, *, delimiter=",", encoding="utf-8", rows=ROWS, header=("text", "label"), before=""):
    with io.StringIO(newline="") as written:
        csv.writer(written, delimiter=delimiter).writerows([header, *rows])
        file.write_bytes((before + written.getvalue()).encode(encoding))
    return file


@pytest.mark.parametrize(
    ("name", "written", "options", "said"),
    [
        pytest.param("t.csv", {"delimiter": ";"}, {}, "separated by ';'", id="semicolon"),
        pytest.param("t.csv", {"delimiter": "\t"}, {}, "separated by a tab", id="tab"),
        pytest.param("t.csv", {"delimiter": "|"}, {}, "separated by '|'", id="bar"),
        pytest.param("t.tsv", {"delimiter": "\t"}, {}, None, id="tsv"),
        pytest.param("t.TSV", {"delimiter": "\t"}, {}, None, id="TSV"),
        pytest.param("t.csv", {"delimiter": ";", "before": "sep=;\r\n"}, {}, None, id="excel"),
        pytest.param("t.csv", {"delimiter": ":"}, {"delimiter": ":"}, None, id="colon"),
        pytest.param("t.csv", {"delimiter": "\t"}, {"delimiter": "tab"}, None, id="named-tab"),
        pytest.param("t.csv", {"encoding": "utf-16"}, {}, "UTF-16, by its byte order mark", id="utf-16"),
        pytest.param("t.csv", {"encoding": "utf-32"}, {}, "UTF-32, by its byte order mark", id="utf-32"),
        pytest.param("t.csv", {"encoding": "utf-8-sig"}, {}, None, id="utf-8-bom"),
        pytest.param("t.csv", {"encoding": "cp1252"}, {"encoding": "cp1252"}, None, id="cp1252"),
        pytest.param("t.csv", {"encoding": "utf-16-le"}, {"encoding": "utf-16-le"}, None, id="utf-16-le"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, name, written, options, said):
    source = read_source(str(write_table(tmp_path / name, **written)), TextDataConfig(source="x", **options))
    assert list(zip(source.rows["text"], source.rows["label"], strict=True)) == ROWS
    assert bool(source.notes) == (said is not None)
    assert said is None or said in source.notes[0]


def test_a_header_that_two_delimiters_could_separate(tmp_path):
    rows = [(f"hello {n}", label) for n, (_, label) in enumerate(ROWS)]
    file = write_table(tmp_path / "t.csv", delimiter=";", header=("text", "label, of mail"), rows=rows)
    rows = read_source(str(file), TextDataConfig(source="x", label="label, of mail")).rows
    assert rows["label"].tolist() == [label for _, label in ROWS]
    file.write_text("text,label|group\nhello,a|b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"separated by ',' or '\|'\. Set data\.delimiter to one of them"):
        load(file, kind=TextDataConfig)


def test_an_encoding_that_does_not_fit(tmp_path):
    file = write_table(tmp_path / "t.csv", rows=[(f"café {n}", label) for n, (_, label) in enumerate(ROWS)])
    read = read_source(str(file), TextDataConfig(source="x", encoding="cp1252"))
    assert "valid UTF-8, too, and read as cp1252" in read.notes[0]
    write_table(file, encoding="utf-8-sig")
    with pytest.raises(DataError, match="byte order mark of UTF-8, and data"):
        load(file, kind=TextDataConfig, encoding="cp1252")
    write_table(file, encoding="cp1252")
    with pytest.raises(DataError, match=r"(?s)row 1 .*0x93 is not UTF-8.*cp1252: set data\.encoding"):
        from keras_transfer.data.checks.texts import check_texts

        check_texts(tuple(load(file, kind=TextDataConfig)), broken="error")


@pytest.mark.parametrize("key", ["test", "validation"])
def test_each_table_has_its_own_encoding(tmp_path, key):
    mine = write_table(tmp_path / "mine.csv", encoding="cp1252")
    other = write_table(tmp_path / "other.csv")
    splits = load(mine, kind=TextDataConfig, encoding="cp1252", **{key: str(other)})
    texts = sorted(text for (text,) in getattr(splits, key).examples.segments)
    assert texts == sorted(text for text, _ in ROWS)


def test_text_files_in_other_encodings(tmp_path):
    for n, (text, label) in enumerate(ROWS):
        (tmp_path / "p" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / label / f"{n}.txt").write_bytes(text.encode("utf-16" if n % 4 else "utf-8-sig"))
    source = read_source(str(tmp_path / "p"), TextDataConfig(source="x"))
    assert sorted(source.rows["text"]) == sorted(text for text, _ in ROWS)
    assert source.notes == ("Text files that are UTF-16, by its byte order mark: 12",)


@pytest.mark.parametrize(
    ("paths", "files", "options", "said"),
    [
        pytest.param(["0007", "0008"], ["0007.jpg", "0008.jpg"], {}, "without a suffix, read with .jpg", id="ids"),
        pytest.param(["7", "8"], ["7.png", "8.png", "7.jpg"], {"suffix": ".png"}, None, id="named-suffix"),
        pytest.param(["7", "8"], ["7.png", "8.png", "7.jpg"], {}, DataError("7 (.jpg and .png)"), id="two-files"),
        pytest.param(["7", "8"], ["7.png", "8.jpg"], {}, DataError("with different ones"), id="two-suffixes"),
        pytest.param(["7", "8"], ["7.png"], {}, DataError("set data.suffix if"), id="one-missing"),
        pytest.param(["a\\7.png", "a\\8.png"], ["a/7.png", "a/8.png"], {}, "with backslashes", id="windows"),
        pytest.param(["C:\\7.png", "C:\\8.png"], ["7.png"], {}, DataError("without a drive"), id="drive"),
        pytest.param(["a\\7", "a\\8"], ["a/7.png", "a/8.png"], {}, DataError("do not exist"), id="both"),
        pytest.param(["x" * 5000, "\0"], ["7.png"], {}, DataError("do not exist"), id="impossible"),
    ],
)
def test_paths_as_people_write_them(tmp_path, paths, files, options, said):
    for n, path in enumerate(files):
        draw(tmp_path / path, ("cat", "dog")[n % 2])
    frame = pd.DataFrame({"path": paths, "label": ["cat", "dog"]})
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)

    def read():
        return read_source(str(tmp_path / "t.jsonl"), ImageDataConfig(source="x", **options))

    if isinstance(said, DataError):
        with pytest.raises(DataError, match=re.escape(str(said))):
            read()
        return
    source = read()
    assert [Path(source.root / path).is_file() for path in source.rows["path"]] == [True, True]
    assert [said is None or said in note for note in source.notes] == [True] * (said is not None)


# Keys that nothing uses.


@pytest.mark.parametrize(
    ("kind", "source", "options", "needs"),
    [
        (TextDataConfig, "bbc_news", {"text": "body"}, ["data.text", "bbc_news is a sample set"]),
        (ImageDataConfig, "solar_cells", {"root": "x", "path": "file"}, ["data.root and data.path", "sample set"]),
        (ImageDataConfig, "folder", {"root": "x"}, ["data.root", "is a folder"]),
        (ImageDataConfig, "folder", {"encoding": "cp1252"}, ["data.encoding", "is a folder"]),
        (TextDataConfig, "t.jsonl", {"delimiter": ";"}, ["data.delimiter", "JSON Lines"]),
        (TextDataConfig, "t.csv", {"folders": "classes"}, ["data.folders", "is a table"]),
        (TextDataConfig, "t.csv", {"test": {"source": "t.jsonl", "delimiter": ";"}}, ["data.test.delimiter"]),
    ],
)
def test_keys_that_a_source_does_not_use(tmp_path, monkeypatch, kind, source, options, needs):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "folder", classes(""))
    write_table(tmp_path / "t.csv")
    pd.DataFrame(ROWS, columns=["text", "label"]).to_json("t.jsonl", orient="records", lines=True)
    with pytest.raises(DataError) as refusal:
        load(source, kind=kind, **options)
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


# Overrides.


@pytest.mark.parametrize(
    ("override", "value"),
    [
        *(
            (f"data.separator={mark}", mark)
            for mark in (",", ":", "-", "#", "|", "*", "&", "!", "%", "[", "{", "~", " ")
        ),
        ("data.separator=null", None),
        ("data.separator='|'", "|"),
        ("data.label=yes", "yes"),
        ("data.label=007", "007"),
        ("data.label=null", "null"),
        ("data.label=1e5", "1e5"),
        ("data.label=2024-01-01", "2024-01-01"),
        ("data.label=a #b", "a #b"),
        ("data.label=[007, yes, 1:30]", ["007", "yes", "1:30"]),
        ("data.group=no", "no"),
        ("data.group=null", None),
        ("data.leaks=off", "off"),
        ("data.test=0.5", 0.5),
        ("data.test=yes", "yes"),
        ("data.test={source: 1, root: no}", {"source": "1", "root": "no"}),
        ("training.class_weights={007: 2, yes: 1.5}", {"007": 2, "yes": 1.5}),
        ("training.epochs=3", 3),
        ("deterministic=yes", True),
        ("training.clip_norm=null", None),
    ],
)
def test_overrides_have_the_type_that_the_key_expects(tmp_path, override, value):
    file = tmp_path / "r.yaml"
    file.write_text("task: image_classification\ndata: {source: x}\n", encoding="utf-8")
    found = read_recipe(file, [override])
    for key in override.partition("=")[0].split("."):
        found = found[key]
    assert found == value and type(found) is type(value)


# Python objects.


def pictures(count=12):
    labels = [("cat", "dog")[n % 2] for n in range(count)]
    images = [
        np.full((8, 8, 3), (*COLOURS[label][:1], n, COLOURS[label][2]), np.uint8) for n, label in enumerate(labels)
    ]
    return images, labels


def png(image):
    with io.BytesIO() as file:
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()


def _pillow(image):
    return Image.fromarray(image)


OBJECTS = {
    "list of (array, label)": lambda images, labels: list(zip(images, labels, strict=True)),
    "list of (PIL, label)": lambda images, labels: list(zip(map(_pillow, images), labels, strict=True)),
    "list of (bytes, label)": lambda images, labels: list(zip(map(png, images), labels, strict=True)),
    "lists": lambda images, labels: (images, labels),
    "labels (n, 1)": lambda images, labels: (np.stack(images), np.array(labels).reshape(-1, 1)),
    "list of mappings": lambda images, labels: [
        {"image": _pillow(image), "label": label} for image, label in zip(images, labels, strict=True)
    ],
    "as Hugging Face stores them": lambda images, labels: [
        {"image": {"bytes": png(image), "path": None}, "label": label}
        for image, label in zip(images, labels, strict=True)
    ],
    "DataFrame of arrays": lambda images, labels: pd.DataFrame({"image": images, "label": labels}),
    "tf.data of mappings": lambda images, labels: tf.data.Dataset.from_tensor_slices(
        {"image": np.stack(images), "label": labels}
    ),
    "batches of mappings": lambda images, labels: tf.data.Dataset.from_tensor_slices(
        {"image": np.stack(images), "label": labels}
    ).batch(5),
    "tf.data of (n, 1)": lambda images, labels: tf.data.Dataset.from_tensor_slices(
        (np.stack(images), np.array(labels).reshape(-1, 1))
    ),
    "a filtered tf.data": lambda images, labels: tf.data.Dataset.from_tensor_slices((np.stack(images), labels)).filter(
        lambda image, label: True
    ),
}


@pytest.mark.parametrize("form", OBJECTS)
def test_objects_are_read_with_their_images_and_labels(form):
    images, labels = pictures()
    named, given = name_objects({"source": OBJECTS[form](images, labels)})
    source = load(named["source"], given)
    assert sum(map(len, source)) == 12 and agrees(source)
    assert ("does not know its length: 12 rows" in " ".join(source.notes)) == (form == "a filtered tf.data")


@pytest.mark.parametrize(
    ("data", "kind", "needs"),
    [
        pytest.param(
            lambda: (np.stack(pictures()[0]), np.eye(2)[[0, 1] * 6]),
            ImageDataConfig,
            ["one-hot", "argmax(axis=1)", "data.target to multilabel"],
            id="one-hot",
        ),
        pytest.param(
            lambda: tf.data.Dataset.from_tensor_slices((["a", "b"], [0, 1])).repeat(),
            TextDataConfig,
            ["never ends", "remove .repeat()"],
            id="repeat",
        ),
        pytest.param(
            lambda: tf.data.Dataset.from_tensor_slices((["a", "b"], [0, 1])).repeat().filter(lambda *_: True),
            TextDataConfig,
            ["does not know its length, and has more than 50 rows", "assert_cardinality"],
            id="unknown",
        ),
        pytest.param(lambda: ("Came late", "bad"), TextDataConfig, ["one example with its label"], id="one-pair"),
        pytest.param(lambda: (("a", "x"), ("b", "y")), TextDataConfig, ["two pairs", "two lists"], id="two-pairs"),
        pytest.param(
            lambda: tf.data.Dataset.from_tensor_slices({"body": ["a", "b"], "label": [0, 1]}),
            TextDataConfig,
            ["no element 'text'", "body, label"],
            id="other-element",
        ),
    ],
)
def test_ambiguous_objects_are_refused(monkeypatch, data, kind, needs):
    monkeypatch.setattr(python_objects, "MOST_ROWS", 50)
    with pytest.raises(DataError) as refusal:
        named, given = name_objects({"source": data()})
        load(named["source"], given, kind)
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


def test_unfinished_cache_entries_of_killed_runs_are_counted_and_cleared(command, cache):
    store = FeatureStore(cache / "features", max_bytes=None)
    writing = store.begin()
    folder = writing.__enter__()
    (folder / "bytes.npy").write_bytes(b"x" * 3_000_000)
    assert store.leftovers() == []  # this process lives
    dead = folder.with_name(folder.name.replace(f"-{os.getpid()}-", "-4194999-"))
    folder.rename(dead)
    assert "3.0 MB in 1 unfinished entries of killed runs" in command("cache").stdout
    assert "Removed 3.0 MB in 1 unfinished" in command("cache", "--clear").stdout
    assert not dead.exists()
