"""Any bytes, any table, any recipe: what a plain reference reads, or a TransferError; never another exception."""

import csv
import io
import json
from decimal import Decimal

import pandas as pd
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from keras_transfer.config.recipe_file import parse_recipe, read_recipe
from keras_transfer.data.tables.tables import read_table
from keras_transfer.errors import TransferError

QUICK = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# What makes the reading of tables hard: delimiters, quotes, line ends, blanks, other scripts.
CHARACTERS = st.sampled_from([*",;\t|\"'\n\r \\=", "a", "b", "0", "é", "ß", "猫", "😀", "\u2028", "\x85", "\x1c"])
CELLS = st.text(CHARACTERS, max_size=5)
NAMES = st.text(st.sampled_from([*',;|" ', "a", "b", "é", "1"]), min_size=1, max_size=5).filter(str.strip)


@st.composite
def tables(draw):
    """At least two columns with different names, and some rows of text."""
    header = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    return header, draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=5))


def expected_rows(rows):
    return [[cell or None for cell in row] for row in rows]


def read(file, **options):
    try:
        frame = read_table(file, **options).frame
    except TransferError:
        return None
    return [str(name) for name in frame.columns], frame.values.tolist()


@QUICK
@given(
    tables(),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.booleans(),
)
def test_a_table_that_python_wrote_is_read_as_it_was(tmp_path, table, delimiter, quoting, end, encoding, named):
    header, rows = table
    # Before an end of \n, Python's writer does not quote a lone \r.
    assume(quoting != csv.QUOTE_MINIMAL or not any("\r" in cell for row in rows for cell in row))
    with io.StringIO(newline="") as written:
        csv.writer(written, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows([header, *rows])
        file = tmp_path / "t.csv"
        file.write_bytes(written.getvalue().encode(encoding))
    found = read(file, **({"delimiter": delimiter} if named else {}))
    assert found is None or found == (header, expected_rows(rows))
    if named:
        assert found is not None


@QUICK
@given(tables(), st.sampled_from([",", ";", "\t"]))
def test_a_table_that_pandas_wrote_is_read_as_pandas_reads_it(tmp_path, table, delimiter):
    header, rows = table
    assume(not any("\r" in cell for row in rows for cell in row))  # pandas alone does not quote these
    file = tmp_path / "t.tsv"
    pd.DataFrame(rows, columns=header, dtype=object).to_csv(file, sep=delimiter, index=False)
    expected = pd.read_csv(file, sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8")
    found = read(file, delimiter=delimiter)
    assert found == (header, expected_rows(expected.values.tolist()))


@QUICK
@given(
    st.binary(max_size=60),
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet"]),
    st.sampled_from(
        [
            "auto",
            "utf-8",
            "cp1252",
            "utf-16",
            "ascii",
            "utf-7",
            "shift_jis",
        ]
    ),
)
def test_any_bytes_are_a_table_or_an_error(tmp_path, data, name, encoding):
    (tmp_path / name).write_bytes(data)
    read(tmp_path / name, encoding=encoding)


@QUICK
@given(
    st.lists(
        st.dictionaries(
            CELLS.filter(bool),
            st.none()
            | st.booleans()
            | st.integers(-(2**70), 2**70)
            | st.floats(allow_nan=False)
            | CELLS
            | st.lists(st.integers(0, 3), max_size=2),
            min_size=1,
            max_size=3,
        ),
        max_size=5,
    )
)
def test_json_lines_keep_their_values(tmp_path, rows):
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    frame = read_table(file).frame
    found = [{key: value for key, value in row.items()} for row in frame.to_dict("records")]
    for row, given_row in zip(found, rows, strict=True):
        assert {key: row[key] for key in given_row} == given_row


# Recipes.

TEXTS = st.text(st.sampled_from([*"abc=.,:;|#-&*!%@`'\"[]{}<>?~ \t\n0123456789_", "é", "\ud800", "\0"]), max_size=12)
# Only Python can give these.
UNWRITABLE = st.just(5000).map(lambda digits: 10**digits) | st.just(Decimal("sNaN"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS | UNWRITABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "task",
    "seed",
    "data",
    "data.source",
    "data.test",
    "data.test.root",
    "data.label",
    "data.separator",
    "data.stratify",
    "data.root",
    "data.encoding",
    "data.delimiter",
    "data.image_size",
    "backbone",
    "backbone.input_range",
    "policy",
    "policy.stages",
    "head.settings",
    "training.class_weights",
    "training.early_stopping",
    "training.learning_rate",
    "export.formats",
    "trackers",
    "augmentation.rotation",
    "nosuch",
    "data.nosuch.key",
    "distribution.devices",
]


@QUICK
@given(st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=4), st.booleans())
def test_any_values_are_a_recipe_or_an_error(values, nested):
    recipe = {"task": "image_classification", "data": {"source": "x"}}
    for path, value in values.items():
        section, _, key = path.rpartition(".") if nested else ("", "", path)
        inner = recipe.get(section) if section else recipe
        if isinstance(inner, dict):
            inner[key] = value
    try:
        config = parse_recipe(recipe, known={}, where="It")
    except TransferError as error:
        assert len(str(error)) < 20_000
        return
    assert parse_recipe(config.model_dump(mode="json"), known={}, where="It") == config


@QUICK
@given(st.sampled_from(KEYS), TEXTS | st.sampled_from(["1" * 5000, "[" + "1" * 5000 + "]", "{a: " + "1" * 5000 + "}"]))
def test_any_override_is_a_value_or_an_error(tmp_path, key, text):
    file = tmp_path / "r.yaml"
    file.write_text("task: image_classification\ndata: {source: x}\n", encoding="utf-8")
    try:
        values = read_recipe(file, [f"{key}={text}"])
        parse_recipe(values, known={}, where="It")
    except TransferError:
        return


@QUICK
@given(
    TEXTS.filter(lambda text: text.strip() and text.strip() not in ("null", "Null", "NULL") and text[0] not in "'\"")
)
def test_text_stays_text_if_the_key_expects_text(tmp_path, text):
    file = tmp_path / "r.yaml"
    file.write_text("task: image_classification\ndata: {source: x}\n", encoding="utf-8")
    for key in ("separator", "group"):
        assert read_recipe(file, [f"data.{key}={text}"])["data"][key] == text.strip()


@QUICK
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_any_file_is_a_recipe_or_an_error(tmp_path, text):
    file = tmp_path / "r.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        values = read_recipe(file)
    except TransferError:
        return
    assert isinstance(values, dict) and yaml.safe_load(file.read_text(encoding="utf-8")) is not None
