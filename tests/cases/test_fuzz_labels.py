"""Any column of labels, read as users' tables are: the targets equal a plain reference, or there is a TransferError.

Rows are drawn into splits, too: every row is in exactly one of them. Another exception than a TransferError is a bug.
"""

import csv
import json
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.splits.splits import load_splits, read_split
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.errors import TransferError

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.text("abcxyz ", min_size=1, max_size=4).filter(str.strip)
# Numbers that Python refuses to write, or to turn into a float.
HUGE = st.sampled_from([5000, 4400, 4000, 400]).map(lambda digits: -(10**digits))
NUMBER = st.one_of(st.integers(-(10**20), 10**20), st.floats(), st.integers(-3, 12))
LIST = st.lists(st.one_of(PLAIN, TEXT), max_size=3)
ANY = st.one_of(TEXT, NUMBER, st.none(), st.booleans(), LIST, LIST.map(str), LIST.map(json.dumps), LIST.map(tuple))
ODD = st.one_of(
    *(
        st.decimals(),
        st.sampled_from([Decimal("sNaN"), Decimal("1e30"), Decimal("1e5000"), Decimal("-1e999999")]),
        HUGE,
        HUGE.map(lambda number: [number]),
        st.just([Decimal("sNaN")]),
        st.fractions(),
        st.complex_numbers(),
        st.binary(max_size=3),
        st.dates(),
        st.datetimes(),
    ),
    *(st.sets(PLAIN, max_size=2), st.dictionaries(PLAIN, PLAIN, max_size=2), st.lists(ANY, max_size=2)),
    *(LIST.map(np.array), st.lists(st.floats(width=32), max_size=3).map(lambda some: np.array(some, np.float32))),
    *(st.integers(0, 255).map(np.uint8), st.booleans().map(np.bool_), st.sampled_from([pd.NA, pd.NaT])),
    *(st.text(max_size=3), st.just(object())),
)
FORMS = st.sampled_from(["table", "csv", "jsonl"])


def columns(*values):
    """A few values, each in several rows, in any order: what a column of labels looks like. Or anything at all."""
    few = st.one_of(*(st.lists(value, min_size=2, max_size=4) for value in values))
    usual = few.flatmap(lambda some: st.permutations([value for value in some for _ in range(5)]))
    return st.one_of(usual, usual, st.lists(st.one_of(*values), min_size=1, max_size=24))


def load(values, form, folder, **options):
    """The splits of a table with these labels, through the file that users have."""
    texts, given, source = [f"text {n}" for n in range(len(values))], {}, str(folder / f"t.{form}")
    if form == "csv":
        with open(source, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *zip(texts, values, strict=True)])
    elif form == "jsonl":
        rows = (json.dumps({"text": text, "label": value}) for text, value in zip(texts, values, strict=True))
        Path(source).write_text("\n".join(rows), encoding="utf-8")
    else:
        source = "<python: table>"
        given[source] = pd.DataFrame({"text": texts, "label": pd.Series(values, dtype=object)})
    return load_splits(TextDataConfig(source=source, test=0.2, validation=0.2, **options), seed=3, given=given)


def by_row(splits):
    """The label of each row, by its number; a row that is in two splits, or in none, is an error."""
    found = [
        (int(name.removeprefix("row ")), splits.target.decode(row))
        for split in splits
        for name, row in zip(split.examples.names, split.targets, strict=True)
    ]
    assert len({number for number, _ in found}) == len(found)
    return [label for _, label in sorted(found)]


def attempt(values, form, **options):
    """The labels by row and the names in order; None if the table was refused."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            splits = load(values, form, Path(folder), **options)
        except TransferError as error:
            assert str(error)
            return None
    found = by_row(splits)
    assert len(found) == len(values)
    return found, splits.target.names


def as_class(values, form):
    """Classes as text; whole numbers without a point, unless the column has others."""
    if form == "csv":
        return [str(value) for value in values]
    numbers = [value for value in values if not isinstance(value, (str, bool))]
    whole = all(float(value).is_integer() for value in numbers)
    return [
        str(int(value)) if value in numbers and whole and not isinstance(value, bool) else str(value)
        for value in values
    ]


def in_order(names):
    try:
        return tuple(sorted(names, key=lambda name: (float(name), name) if name.isascii() else float(name + "!")))
    except ValueError:
        return tuple(sorted(names))


@QUICK
@given(columns(TEXT, PLAIN, NUMBER, st.booleans()), FORMS)
def test_classes(values, form):
    read = attempt(values, form, merge_labels=False)
    if read is not None:
        found, names = read
        assert found == as_class(values, form)
        assert sorted(names) == sorted(set(found))
        if all(isinstance(value, int) and abs(value) < 2**53 for value in values if not isinstance(value, bool)):
            assert names == in_order(set(found))


@QUICK
@given(columns(ANY), FORMS, st.sampled_from(["class", "multilabel"]), st.sampled_from([None, True, False]))
def test_anything_is_read_or_refused(values, form, target, merge):
    attempt(values, form, target=target, merge_labels=merge)


@QUICK
@given(columns(ODD), st.sampled_from(["class", "multilabel", "number"]), st.sampled_from([None, "|"]))
def test_odd_values_are_read_or_refused(values, target, separator):
    attempt(values, "table", target=target, separator=separator if target == "multilabel" else None)


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_text_of_thousands_of_digits(form):
    values = ["1" * 5000, "2" * 5000, "3"] * 6
    assert attempt(values, form) == (values, ("3", "1" * 5000, "2" * 5000))
    assert attempt(values, form, target="number") is None
    assert attempt([f"[{value}]" for value in values], form, target="multilabel") is None


def test_a_file_with_a_number_of_thousands_of_digits(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(f'{{"text": "t{n}", "label": {"1" * 5000}}}\n' for n in range(9)))
    with pytest.raises(TransferError, match="line 1 is not valid JSON"):
        load_splits(TextDataConfig(source=str(tmp_path / "t.jsonl")), seed=3)


@QUICK
@given(st.lists(PLAIN, min_size=2, max_size=3, unique_by=lambda name: name.strip().casefold()), st.data(), FORMS)
def test_twins_are_refused_or_merged(names, data, form):
    spelled = [form(name) for name in names for form in (str, str.upper, " {} ".format, "\ufeff{}\u00a0".format, str)]
    values = data.draw(st.permutations(spelled * 2))
    assert attempt(values, form) is None
    read = attempt(values, form, merge_labels=True)
    assert read is not None
    groups = Counter(" ".join(name.replace("\ufeff", "").split()).casefold() for name in values)
    assert sorted(Counter(read[0]).values()) == sorted(groups.values())
    assert all(" ".join(name.split()).casefold() in groups for name in read[1])


@QUICK
@given(columns(LIST), FORMS, st.sampled_from([str, json.dumps, list, tuple, set]))
def test_lists(values, form, write):
    cells = [write(value) for value in values]
    if (form, write) in (("csv", tuple), ("jsonl", set)):
        cells = [str(cell) for cell in cells]
    read = attempt(cells, form, target="multilabel", merge_labels=False)
    if read is not None:
        found, names = read
        expected = [{label.strip() for label in value if label.strip()} for value in values]
        assert [set(labels) for labels in found] == expected
        assert sorted(names) == sorted(set().union(*expected))


@QUICK
@given(columns(st.lists(PLAIN, max_size=3)), FORMS, st.sampled_from(["|", ";", ", ", "::"]))
def test_separators(values, form, separator):
    read = attempt(
        [separator.join(value) for value in values], form, target="multilabel", separator=separator, merge_labels=False
    )
    if read is not None:
        assert [set(labels) for labels in read[0]] == [{label.strip() for label in value} for value in values]


@QUICK
@given(st.lists(ANY, min_size=1, max_size=8), st.sampled_from([None, True, False]))
def test_other_rows_have_known_names_or_are_refused(values, merge):
    target = ClassTarget(("a", "b", "10"))
    table = pd.DataFrame({"text": [f"text {n}" for n in range(len(values))], "label": pd.Series(values, dtype=object)})
    try:
        split = read_split(
            "other", "<python: t>", TextDataConfig(source="x", merge_labels=merge), target, {"<python: t>": table}
        )
    except TransferError:
        return
    assert len(split) == len(values)
    if merge is None:
        assert [target.names[index] for index in split.targets] == as_class(values, "table")


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_the_usual_column_is_read(form):
    values = [0, 10, 2, 1] * 6
    found, names = attempt(values, form)
    assert (found, names) == ([str(value) for value in values], ("0", "1", "2", "10"))
