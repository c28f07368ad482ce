import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.splits.splits import Split, load_splits, read_split
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.errors import DataError


def load(source, seed=0, **options):
    return load_splits(ImageDataConfig(source=str(source), **options), seed=seed)


def shares(splits):
    return {split.name: np.bincount(split.targets, minlength=len(splits.target.names)).tolist() for split in splits}


def digest(splits):
    return hashlib.sha256(json.dumps([[s.name, s.examples.names] for s in splits]).encode()).hexdigest()[:16]


@pytest.fixture
def table(tmp_path):
    """120 rows of two classes, 3 to 1, from two sites, of which one has a fifth of the rows."""
    (tmp_path / "p").mkdir()
    rows = []
    for number in range(120):
        name = f"p/{number:03}.png"
        (tmp_path / name).write_bytes(b"x" * (number + 1))
        rows.append({"path": name, "label": "ab"[number % 4 == 0], "site": "st"[number % 5 == 0], "w": number / 100})
    file = tmp_path / "table.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def test_every_split_preserves_the_shares_of_the_classes(table):
    splits = load(table, test=0.2, validation=0.25)
    # 24 of 120 for the test, then 24 of the 96 that are left.
    assert shares(splits) == {"train": [54, 18], "validation": [18, 6], "test": [18, 6]}


def test_splits_partition_the_rows(table):
    splits = load(table)
    paths = [path for split in splits for path in split.examples.names]
    assert len(paths) == len(set(paths)) == 120


def furthest_from_its_share(table, splits):
    """By how many rows the worst combination of label and site in the worst split is off."""
    rows = pd.read_csv(table).set_index("path")
    everywhere = rows.groupby(["label", "site"]).size() / len(rows)
    counts = [rows.loc[list(split.examples.names)].groupby(["label", "site"]).size() for split in splits]
    return max((count - everywhere * count.sum()).abs().max() for count in counts)


def test_further_columns_are_stratified_on_request(table):
    assert furthest_from_its_share(table, load(table, stratify=["label", "site"])) < 1.5
    assert furthest_from_its_share(table, load(table)) > 2


@pytest.mark.parametrize("options", [{"test": 0.2}, {"folds": 5, "fold": 3}])
def test_numbers_are_drawn_evenly_from_their_range(tmp_path, options):
    numbers = np.random.default_rng(0).permutation(100)
    for number in numbers:
        (tmp_path / f"{number}.png").write_bytes(b"x")
    table = tmp_path / "numbers.csv"
    pd.DataFrame({"path": [f"{number}.png" for number in numbers], "label": numbers}).to_csv(table, index=False)
    splits = load(table, target="number", validation=0, **options)
    drawn = np.array([int(name.removesuffix(".png")) for name in splits.test.examples.names])
    assert np.bincount(drawn // 10, minlength=10).tolist() == [2] * 10


@pytest.mark.parametrize(("key", "value"), [("stratify", ["label", "sex"]), ("group", "sex"), ("split", "sex")])
def test_a_column_that_a_sample_set_lacks_is_refused(key, value):
    with pytest.raises(DataError, match=rf"data\.{key}: solar_cells has no column 'sex'\. Columns: .*cell_type"):
        load("solar_cells", **{key: value})


def test_the_same_seed_gives_the_same_splits_and_another_seed_others(table):
    assert digest(load(table)) == digest(load(table))
    assert digest(load(table, seed=1)) != digest(load(table))


def test_the_order_of_a_table_does_not_matter(table):
    before = digest(load(table))
    pd.read_csv(table).sample(frac=1.0, random_state=3).to_csv(table, index=False)
    assert digest(load(table)) == before


def test_splits_are_the_same_on_every_machine(table):
    # A change here gives every user's runs other test rows: it needs a line in the changelog.
    assert digest(load(table, seed=0)) == "d833d1c10b674f34"
    splits = load("solar_cells", test=0.25, stratify=["probability", "cell_type"])
    assert shares(splits) == {"train": [1149, 523], "validation": [203, 93], "test": [451, 205]}
    assert digest(splits) == "fea69d63f1f37e05"


def test_explicit_folders_are_used_unchanged(make_images, tmp_path):
    root = tmp_path / "p"
    for name, counts in (("train", (10, 6)), ("validation", (3, 2)), ("test", (1, 4))):
        make_images(root / name, dict(zip(("cat", "dog"), counts, strict=True)), size=8)
    splits = load(root)
    assert shares(splits) == {"train": [10, 6], "validation": [3, 2], "test": [1, 4]}
    assert all(path.startswith(f"{split.name}/") for split in splits for path in split.examples.names)
    for name in ("test", "validation"):
        with pytest.raises(DataError, match=rf"data\.{name}=0\.5: .* has {name} rows of its own, so no share is drawn"):
            load(root, **{name: 0.5})


def test_splits_without_a_folder_are_drawn_from_the_training_part(make_images, tmp_path):
    root = tmp_path / "p"
    make_images(root / "train", {"cat": 10, "dog": 10}, size=8)
    make_images(root / "test", {"cat": 2, "dog": 2}, size=8)
    assert shares(load(root, validation=0.2)) == {"train": [8, 8], "validation": [2, 2], "test": [2, 2]}


def test_a_share_of_zero_leaves_a_split_empty(table):
    splits = load(table, test=0, validation=0)
    assert [len(split) for split in splits] == [120, 0, 0]


@pytest.mark.parametrize(
    ("rows", "options", "counts"),
    [
        pytest.param(["a"] * 20 + ["b"] * 20, {}, [34, 6], id="enough"),
        pytest.param(list("abcdefgh") * 5, {}, [40, 0], id="fewer validation rows than classes"),
        pytest.param(["a"] * 30 + ["b"], {}, [31, 0], id="a class with one row"),
        pytest.param(["a"] * 4 + ["b"] * 4, {"group": "label"}, [8, 0], id="one group per class"),
        pytest.param(["a"] * 4 + ["b"] * 4, {"validation": 0.25}, [6, 2], id="a share is drawn as it is given"),
    ],
)
def test_all_rows_train_if_they_are_too_few_to_hold_some_out(tmp_path, rows, options, counts):
    for number in range(len(rows)):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    table = tmp_path / "t.csv"
    pd.DataFrame({"path": [f"{n}.png" for n in range(len(rows))], "label": rows}).to_csv(table, index=False)
    splits = load(table, test=0, **options)
    assert [len(splits.train), len(splits.validation)] == counts
    noted = [note for note in splits.notes if "too few to hold some out" in note]
    assert len(noted) == (counts[1] == 0)


def test_a_separate_source_for_the_test_split(table, make_images, tmp_path):
    other = make_images(tmp_path / "other", {"b": 3, "a": 1}, size=8)
    splits = load(table, test=str(other), validation=0.25)
    assert shares(splits)["train"] == [67, 23]
    assert splits.test.targets.tolist() == [0, 1, 1, 1]
    assert splits.test.examples.files == [str(other / path) for path in splits.test.examples.names]


def test_a_separate_source_needs_no_columns_that_only_training_reads(table, tmp_path):
    rows = pd.read_csv(table)
    held_out = tmp_path / "held_out.csv"
    rows[:20][["path", "label"]].to_csv(held_out, index=False)
    rows[20:].assign(part="train", who=[f"p{n // 2}" for n in range(100)]).to_csv(table, index=False)
    options = {"stratify": ["label", "site"], "weight": "w", "split": "part", "group": "who"}
    splits = load(table, test=str(held_out), **options)
    assert len(splits.test) == 20
    assert splits.test.weights.tolist() == [1.0] * 20
    assert splits.test.groups is None and splits.train.groups[0].startswith("p")


def test_notes_on_a_separate_source_name_it(tmp_path):
    def write(folder, *notes):
        for label in ("ham", "spam"):
            (folder / label).mkdir(parents=True)
            for number in range(4):
                (folder / label / f"{number}.txt").write_text(f"{folder.name} {label} {number}")
        for note in notes:
            (folder / note).write_text("beside the classes")
        return str(folder)

    main, other = write(tmp_path / "main", "readme.txt"), write(tmp_path / "other", "a.txt", "b.txt")
    (own,) = load_splits(TextDataConfig(source=main, test=0, validation=0), seed=0).notes
    (others,) = load_splits(TextDataConfig(source=other, test=0, validation=0), seed=0).notes
    splits = load_splits(TextDataConfig(source=main, test=other, validation=0), seed=0)
    assert splits.notes == (own, f"{other}: {others}") and own != others
    assert read_split("other", other, TextDataConfig(source=main), ClassTarget(("ham", "spam"))).notes == (others,)


def test_a_separate_source_has_one_split(table, make_images, tmp_path):
    other = tmp_path / "other"
    for part in ("train", "test"):
        make_images(other / part, {"a": 2, "b": 2}, size=8)
    needs = r"has folders for the splits test, train\. Name the one to use, such as .*other/test"
    with pytest.raises(DataError, match=needs):
        load(table, test=str(other))
    with pytest.raises(DataError, match=needs):
        read_split("all", str(other), ImageDataConfig(source=str(table)), ClassTarget(("a", "b")))
    assert len(load(table, test=str(other / "test")).test) == 4


def test_a_run_that_is_read_again_has_the_same_rows(table, make_images, tmp_path):
    other = make_images(tmp_path / "other", {"b": 3, "a": 1}, size=8)
    for options in ({"test": 0.3}, {"test": str(other)}):
        first = load(table, seed=3, validation=0.25, **options)
        record = json.loads(json.dumps(first.describe()))
        config = ImageDataConfig(source=str(table), validation=0.25, **options)
        again = load_splits(config, seed=4, recorded=record)
        for one, two in zip(first, again, strict=True):
            labels = dict(zip(one.examples.names, one.targets.tolist(), strict=True))
            assert labels == dict(zip(two.examples.names, two.targets.tolist(), strict=True))
            assert len(two) == len(one)


def test_names_in_another_order_give_the_same_rows_with_other_targets(table):
    splits = load(table)
    turned = splits.with_names(ClassTarget(("b", "a")))
    assert turned.target.names == ("b", "a")
    for before, after in zip(splits, turned, strict=True):
        assert after.examples.names == before.examples.names
        assert after.targets.tolist() == [1 - target for target in before.targets]


def test_classes_that_no_held_out_row_has_are_noted(table):
    splits = load(table)
    kept = [
        splits.train,
        *(split.select(np.flatnonzero(split.targets == 0)) for split in (splits.validation, splits.test)),
    ]
    notes = splits.with_parts(kept).with_gaps().notes
    assert notes[: len(splits.notes)] == splits.notes
    assert [
        [word for word in ("validation", "test", "'b'") if word in note] for note in notes[len(splits.notes) :]
    ] == [
        ["validation", "'b'"],
        ["test", "'b'"],
    ]


def test_a_separate_source_with_other_classes_is_refused(table, make_images, tmp_path):
    other = make_images(tmp_path / "other", {"a": 2, "zebra": 2}, size=8)
    with pytest.raises(DataError, match=r"classes that are not in the training data: zebra\. Classes: a, b"):
        load(table, test=str(other))


def test_weights_are_read_from_their_column(table):
    train, *others = load(table, weight="w")
    assert train.weights == pytest.approx([int(path[2:5]) / 100 for path in train.examples.names])
    assert {weight for split in (*others, load(table).train) for weight in split.weights} == {1.0}


@pytest.mark.parametrize(
    ("rows", "options", "parts"),
    [
        (["a"] * 9 + ["b"], {}, ["data.test=0.2 takes 2 of 10 rows from 2 strata", "Smallest: b: 1, a: 9"]),
        (["a"] * 3 + ["b"] * 3, {"test": 0.1}, ["data.test=0.1 takes 1 of 6 rows"]),
        (["a"] * 3 + ["b"] * 3, {"test": 0.9}, ["data.test=0.9 takes 6 of 6 rows"]),
        (["a"] * 4 + ["b"] * 4, {"test": 0, "validation": 0.1}, ["data.validation=0.1 takes 1 of 8 rows"]),
    ],
)
def test_too_few_rows_for_a_stratified_split_are_refused_with_the_numbers(tmp_path, rows, options, parts):
    for number in range(len(rows)):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    table = tmp_path / "t.csv"
    pd.DataFrame({"path": [f"{n}.png" for n in range(len(rows))], "label": rows}).to_csv(table, index=False)
    with pytest.raises(DataError) as caught:
        load(table, **options)
    assert [part for part in [*parts, "too few rows", "Add rows"] if part not in str(caught.value)] == []


def test_one_row_of_each_class_is_enough_on_either_side(tmp_path):
    labels = ["a"] * 5 + ["b"] * 5
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    table = tmp_path / "t.csv"
    pd.DataFrame({"path": [f"{n}.png" for n in range(10)], "label": labels}).to_csv(table, index=False)
    assert shares(load(table, test=0.2, validation=0)) == {"train": [4, 4], "validation": [0, 0], "test": [1, 1]}
    assert shares(load(table, test=0.8, validation=0)) == {"train": [1, 1], "validation": [0, 0], "test": [4, 4]}


def test_a_class_without_training_rows_is_refused(make_images, tmp_path):
    root = tmp_path / "p"
    make_images(root / "train", {"cat": 4, "dog": 4}, size=8)
    make_images(root / "test", {"cat": 2, "dog": 2, "owl": 2}, size=8)
    with pytest.raises(DataError, match=r"The train split .* none of 'owl' \(2 in all\)"):
        load(root, validation=0)


def test_data_json_names_classes_counts_members_and_fingerprints(table):
    splits = load(table)
    described = json.loads(json.dumps(splits.describe()))
    assert described["class_names"] == ["a", "b"]
    for split in splits:
        part = described["splits"][split.name]
        assert part["count"] == len(split)
        assert part["classes"] == dict(zip("ab", shares(splits)[split.name], strict=True))
        assert part["rows"] == [[p, "ab"[label]] for p, label in zip(split.examples.names, split.targets, strict=True)]
        assert len(part["fingerprint"]) == 64
    assert len({part["fingerprint"] for part in described["splits"].values()}) == 3


def test_a_changed_image_or_label_changes_the_fingerprint(table):
    split = load(table).train
    before = split.fingerprint(ClassTarget(("a", "b")))
    assert split.fingerprint(ClassTarget(("a", "b"))) == before
    assert split.fingerprint(ClassTarget(("a", "c"))) != before
    (table.parent / split.examples.names[0]).write_bytes(b"longer than it was" * 100)
    assert split.fingerprint(ClassTarget(("a", "b"))) != before


def test_names_that_are_not_unicode_have_a_fingerprint():
    """A folder's name on Linux may be any bytes, which Python gives as lone surrogates."""
    texts = Texts(("one", "two"), (("text one",), ("text two",)))
    split = Split("train", texts, np.array([0, 1]), np.ones(2, np.float32))
    prints = {split.fingerprint(ClassTarget(("a", name))) for name in ("caf\udce9", "caf\udce8", "café")}
    assert len(prints) == 3


def test_select_keeps_names_targets_and_weights_aligned(table):
    split = load(table, weight="w").train
    chosen = split.select([5, 0])
    assert chosen.examples.names == (split.examples.names[5], split.examples.names[0])
    assert chosen.targets.tolist() == [split.targets[5], split.targets[0]]
    assert chosen.weights.tolist() == [split.weights[5], split.weights[0]]
    assert len(split.select([])) == 0


def test_read_split_reads_a_whole_source_in_the_given_order_of_classes(images):
    # "train" is the name of a folder here, which has no weights.
    for name in ("held out", "train"):
        config = ImageDataConfig(source="unused", weight="w")
        split = read_split(name, str(images), config, ClassTarget(("dog", "cat")))
        assert split.name == name
        assert split.targets.tolist() == [1] * 16 + [0] * 16
        assert split.weights.tolist() == [1.0] * 32
