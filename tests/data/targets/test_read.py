"""What label columns mean: arrays, strata and splits of classes, labels and numbers."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import load_splits, read_split
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.numbers import NumberTarget
from keras_transfer.data.targets.read import read_targets


def config(**options):
    return ImageDataConfig(source="x", **options)


def read(rows, **options):
    labels = read_targets(Path("t.csv"), pd.DataFrame(rows, dtype=object), config(**options))
    return labels.values, labels.names


def test_columns_of_0_and_1_are_labels_in_the_columns_order():
    rows = [{"b": "1", "a": "0"}, {"b": "0", "a": "0"}, {"b": "1.0", "a": "1"}]
    values, names = read(rows, target="multilabel", label=["b", "a"])
    assert names == ("b", "a")
    assert MultilabelTarget(names).encode(values).tolist() == [[1, 0], [0, 0], [1, 1]]
    values, _ = read([{"b": True, "a": 0}, {"b": False, "a": 1}], target="multilabel", label=["b", "a"])
    assert values == [("b",), ("a",)]


def test_one_column_is_divided_by_a_separator():
    rows = [{"tags": "red; blue"}, {"tags": None}, {"tags": "blue;;blue"}, {"tags": " green "}]
    values, names = read(rows, target="multilabel", label="tags", separator=";")
    assert names == ("blue", "green", "red")
    assert values == [("blue", "red"), (), ("blue",), ("green",)]
    target = MultilabelTarget(names)
    assert [target.decode(row) for row in target.encode(values)] == [["blue", "red"], [], ["blue"], ["green"]]


def test_numbers_are_read_from_text_as_from_numbers():
    values, names = read([{"a": "1.5", "b": 2}, {"a": "-3e2", "b": 0.25}], target="number", label=["a", "b"])
    assert names == ("a", "b")
    assert NumberTarget(names).encode(values).tolist() == [[1.5, 2.0], [-300.0, 0.25]]


def test_numbers_in_data_json_are_short():
    target = NumberTarget(("p",))
    assert target.decode(target.encode([(1 / 3,)])[0]) == [0.33333334]
    assert target.describe(target.encode([(1.0,), (4.0,)])) == {
        "numbers": {"p": {"mean": 2.5, "least": 1, "largest": 4}}
    }


def test_combinations_of_few_rows_are_merged():
    target = MultilabelTarget(("a", "b", "c"))
    values = [("a",)] * 10 + [("b",)] * 6 + [("a", "b")] * 3 + [("c",)] * 2 + [()]
    targets = target.encode(values)
    few = Counter(target.strata(targets, least=2, most=20))
    assert few == {"a": 11, "b": 6, "a + b": 3, "c": 2}  # the one row without a label joins the largest
    fewer = Counter(target.strata(targets, least=2, most=3))
    assert fewer == {"a": 10, "b": 6, "other combinations": 6}
    assert Counter(target.strata(targets, least=5, most=20)) == {"a": 10, "b": 6, "other combinations": 6}


@pytest.mark.parametrize(
    "values", [np.arange(100.0), np.repeat([0.0, 1 / 3, 2 / 3, 1.0], [57, 12, 4, 27])], ids=["even", "ties"]
)
@pytest.mark.parametrize(("least", "most"), [(2, 100), (5, 20), (2, 3), (2, 1)])
def test_bins_of_numbers_keep_their_order_and_bounds(values, least, most):
    target = NumberTarget(("x",))
    shuffled = np.random.default_rng(0).permutation(values)
    strata = np.array(
        [int(name.removeprefix("bin ")) for name in target.strata(shuffled[:, None], least=least, most=most)]
    )
    counts = Counter(strata.tolist())
    assert min(counts.values()) >= least and len(counts) <= min(most, 10)
    order = np.argsort(shuffled, kind="stable")
    assert (np.diff(strata[order]) >= 0).all()
    for value in np.unique(values):
        assert len(set(strata[shuffled == value].tolist())) == 1
    if most >= 10:
        assert len(counts) >= 3


@pytest.fixture
def table(tmp_path):
    """120 rows with two labels of which one is rare, and a number."""
    (tmp_path / "p").mkdir()
    rows = []
    for number in range(120):
        (tmp_path / "p" / f"{number:03}.png").write_bytes(b"x" * (number + 1))
        rows.append(
            {
                "path": f"p/{number:03}.png",
                "often": int(number % 2 == 0),
                "seldom": int(number % 10 == 0),
                "tags": ";".join(name for name, n in (("often", 2), ("seldom", 10)) if number % n == 0),
                "age": number / 7,
            }
        )
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def load(table, **options):
    return load_splits(ImageDataConfig(source=str(table), test=0.25, validation=0.2, **options), seed=0)


def test_every_split_preserves_the_shares_of_the_labels(table):
    splits = load(table, target="multilabel", label=["often", "seldom"])
    assert [split.targets.sum(axis=0).tolist() for split in splits] == [[36, 7], [9, 2], [15, 3]]
    tags = load(table, target="multilabel", label="tags", separator=";")
    assert tags.target == splits.target
    for one, other in zip(tags, splits, strict=True):
        assert one.examples.names == other.examples.names
        np.testing.assert_array_equal(one.targets, other.targets)


def test_every_split_preserves_the_spread_of_the_numbers(table):
    splits = load(table, target="number", label="age")
    for split in splits:
        assert split.targets.dtype == np.float32
        deciles = np.histogram(split.targets, bins=10, range=(0, 17))[0] / len(split)
        assert np.abs(deciles - 0.1).max() < 0.05


def test_data_json_names_labels_and_numbers(table):
    labels = load(table, target="multilabel", label=["often", "seldom"]).describe()
    assert labels["label_names"] == ["often", "seldom"] and "class_names" not in labels
    assert labels["splits"]["test"]["labels"] == {"often": 15, "seldom": 3}
    assert ["p/020.png", ["often", "seldom"]] in [row for part in labels["splits"].values() for row in part["rows"]]
    numbers = load(table, target="number", label="age").describe()
    assert numbers["number_names"] == ["age"]
    assert set(numbers["splits"]["train"]["numbers"]["age"]) == {"mean", "least", "largest"}
    assert ["p/007.png", [1.0]] in [row for part in numbers["splits"].values() for row in part["rows"]]


def test_a_changed_number_changes_the_fingerprint(table):
    before = load(table, target="number", label="age")
    text = table.read_text().replace("17.0", "17.5")
    table.write_text(text)
    after = load(table, target="number", label="age")
    changed = [a.fingerprint(before.target) != b.fingerprint(after.target) for a, b in zip(before, after, strict=True)]
    assert sum(changed) == 1


def test_another_source_may_lack_labels_and_may_name_them_in_another_order(table, tmp_path):
    (tmp_path / "p" / "one.png").write_bytes(b"x")
    (tmp_path / "other.csv").write_text("path,tags\np/one.png,seldom\n")
    settings = ImageDataConfig(source="x", target="multilabel", label="tags", separator=";")
    split = read_split("held out", str(tmp_path / "other.csv"), settings, MultilabelTarget(("often", "seldom")))
    assert split.targets.tolist() == [[0, 1]]


def test_strata_of_classes_are_the_classes():
    target = ClassTarget(("b", "a"))
    assert target.strata(target.encode(["a", "b", "a"]), least=5, most=1) == ["a", "b", "a"]


def test_solar_cells_have_columns_of_numbers_and_labels():
    numbers = load("solar_cells", target="number", label="probability")
    thirds = {round(3 * float(value), 3) for split in numbers for value in split.targets.ravel()}
    assert thirds == {0.0, 1.0, 2.0, 3.0}
    labels = load("solar_cells", target="multilabel", label=["defective", "monocrystalline"])
    assert sum(split.targets.sum(axis=0) for split in labels).tolist() == [821, 1074]
    kinds = load("solar_cells", label="cell_type")
    assert kinds.target.names == ("mono", "poly")
