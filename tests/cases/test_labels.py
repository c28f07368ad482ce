"""Labels and averages: expected values from scikit-learn, pandas and plain Python."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

from keras_transfer import ImageClassification, Run, TextClassification
from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.config.schema import HeadConfig
from keras_transfer.data.sources.find import read_source
from keras_transfer.data.splits.splits import load_splits, read_split
from keras_transfer.data.splits.unlabelled import load_unlabelled
from keras_transfer.errors import DataError, TransferWarning
from keras_transfer.heads import ClassificationHead, MultilabelHead
from keras_transfer.report.terminal import print_report

NAME = "<python: table>"


def read(labels, **options):
    """A source of a DataFrame with these labels."""
    table = pd.DataFrame({"text": [f"text {n}" for n in range(len(labels))], "label": pd.Series(labels, dtype=object)})
    return read_source(NAME, TextDataConfig(source=NAME, **options), table)


# Order.


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(range(12), [str(n) for n in range(12)], id="integers"),
        pytest.param([str(n) for n in range(12)], [str(n) for n in range(12)], id="text of integers"),
        pytest.param([10.0, 9.0, 100.0], ["9", "10", "100"], id="whole floats"),
        pytest.param([10.5, 9.25, -1.5], ["-1.5", "9.25", "10.5"], id="floats"),
        pytest.param(["010", "007", "1e3", "99"], ["007", "010", "99", "1e3"], id="as written"),
        pytest.param(["10", "9", "b"], ["10", "9", "b"], id="not all numbers"),
        pytest.param(["٣", "10", "9"], ["10", "9", "٣"], id="other digits are text"),
        pytest.param([2**70, 2**70 + 1, 3], ["3", str(2**70), str(2**70 + 1)], id="beyond floats"),
        pytest.param([True, False], ["False", "True"], id="booleans"),
    ],
)
def test_classes_are_in_numeric_order_if_all_are_numbers(labels, expected):
    assert list(read(list(labels) * 2).class_names) == expected


def test_folders_with_numbers_are_in_numeric_order(tmp_path):
    for name in map(str, range(12)):
        (tmp_path / name).mkdir()
        for n in range(2):
            (tmp_path / name / f"{n}.txt").write_text(f"text {name} {n}")
    source = read_source(str(tmp_path), TextDataConfig(source=str(tmp_path)))
    assert source.class_names == tuple(map(str, range(12)))


def test_labels_with_a_separator_are_in_numeric_order():
    assert read(["2|10", "9", "10"], target="multilabel", separator="|").class_names == ("2", "9", "10")


def test_label_columns_are_in_the_order_of_the_recipe():
    table = pd.DataFrame({"text": list("pqrs"), "10": [0, 1, 0, 1], "9": [1, 0, 0, 1]})
    config = TextDataConfig(source=NAME, target="multilabel", label=["10", "9"])
    assert read_source(NAME, config, table).class_names == ("10", "9")


# Names that are alike.

TWINS = {
    "trailing blank": "bad ",
    "leading tab": "\tbad",
    "case": "Bad",
    "full width": "ｂａｄ",
    "zero width": "b\u200bad",
    "soft hyphen": "b\u00adad",
    "byte order mark": "\ufeffbad",
    "no-break space": "bad\u00a0",
    "bidirectional mark": "bad\u200e",
    "variation selector": "bad\ufe0f",
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_twins_are_an_error_merged_or_kept_apart(twin):
    labels = ["bad"] * 3 + [twin] * 2 + ["good"] * 4
    with pytest.raises(DataError, match=r"'bad' \(3 rows\)") as caught:
        read(labels)
    assert all(way in str(caught.value) for way in ("merge_labels=true", "merge_labels=false", "data.relabel"))
    merged = read(labels, merge_labels=True)
    assert merged.rows["label"].tolist() == ["bad"] * 5 + ["good"] * 4
    shown = repr(twin) if twin.isalpha() else ascii(twin)
    assert merged.notes == (f"data.merge_labels: merged {shown} (2 rows) into 'bad'.",)
    assert read(labels, merge_labels=False).rows["label"].tolist() == labels
    assert read(labels, relabel={twin: "bad"}).rows["label"].tolist() == ["bad"] * 5 + ["good"] * 4


@pytest.mark.parametrize(
    ("labels", "into"),
    [
        pytest.param(["café", "cafe\u0301", "cafe\u0301", "x"], "cafe\u0301", id="the most frequent Unicode form"),
        pytest.param(["Straße", "STRASSE", "STRASSE", "x"], "STRASSE", id="full case folding"),
        pytest.param(["bad ", "bad ", "bad", "x"], "bad", id="a spelling without blanks at its ends"),
        pytest.param(["7", "07", "7.0", "7", "x"], "7", id="forms of a number"),
        pytest.param(["in stock", "in\u2009 stock", "in stock", "x"], "in stock", id="blanks within"),
    ],
)
def test_merged_classes_have_one_spelling(labels, into):
    assert read(labels, merge_labels=True).rows["label"].tolist() == [into] * (len(labels) - 1) + ["x"]


def test_twins_of_labels_and_in_data_classes():
    cells = [["Sound", "phone"], ["sound"], ["SOUND", "phone"], []]
    with pytest.raises(DataError, match=r"labels whose names differ.*\n.*'SOUND' \(1 row\), 'Sound' \(1 row\)"):
        read(cells, target="multilabel")
    merged = read(cells, target="multilabel", merge_labels=True, classes=["phone", "sound"])
    assert merged.rows["label"].tolist() == [("phone", "sound"), ("sound",), ("phone", "sound"), ()]
    # Twins that are left out are ignored.
    assert read(["a", "b", "c", "C"], classes=["b", "a"]).rows["label"].tolist() == ["a", "b"]


def test_invisible_labels_are_refused():
    with pytest.raises(DataError, match=r"nothing but blanks and invisible characters: '\\u200b' in 2 rows"):
        read(["a", "\u200b", "\u200b", "b"])


def test_other_sources_are_written_as_the_training_data():
    known = TextDataConfig(source="x")
    target = load(["a", "b"] * 10).target
    other = pd.DataFrame({"text": ["p", "q"], "label": ["A ", "b"]})
    with pytest.raises(DataError, match=r"'A ' \(1 row\), 'a' \(in the training data\)\nWrite them as the training"):
        read_split("other", NAME, known, target, {NAME: other})
    merged = read_split("other", NAME, known.model_copy(update={"merge_labels": True}), target, {NAME: other})
    assert [target.names[index] for index in merged.targets] == ["a", "b"]
    assert merged.notes == ("data.merge_labels: merged 'A ' (1 row) into 'a'.",)


def load(labels, others=None, **options):
    """The splits of a table; ``others`` are the labels of the test rows."""

    def table(values):
        return pd.DataFrame({"text": [f"text {n}" for n in range(len(values))], "label": list(values)})

    given = {NAME: table(labels)}
    if others is not None:
        given["<python: other>"], options = table(others), {**options, "test": "<python: other>"}
    return load_splits(TextDataConfig(source=NAME, **options), seed=0, given=given)


# Lists of labels.

LISTS = {
    "pandas": "['sound', 'phone']",
    "JSON": '["sound", "phone"]',
    "tuple": "('sound', 'phone')",
    "set": "{'phone', 'sound'}",
    "NumPy": "['sound' 'phone']",
    "NumPy scalars": "[np.str_('sound'), np.str_('phone')]",
    "list": ["sound", "phone"],
    "real tuple": ("sound", "phone"),
    "real set": {"sound", "phone"},
    "array": np.array(["sound", "phone"]),
}


@pytest.mark.parametrize("cell", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("options", [{}, {"separator": ","}], ids=["no separator", "a separator"])
def test_a_column_of_lists_needs_no_separator(cell, options):
    source = read([cell, "[]" if isinstance(cell, str) else [], None, cell], target="multilabel", **options)
    assert source.class_names == ("phone", "sound")
    assert source.rows["label"].tolist() == [("phone", "sound"), (), (), ("phone", "sound")]
    assert source.notes == ("Column 'label' has lists of labels.",)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_lists_that_pandas_wrote_are_read_back(tmp_path, suffix):
    lists = [["a, b", "it's"], ['say "x"'], [], ["ü|n\n1", "it's"]]
    table, file = pd.DataFrame({"text": list("pqrs"), "label": lists}), tmp_path / f"t{suffix}"
    if suffix == ".csv":
        table.to_csv(file, index=False)
    elif suffix == ".jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_parquet(file)
    source = read_source(str(file), TextDataConfig(source=str(file), target="multilabel"))
    assert source.rows["label"].tolist() == [tuple(sorted(row)) for row in lists]


def test_lists_of_numbers_are_labels_in_numeric_order():
    source = read([[1, 10], [2.0], "[10 2]", ()], target="multilabel")
    assert (source.class_names, source.rows["label"].tolist()) == (
        ("1", "2", "10"),
        [("1", "10"), ("2",), ("2", "10"), ()],
    )


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        pytest.param(["['a']", "b", "['b']"], {}, "but not in all rows: 'b' in row 2", id="text among lists"),
        pytest.param(["['a']", "b"], {"separator": "|"}, "in all rows: 'b' in row 2", id="and a separator"),
        pytest.param(["[a, b]", "[a]"], {"separator": ","}, "labels in brackets: '[a, b]' in row 1", id="no quotes"),
        pytest.param([["a"], [1]], {}, "text and of numbers: ['a'] in row 1, [1] in row 2", id="mixed"),
        pytest.param([[0, 1, 1], [1, 0, 0]], {}, "has a 0 or 1 for each label and no names", id="indicators"),
        pytest.param([["a"], [None]], {}, "values that are not labels: [None] in row 2", id="missing"),
        pytest.param([["a"], [["b"]]], {}, "values that are not labels: [['b']] in row 2", id="nested"),
        pytest.param(["a|b", "a"], {}, "Likely separators: '|' in 1 row.", id="no lists at all"),
    ],
)
def test_columns_that_are_not_lists(labels, options, says):
    with pytest.raises(DataError) as caught:
        read(labels, target="multilabel", **options)
    assert says in str(caught.value)


def test_lists_are_not_classes():
    with pytest.raises(DataError, match=r"data\.target=multilabel"):
        read(["['a']", "['b']"])
    with pytest.raises(DataError, match=r"data\.target=multilabel"):
        read([["a"], ["b"]])


@pytest.mark.parametrize(
    ("labels", "separator", "likely"),
    [
        (["a|b", "a", "b"], ";", "'|' in 1 row"),
        (["a, b", "a, c", "b"], ";", "',' in 2 rows"),
        (["a;b", "a"], "|", "';' in 1 row"),
        (["a\tb", "a"], "|", "'\\t' in 1 row"),
        (["a/b", "a"], "|", "'/' in 1 row"),
        (["a b", "a", "b"], "|", "' ' in 1 row"),
    ],
)
def test_a_separator_that_separates_nothing_is_refused_unless_classes_are_given(labels, separator, likely):
    with pytest.raises(DataError) as caught:
        read(labels, target="multilabel", separator=separator)
    assert f"data.separator={separator!r} does not occur in the labels" in str(caught.value)
    assert f"Likely separators: {likely}." in str(caught.value)
    single = read(labels, target="multilabel", separator=separator, classes=sorted(set(labels)))
    assert single.rows["label"].tolist() == [(label,) for label in labels]


def test_a_column_in_which_each_row_has_one_label():
    source = read(["red wine", "white wine", None], target="multilabel", separator="|")
    assert source.rows["label"].tolist() == [("red wine",), ("white wine",), ()]
    assert source.notes == ("data.separator='|' does not occur in the labels: each row has one label at most.",)


# Classes that a recipe chooses and renames.


def test_classes_choose_and_order():
    source = read(["c", "a", "b", "a", "c"], classes=["c", "a"])
    assert source.class_names == ("c", "a")
    assert source.rows["text"].tolist() == ["text 0", "text 1", "text 3", "text 4"]
    assert source.rows["label"].tolist() == ["c", "a", "a", "c"]
    assert source.notes == ("data.classes: 1 of 5 rows are left out, of other classes: 'b' (1 row).",)


def test_labels_choose_and_order():
    source = read([["x", "y"], ["z"], ["y", "z"]], target="multilabel", classes=["z", "x"])
    assert source.rows["label"].tolist() == [("x",), ("z",), ("z",)]
    assert source.notes[-1] == "data.classes: other labels are left out: 'y' (2 rows)."


def test_relabel_is_applied_before_classes_and_once_per_name():
    source = read(["a", "b", "c", "d"], relabel={"a": "b", "b": "x", "c": "b"}, classes=["x", "b"])
    assert source.rows["label"].tolist() == ["b", "x", "b"]
    numbers = TextDataConfig(source="x", classes=[1, 0], relabel={3: 1})
    assert (numbers.classes, numbers.relabel) == (["1", "0"], {"3": "1"})


def test_relabel_of_labels_and_of_columns():
    assert read([["a", "b"], ["c"]], target="multilabel", relabel={"b": "a"}).rows["label"].tolist() == [("a",), ("c",)]
    table = pd.DataFrame({"text": list("pqr"), "a": [1, 0, 0], "b": [0, 1, 0]})
    config = TextDataConfig(source=NAME, target="multilabel", label=["a", "b"], relabel={"b": "c"})
    source = read_source(NAME, config, table)
    assert (source.class_names, source.rows["label"].tolist()) == (("a", "c"), [("a",), ("c",), ()])


def test_a_name_that_no_row_has():
    with pytest.raises(DataError, match=r"data.relabel: No row has 'baad'. Did you mean bad\?"):
        load(["bad", "good"] * 10, relabel={"baad": "ugly"})
    with pytest.raises(DataError, match=r"data.classes: .* lacks 1 of them. No row has 'Bad'. Did you mean bad\?"):
        load(["bad", "good"] * 10, classes=["Bad", "good"])
    # One that only the test rows have is renamed there.
    splits = load(["bad", "good"] * 10, ["BAD!", "good"], relabel={"BAD!": "bad"})
    assert [splits.target.names[index] for index in splits.test.targets] == ["bad", "good"]


def test_classes_and_relabel_can_be_given_from_python():
    recipe = TextClassification([("t", "a"), ("u", "b"), ("v", "c")], classes=["b", "a"], relabel={"c": "b"})
    assert (recipe.config.data.classes, recipe.config.data.relabel) == (["b", "a"], {"c": "b"})


def test_placeholders_of_missing_labels_are_pointed_out():
    assert read(["a", "nan", "NaN", "b"], merge_labels=False).notes == (
        "If these are missing labels and not names, list the others in data.classes: 'NaN' (1 row), 'nan' (1 row).",
    )
    assert read(["a", "nan", "None"], classes=["a", "nan"]).notes == (
        "data.classes: 1 of 3 rows are left out, of other classes: 'None' (1 row).",
    )


# Classes without rows.


def test_a_rare_class_may_be_missing_from_test_rows_but_not_from_training_rows():
    splits = load(["a", "b", "rare"] * 10, ["a", "b", "a"]).with_gaps()
    assert splits.notes == ("Warning: the test split has no rows of classes: 'rare'. Its metrics leave them out.",)
    with pytest.raises(DataError, match="not in the training data: rare"):
        load(["a", "b"] * 10, ["a", "rare"])


@pytest.mark.parametrize("wrong", [0, 5])
def test_averages_are_over_the_classes_that_have_rows(wrong):
    truth = np.array([0, 2] * 20)
    chosen = np.where(np.arange(40) < wrong, 1, truth)
    report = ClassificationHead(tuple("abc"), HeadConfig()).report("test", np.eye(3, dtype="float32")[chosen], truth)
    assert report.macro_f1 == pytest.approx(f1_score(truth, chosen, labels=[0, 2], average="macro"))
    figures = precision_recall_fscore_support(truth, chosen, labels=[0, 2])[:3]
    for one, *expected in zip((report.classes[0], report.classes[2]), *figures, strict=True):
        assert (one.precision, one.recall, one.f1) == pytest.approx(tuple(expected))
    if not wrong:  # with its default labels, those of either, scikit-learn agrees
        assert (report.accuracy, report.macro_f1) == (1.0, f1_score(truth, chosen, average="macro")) == (1.0, 1.0)
    written = json.loads(json.dumps(report.to_json()))
    assert written["without_rows"] == ["b"]
    assert written["classes"]["b"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_averages_of_labels_are_over_those_that_have_rows():
    random = np.random.default_rng(0)
    truth = (random.uniform(size=(50, 4)) < 0.4).astype("float32")
    truth[:, 1] = 0.0
    scores = random.uniform(size=(50, 4)).astype("float32")
    report = MultilabelHead(tuple("abcd"), HeadConfig(), (0.5,) * 4).report("test", scores, truth)
    there = [0, 2, 3]
    assert report.macro_f1 == pytest.approx(f1_score(truth[:, there], scores[:, there] >= 0.5, average="macro"))
    assert report.micro_f1 == pytest.approx(f1_score(truth, scores >= 0.5, average="micro"))
    expected = average_precision_score(truth[:, there], scores[:, there], average="macro")
    assert report.mean_average_precision == pytest.approx(expected)
    assert report.to_json()["without_rows"] == ["b"] and report.labels[1].f1 is None


def test_epoch_metrics_leave_out_the_same_classes():
    random = np.random.default_rng(1)
    logits, truth = random.normal(size=(60, 3)).astype("float32"), random.choice([0, 2], 60)
    head = ClassificationHead(tuple("abc"), HeadConfig())
    measured = head.measure(logits, truth, head.metrics(["macro_f1", "auroc"]))
    f1 = f1_score(truth, logits.argmax(1), labels=[0, 2], average="macro")
    assert measured["macro_f1"] == pytest.approx(f1, abs=1e-6)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert measured["auroc"] == pytest.approx(
        np.mean([roc_auc_score(truth == k, shares[:, k]) for k in (0, 2)]), abs=2e-3
    )
    labels = np.eye(3, dtype="float32")[truth]
    several = MultilabelHead(tuple("abc"), HeadConfig(), (0.5,) * 3)
    measured = several.measure(logits, labels, several.metrics(["f1", "mean_average_precision"]))
    assert measured["f1"] == pytest.approx(
        f1_score(labels[:, [0, 2]], logits[:, [0, 2]] > 0, average="macro"), abs=1e-6
    )


def test_many_classes_are_printed_as_their_confusions_without_truncated_names(monkeypatch):
    names = tuple(f"a class with the long name {n}" for n in range(14))
    truth = np.arange(13).repeat(3)
    chosen = np.where(np.arange(39) % 3 == 0, (truth + 1) % 14, truth)
    report = ClassificationHead(names, HeadConfig()).report("test", np.eye(14, dtype="float32")[chosen], truth)
    console = Console(width=40, force_terminal=True, record=True, file=open("/dev/null", "w"))
    print_report(report, console)
    text = console.export_text()
    assert "Confusion: the most frequent" in text and f"left out of averages: {names[13]}" in text
    assert [name for name in names if name not in text] == []
    assert (
        np.array(report.to_json()["confusion"]).tolist() == np.histogram2d(truth, chosen, [range(15)] * 2)[0].tolist()
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_images, pebble):
    """A run on the classes 02, 09, 9 and 10; the first one is 2 in the folder."""
    root = tmp_path_factory.mktemp("labels")
    images = make_images(root / "images", {"10": 12, "2": 12, "9": 12, "09": 12}, size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return ImageClassification(
            {"source": str(images), "image_size": 16, "relabel": {"2": "02"}, "merge_labels": False},
            backbone={"name": "pebble", "weights": "none"},
            policy={"name": "head", "head_solver": "sgd"},
            training={"epochs": 1, "class_weights": {"02": 1.0, "09": 2.0, "9": 1.0, "10": 1.0}},
            export={"formats": []},
        ).fit(root / "run")


def test_evaluating_on_two_of_four_classes(run, make_images, tmp_path, command):
    two = make_images(tmp_path / "two", {"10": 6, "9": 6}, size=16)
    chosen = [prediction.label for prediction in run.predict(sorted(map(str, two.glob("*/*"))))]
    truth = ["10"] * 6 + ["9"] * 6
    expected = f1_score(truth, chosen, labels=["9", "10"], average="macro", zero_division=0.0)
    result = command("evaluate", run.folder, "--data", two)
    assert "Classes without rows, left out of averages: 02, 09\n" in result.stdout
    written = json.loads(command("evaluate", run.folder, "--data", two, "--json").stdout)
    (figures,) = written.values()
    assert figures["macro_f1"] == pytest.approx(expected)
    assert (figures["without_rows"], figures["classes"]["02"]["f1"]) == (["02", "09"], None)
    chosen_run = Run(run.folder)
    data = chosen_run.config.data.model_copy(update={"classes": ["02", "10"]})
    chosen_run.config = chosen_run.config.model_copy(update={"data": data})
    with pytest.warns(TransferWarning, match=r"data.classes: 6 of 12 rows are left out"):
        assert chosen_run.evaluate(two).n == 6


def test_a_run_folder_uses_the_names_and_the_order_that_it_recorded(run, tmp_path):
    """Earlier versions ordered numbers as text, and had neither data.merge_labels nor sums of files."""
    assert run.target.names == ("02", "09", "9", "10")
    old = shutil.copytree(run.folder, tmp_path / "old")
    (old / "sums.json").unlink()
    record = json.loads((old / "data.json").read_text())
    (old / "data.json").write_text(json.dumps({**record, "class_names": ["02", "09", "10", "9"]}))
    recipe = (old / "recipe.yaml").read_text()
    assert "merge_labels: false" in recipe
    (old / "recipe.yaml").write_text(recipe.replace("merge_labels: false", "merge_labels: null"))
    before, after = run.evaluate(), Run(old).evaluate()
    assert [one.name for one in after.classes] == ["02", "09", "10", "9"]
    # The third output is another class now, and the rows of each class are where its name is.
    assert np.array_equal(np.array(after.confusion), np.array(before.confusion)[[0, 1, 3, 2]])


# Sources of other kinds.


def test_selected_rows_of_cached_images_have_their_own_pixels():
    images = np.arange(30 * 12 * 12 * 3, dtype=np.uint8).reshape(30, 12, 12, 3)
    labels = [str(number % 3) for number in range(30)]
    config = ImageDataConfig(source=NAME, classes=[2, 0])
    splits = load_splits(config, seed=0, given={NAME: (images, labels)})
    assert sum(map(len, splits)) == 20
    for split in splits:
        for row, (name, target) in enumerate(zip(split.examples.names, split.targets, strict=True)):
            number = int(name.removeprefix("row ")) - 1
            assert splits.target.names[target] == labels[number]
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(split.examples.read(row)))), images[number])


def test_pretraining_draws_the_same_rows_as_a_classifier():
    table = pd.DataFrame({"text": [f"text {n}" for n in range(60)], "label": ["a", "A", "b", "c", "c"] * 12})
    config = TextDataConfig(source=NAME, merge_labels=True, relabel={"c": "b"}, classes=["b", "a"])
    both = [read(config, seed=1, given={NAME: table}) for read in (load_splits, load_unlabelled)]
    names = [[split.examples.names for split in splits] for splits in both]
    assert names[0] == names[1]
    with pytest.raises(DataError, match=r"data.classes and data.relabel and data.merge_labels: .* has no labels"):
        load_unlabelled(config, seed=1, given={NAME: table.drop(columns="label")})
