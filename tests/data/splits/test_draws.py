import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.draws import draw_fold, draw_groups, draw_per_class
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.errors import DataError


def load(source, seed=0, **options):
    return load_splits(ImageDataConfig(source=str(source), **options), seed=seed)


@pytest.fixture
def table(tmp_path):
    """240 rows of three classes from 40 patients, who have 1 to 11 images each."""
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), random.integers(1, 12, 40))[:240]
    rows = []
    for number, patient in enumerate(patients):
        (tmp_path / f"{number:03}.png").write_bytes(b"x" * (number + 1))
        rows.append({"path": f"{number:03}.png", "label": "abc"[(number * 7 + patient) % 3], "patient": f"p{patient}"})
    file = tmp_path / "table.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def test_no_group_is_in_two_splits_and_shares_are_kept_as_far_as_groups_allow(table):
    patients = pd.read_csv(table).set_index("path")["patient"]
    for seed in range(5):
        splits = load(table, seed, group="patient", test=0.25, validation=0.2)
        members = [set(patients[list(split.examples.names)]) for split in splits]
        assert sum(map(len, members)) == len(set.union(*members)) == patients.nunique()
        assert sum(map(len, splits)) == len(patients)
        assert abs(len(splits.test) - 0.25 * len(patients)) <= 8
        everywhere = np.bincount(np.concatenate([split.targets for split in splits])) / len(patients)
        for split in splits:
            assert np.abs(np.bincount(split.targets, minlength=3) / len(split) - everywhere).max() < 0.1


def test_groups_are_the_same_on_every_machine_and_others_with_another_seed(table):
    names = [load(table, seed, group="patient").test.examples.names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    # A change here gives every user's runs other test rows: it needs a line in the changelog.
    assert hashlib.sha256(json.dumps(names[0]).encode()).hexdigest()[:16] == "3aeb1a02b4fc1fac"


def test_strata_are_preserved_if_groups_have_one_class_each():
    groups = [f"g{number // 5}" for number in range(100)]
    strata = ["rare" if number // 5 < 4 else "common" for number in range(100)]
    drawn = draw_groups(strata, groups, share=0.25, seed=0)
    assert (drawn[:20].sum(), drawn[20:].sum()) == (5, 20)


def test_groups_that_are_drawn_already_count_towards_the_share():
    groups, strata = [f"g{number // 10}" for number in range(100)], ["all"] * 100
    sides = {"g0": True, "g4": True, "g9": True}
    drawn = draw_groups(strata, groups, share=0.3, seed=0, sides=sides)
    assert {group for group, inside in zip(groups, drawn, strict=True) if inside} == set(sides)


def test_many_strata_leave_no_share_empty():
    groups = [f"g{number // 4}" for number in range(28)]
    strata = [f"bin {number % 9}" for number in range(28)]
    # A group of 4 rows is nearer than none to a share of over 2 rows.
    drawn = {wanted: draw_groups(strata, groups, share=wanted / 28, seed=0).sum() for wanted in (1.4, 2.0, 2.8, 4.2)}
    assert drawn == {1.4: 0, 2.0: 0, 2.8: 4, 4.2: 4}


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_are_numbered_as_in_scikit_learn(grouped):
    strata, names = list("aab" * 10), [f"g{number % 10}" for number in range(30)]
    groups = names if grouped else None
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    divided = kind(3, shuffle=True, random_state=5).split(np.zeros(30), strata, groups)
    for fold, (_, held_out) in enumerate(divided, 1):
        drawn = draw_fold(strata, groups, folds=3, fold=fold, seed=5)
        assert np.flatnonzero(drawn).tolist() == held_out.tolist()


def test_folds_keep_groups_together_and_each_is_a_test_group_once(table):
    patients = pd.read_csv(table).set_index("path")["patient"]
    tests = []
    for fold in (1, 2, 3):
        splits = load(table, group="patient", folds=3, fold=fold)
        homes = [set(patients[list(split.examples.names)]) for split in splits]
        assert sum(map(len, homes)) == 40 == len(set.union(*homes))
        tests += splits.test.examples.names
    assert sorted(tests) == sorted(patients.index)
    rows = pd.read_csv(table)
    rows.assign(label=np.where(rows["patient"].isin(["p0", "p1"]), "rare", rows["label"])).to_csv(table, index=False)
    with pytest.raises(DataError, match=r"folds=3 exceeds the number of groups of 'patient' in .*: 'rare' has 2"):
        load(table, group="patient", folds=3, fold=1)
    assert {"p0", "p1"} & set(patients[list(load(table, group="patient", folds=2, fold=1).test.examples.names)])


def test_folds_of_rows_that_have_a_split_are_refused(table):
    rows = pd.read_csv(table)
    rows.assign(fold=np.where(np.arange(len(rows)) % 5, "train", "test")).to_csv(table, index=False)
    with pytest.raises(
        DataError, match=r"table\.csv defines test rows, but with folds .* Remove data\.folds, or merge"
    ):
        load(table, split="fold", folds=3, fold=1)


def test_groups_that_cannot_be_divided_are_refused(table):
    rows = pd.read_csv(table)
    rows.assign(patient="only").to_csv(table, index=False)
    with pytest.raises(DataError, match=r"data\.group=patient: data\.test=0\.2 of .* in 1 groups\. Largest: only"):
        load(table, group="patient")


def test_a_group_that_a_column_of_splits_divides_is_refused(table):
    rows = pd.read_csv(table)
    rows.assign(fold=["train", "test"] * (len(rows) // 2) + ["train"] * (len(rows) % 2)).to_csv(table, index=False)
    with pytest.raises(DataError, match=r"groups of column 'patient' are in two splits: p\d+ \(test and train\)"):
        load(table, group="patient", split="fold", validation=0)


def test_a_column_assigns_rows_to_splits(table):
    rows = pd.read_csv(table)
    fold = np.where(
        np.arange(len(rows)) % 5 == 0, "test", np.where(np.arange(len(rows)) % 5 == 1, "validation", "train")
    )
    for name in ("fold", "split"):
        rows.assign(**{name: fold}).to_csv(table, index=False)
        for split in load(table, split=name):
            assert list(split.examples.names) == rows["path"][fold == split.name].tolist()
    # What the column lacks is drawn from the training rows.
    rows.assign(fold=np.where(fold == "test", "test", "train")).to_csv(table, index=False)
    splits = load(table, split="fold", validation=0.25)
    assert list(splits.test.examples.names) == rows["path"][fold == "test"].tolist()
    assert len(splits.validation) == np.ceil(0.25 * (fold != "test").sum())


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        (["train", "vla", "test"], ["data.split", "'vla' in", "Expected: train, validation, test"]),
        (["train", "val", "dev", "test"], ["data.split", "2 names of the validation split", "'val' and 'dev'"]),
        (["train", "", "test"], ["'fold' is empty"]),
        (["validation", "test"], ["validation and test rows, but no training rows"]),
    ],
)
def test_an_invalid_column_of_splits_is_refused(table, values, needs):
    rows = pd.read_csv(table)
    rows.assign(fold=[values[n % len(values)] for n in range(len(rows))]).to_csv(table, index=False)
    with pytest.raises(DataError) as refusal:
        load(table, split="fold")
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


def test_a_few_rows_of_each_class_are_used_and_the_unused_ones_are_counted(table):
    whole, few, more = load(table), load(table, per_class=8), load(table, per_class=16)
    assert np.bincount(few.train.targets).tolist() == [8, 8, 8]
    assert set(few.train.examples.names) < set(more.train.examples.names) < set(whole.train.examples.names)
    assert few.test.examples.names == whole.test.examples.names
    (note,) = few.notes
    assert note == f"data.per_class=8: {len(whole.train) - 24} of {len(whole.train)} training rows are not used"
    assert json.loads(json.dumps(few.describe()))["notes"] == [note]
    assert load(table, 1, per_class=8).train.examples.names != few.train.examples.names
    with pytest.raises(DataError, match=r"data\.per_class=100: .*'a' has \d+"):
        load(table, per_class=100)


def test_as_many_rows_per_class_as_the_smallest_has(table):
    options = {"test": 0, "validation": 0}
    counts = np.bincount(load(table, **options).train.targets)
    few = load(table, per_class=int(counts.min()), **options)
    assert np.bincount(few.train.targets).tolist() == [counts.min()] * 3
    with pytest.raises(DataError, match=rf"per_class={counts.min() + 1}: 1 classes .*: '.' has {counts.min()}\. Use"):
        load(table, per_class=int(counts.min()) + 1, **options)


def test_few_rows_are_nested():
    labels = np.random.default_rng(0).integers(0, 3, 90)
    few, more = (set(draw_per_class(labels, count, seed=4).tolist()) for count in (3, 9))
    assert few < more
    assert len(more) == 27


def test_paths_are_relative_to_the_given_root(table, tmp_path):
    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    moved = table.rename(elsewhere / "t.csv")
    with pytest.raises(DataError, match=r"files that do not exist.*relative to .*tables; use data\.root"):
        load(moved)
    assert sum(map(len, load(moved, root=str(tmp_path)))) == len(pd.read_csv(moved))
