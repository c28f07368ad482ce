"""Labels and numbers that cannot be learned: found before a backbone is built or a run folder is created."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

MULTILABEL = ["data.target=multilabel", "data.label=[a, b]"]
TAGS = ["data.target=multilabel", "data.label=tags", "data.separator=;"]
NUMBER = ["data.target=number", "data.label=x"]


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("task: image_classification\ndata: {source: t.csv, image_size: 32}\n", encoding="utf-8")
    return file


@pytest.fixture
def table(tmp_path):
    """``table(a=[...], name="t.csv")``: 16 images with two labels, tags and a number, some of them changed."""
    for number in range(16):
        Image.new("RGB", (32, 32), (16 * number, 0, 0)).save(tmp_path / f"{number:02}.png")

    def write(name="t.csv", **changes):
        rows = [
            {
                "path": f"{n:02}.png",
                "a": n % 2,
                "b": int(n % 3 == 0),
                "tags": ["red", "blue;red", ""][n % 3],
                "x": n / 4,
                "label": "cd"[n % 2],
            }
            for n in range(16)
        ]
        for column, values in changes.items():
            for row, value in zip(rows, values, strict=False):
                row[column] = value
        if name.endswith(".csv"):
            pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
        else:
            (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / name

    return write


@pytest.fixture
def rejected(refused, recipe, tmp_path):
    def call(source, *overrides, **checks):
        folder = tmp_path / "out" / "run"
        message = refused("run", recipe, f"data.source={source}", *overrides, "--out", folder, **checks)
        assert not folder.parent.exists()
        return message

    return call


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        (["data.label=[a, b]"], ["data.label: data.target=class takes one column", "Received: a, b"]),
        (["data.label=[]"], ["data.label", "at least 1 item"]),
        (["data.label=[a, 3]"], ["data.label: data.target=class takes one column", "Received: a, 3"]),
        (["data.separator=;"], ["data.separator: only data.target=multilabel", "it is class"]),
        ([*NUMBER, "data.separator=;"], ["data.separator: only data.target=multilabel", "it is number"]),
        ([*MULTILABEL, "data.separator=;"], ["data.separator", "data.label names several"]),
        (["data.target=multilabel", "data.label=a"], ["data.label", "'a'", "data.label=[a, b]", "data.separator"]),
        (["data.target=multilabel", "data.label=[a, b, a]"], ["data.label: a is named twice"]),
        (["data.target=multi"], ["data.target", "'multilabel'", "Received: 'multi'"]),
        ([*TAGS[:2], "data.separator=''"], ["data.separator", "at least 1 character"]),
        ([*NUMBER, "data.classes=[c, d]"], ["data.classes: numbers have no classes", "data.target is number"]),
        ([*NUMBER, "data.relabel={c: d}"], ["data.relabel: numbers have no classes", "data.target is number"]),
        ([*NUMBER, "data.merge_labels=true"], ["data.merge_labels: numbers have no classes", "Leave it out"]),
        (["data.classes=[c]"], ["data.classes: a classifier needs at least two", "Received: c"]),
        (["data.classes=[]"], ["data.classes", "at least 1 item"]),
        (["data.classes=[c, d, c]"], ["data.classes: c is listed twice"]),
        (["data.classes=[c, d, C]"], ["data.classes: 'C' and 'c' differ only in case", "data.merge_labels=false"]),
        (["data.classes=[c, d]", "data.relabel={c: e}"], ["data.classes: data.relabel renames c to e"]),
        (["data.relabel={c: ' '}"], ["data.relabel.c: the new name is blank"]),
        (["data.relabel={x: c}"], ["data.relabel: No row has 'x'", "Known: c, d"]),
        (["data.classes=[c, dd]"], ["data.classes: ", "No row has 'dd'", "Fix the names, or remove them"]),
        (
            [*TAGS[:2], "data.separator=|"],
            ["data.separator='|' does not occur in the labels", "';' in 5 rows", "data.classes"],
        ),
        (TAGS[:2], ["column 'tags'", "'red' in row 1", "data.separator", "Likely separators: ';' in 5 rows"]),
        ([*NUMBER, "training.label_smoothing=0.1"], ["training.label_smoothing", "huber"]),
        ([*NUMBER, "training.class_weights=balanced"], ["training.class_weights", "data.target is number"]),
        ([*MULTILABEL, "training.class_weights=balanced"], ["training.class_weights", "data.target is multilabel"]),
        ([*NUMBER, "training.class_weights={c: 2.0}"], ["training.class_weights", "data.target is number"]),
        (["training.class_weights={c: 2.0}"], ["training.class_weights: no weight for 'd'", "Give every class"]),
        (["training.class_weights={c: 1.0, d: 1.0, e: 2.0}"], ["training.class_weights: there is no class 'e'"]),
        (["training.class_weights={c: 0, d: 1.0}"], ["training.class_weights.c", "greater than 0", "Received: 0"]),
        (["training.class_weights={1: 2.0}"], ["training.class_weights: no weight for 'c', 'd'", "no class '1'"]),
        (["training.class_weights=balance"], ["training.class_weights:", "'balanced'", "Or:", "dictionary"]),
        ([*NUMBER, "augmentation.cutmix=1.0"], ["augmentation.cutmix", "data.target is number"]),
        (["head.loss=huber"], ["head.loss: huber is for numbers", "data.target is class"]),
        ([*NUMBER, "head.loss=absolute"], ["head.loss", "'huber'", "Received: 'absolute'"]),
        ([*NUMBER, "head.loss=huber", "policy.head_solver=solve"], ["policy.head_solver", "head.loss is huber"]),
    ],
)
def test_settings_that_contradict_the_target(rejected, table, overrides, needs):
    rejected(table(), *overrides, needs=needs)


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        (
            [*NUMBER, "training.early_stopping={metric: val_accuracy}"],
            ["training.early_stopping.metric: this head has no metric 'accuracy'", "Metrics: loss, mae, rmse, r2"],
        ),
        ([*MULTILABEL, "training.keep_metric=mae"], ["training.keep_metric: this head has no metric 'mae'", "f1"]),
        (["training.keep_metric=val_f1"], ["no metric 'f1'. Received: val_f1. Did you mean val_macro_f1", "auroc"]),
    ],
)
def test_a_metric_that_the_target_does_not_have(rejected, table, overrides, needs):
    rejected(table(), "backbone.weights=none", *overrides, needs=needs)


@pytest.mark.parametrize(
    ("overrides", "changes", "needs"),
    [
        (["data.target=multilabel", "data.label=[a, c]"], {}, ["no column 'c'", "Columns: path, a, b", "data.label"]),
        (["data.target=number", "data.label=y"], {}, ["no column 'y'", "data.label"]),
        (
            MULTILABEL,
            {"b": [0, 2, 1]},
            ["column 'b' has values other than 0 and 1: '2' in row 2", "data.separator"],
        ),
        (MULTILABEL, {"b": ["yes", "no"]}, ["column 'b'", "'yes' in row 1, 'no' in row 2"]),
        (MULTILABEL, {"a": [None]}, ["column 'a' is empty in 1 rows: row 1", "Fill in the values, or remove the rows"]),
        (MULTILABEL, {"b": [0] * 16}, ["train split", "none with 'b'", "Add rows with it"]),
        (MULTILABEL, {"b": [1] * 16}, ["train split", "all with 'b'", "Add rows without it"]),
        (TAGS, {"tags": ["", " ", ";"] * 6}, ["has no labels", "empty in every row"]),
        (TAGS, {"tags": ["red"] * 16}, ["train split", "all with 'red'"]),
        (MULTILABEL, {"a": [1, 0] + 14 * [0], "b": [0, 1] + 14 * [0]}, ["split has", "none has a label"]),
        (NUMBER, {"x": ["tall", 2.0, "?"]}, ["column 'x'", "not finite numbers: 'tall' in row 1, '?' in row 3"]),
        (NUMBER, {"x": ["nan", "inf", "-inf", "1e60"]}, ["'nan' in row 1, 'inf' in row 2, '-inf' in row 3, '1e60' in"]),
        (NUMBER, {"x": [None]}, ["column 'x' is empty in 1 rows: row 1"]),
        (NUMBER, {"x": [7.5] * 16}, ["train split", "column 'x' is 7.5 in all of them"]),
        ([*NUMBER, "data.stratify=[label, z]"], {"z": [n / 3 for n in range(16)]}, ["too few rows", "16 strata"]),
        ([*MULTILABEL, "data.test=0.95"], {}, ["data.test=0.95 takes 16 of 16 rows"]),
    ],
)
def test_columns_that_cannot_be_learned(rejected, table, overrides, changes, needs):
    rejected(table(**changes), *overrides, needs=needs)


def test_tags_and_numbers_of_other_kinds(rejected, table):
    tags = table("t.jsonl", tags=[["red", "blue"], 5])
    rejected(
        tags,
        *TAGS,
        needs=["column 'tags' has labels in brackets, but not in all rows: 5 in row 2", "set data.separator"],
    )
    numbers = table("t.jsonl", x=[True, [1], {"a": 1}, float("nan")])
    rejected(numbers, *NUMBER, needs=["column 'x'", "row 4"])
    numbers = table("t.jsonl", x=[True, [1], {"a": 1}])
    rejected(numbers, *NUMBER, needs=["column 'x'", "True in row 1, [1] in row 2, {'a': 1} in row 3"])


def test_classes_that_look_alike(rejected, table):
    file = table(label=["c", "c ", "C", "d", "ｃ", "d\u200b"] * 3)
    rejected(
        file,
        needs=[
            f"{file} has classes whose names differ only in case, blanks, Unicode form, invisible characters",
            "\n  'C' (3 rows), 'c' (3 rows), 'c ' (3 rows), 'ｃ' (2 rows)\n  'd' (3 rows), 'd\\u200b' (2 rows)\n",
            "data.merge_labels=true",
            "data.merge_labels=false",
            "data.relabel",
        ],
    )
    rejected(
        table(label=["c", "\u2060"] * 8), needs=["nothing but blanks and invisible characters: '\\u2060' in 8 rows"]
    )


@pytest.mark.parametrize("overrides", [MULTILABEL, NUMBER], ids=["multilabel", "number"])
def test_a_folder_has_only_classes(rejected, images, overrides):
    rejected(images, *overrides, needs=[images, "is a folder", overrides[0].split("=")[1], ".csv", "data.label"])


def test_a_sample_set_without_such_columns(rejected):
    rejected("solar_cells", *NUMBER, needs=["solar_cells has no column 'x'", "probability", "data.label"])


def test_texts_with_invalid_numbers(refused, tmp_path):
    (tmp_path / "t.csv").write_text("text,stars\nfine,5\nbad,one\n")
    (tmp_path / "own.yaml").write_text(
        f"task: text_classification\ndata: {{source: '{tmp_path / 't.csv'}', target: number, label: stars}}\n"
    )
    refused("check", tmp_path / "own.yaml", needs=["column 'stars'", "'one' in row 2"])


@pytest.fixture(scope="module")
def number_run(tmp_path_factory, pebble):
    """A run on a number."""
    from keras_transfer import ImageClassification

    root = tmp_path_factory.mktemp("number_run")
    rows = []
    for n in range(16):
        Image.new("RGB", (32, 32), (16 * n, 0, 0)).save(root / f"{n:02}.png")
        rows.append({"path": f"{n:02}.png", "x": n})
    pd.DataFrame(rows).to_csv(root / "t.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        data = {"source": str(root / "t.csv"), "image_size": 32, "target": "number", "label": "x"}
        return ImageClassification(data, backbone="pebble", policy="head", export={"formats": []}).fit(root / "run")


def test_evaluating_on_a_source_that_lacks_the_columns(refused, number_run, images, table):
    refused("evaluate", number_run.folder, "--data", images, needs=[images, "is a folder", "data.target is number"])
    file = table().with_name("other.csv")
    pd.read_csv(table()).drop(columns="x").to_csv(file, index=False)
    refused("evaluate", number_run.folder, "--data", file, needs=[file, "no column 'x'"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"mean": {"x": 1.0}}', '{"mean": {"x": "a"}, "scale": {"x": 1}}'])
def test_a_damaged_head(refused, number_run, tmp_path, content):
    folder = tmp_path / "copy"
    shutil.copytree(number_run.folder, folder)
    (folder / "head.json").write_text(content)
    refused("evaluate", folder, needs=["head.json is damaged", "Run the recipe again"])
