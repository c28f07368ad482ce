"""Texts that cannot be trained on: found before a tokenizer is loaded."""

import json

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.checks.texts import check_texts
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.errors import DataError


@pytest.fixture
def rejected():
    """``rejected(source, needs=[...], text="body")``: the source is refused, in a message as it must be."""

    def call(source, *, needs, most_lines=1, **options):
        config = TextDataConfig(source=str(source), **{"validation": 0.25, "test": 0.25, **options})
        with pytest.raises(DataError) as refusal:
            check_texts(tuple(load_splits(config, seed=0)), broken=config.broken)
        message = str(refusal.value)
        assert [need for need in needs if str(need) not in message] == [], message
        assert len(message.splitlines()) <= most_lines, message
        assert max(map(len, message.splitlines())) < 1000, message
        assert message.encode()  # a terminal can show it
        return message

    return call


@pytest.fixture
def table(tmp_path):
    """``table(".csv", change)``: a table of 16 rows; by default a good one."""
    good = [
        {"text": f"{label} number {n}", "label": label, "id": n, "title": f"T {n}"}
        for n in range(8)
        for label in ("ham", "spam")
    ]

    def write(suffix=".csv", change=lambda rows: rows):
        rows, file = change([dict(row) for row in good]), tmp_path / f"t{suffix}"
        if suffix == ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        elif suffix == ".parquet":
            pd.DataFrame(rows).to_parquet(file)
        else:
            pd.DataFrame(rows).to_csv(file, index=False)
        return file

    return write


@pytest.fixture
def folder(tmp_path):
    """Two classes of 8 texts."""
    for label in ("ham", "spam"):
        (tmp_path / "texts" / label).mkdir(parents=True)
        for n in range(8):
            (tmp_path / "texts" / label / f"{n}.txt").write_text(f"{label} number {n}", encoding="utf-8")
    return tmp_path / "texts"


def test_a_missing_source(rejected, tmp_path):
    rejected(tmp_path / "absent", needs=[tmp_path / "absent", "not found"])


def test_a_misspelled_sample_set(rejected):
    rejected("bbc_new", needs=["'bbc_new'", "sample set: bbc_news, bbc_headlines.", "Did you mean bbc_news"])


def test_a_file_of_an_unknown_kind(rejected, tmp_path):
    (tmp_path / "data.xls").write_text("text\tlabel\n", encoding="utf-8")
    rejected(tmp_path / "data.xls", needs=["data.xls", "unknown format", ".csv, .tsv, .jsonl, .parquet"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("key", ["text", "text_pair", "label"])
def test_a_missing_column(rejected, table, key, suffix):
    file = table(suffix)
    known = "Columns: text, label, id, title."
    rejected(file, needs=[file, "no column 'body'", known, f"data.{key}"], **{key: "body"})
    rejected(file, needs=["no column 'titel'", "Did you mean title?", known], **{key: "titel"})


def test_a_missing_stratify_column(rejected, table, folder):
    rejected(table(), needs=["no column 'site'", "data.stratify"], stratify=["label", "site"])
    rejected(folder, needs=["data.stratify", "no column 'site'"], stratify=["site"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("key", ["text", "text_pair"])
def test_a_column_of_numbers_where_text_is_expected(rejected, table, key, suffix):
    file = table(suffix)
    rejected(
        file,
        needs=[
            file,
            "column 'id' has numbers; expected texts: ",
            f"Columns of text: text, title; name one with data.{key}",
            'write table["id"].astype(str) to Parquet or JSONL',
        ],
        **{key: "id"},
    )


@pytest.mark.parametrize("numbers", [["1", "2.5"], ["-3e5", ".5"], [" 7", ""]])
def test_a_csv_whose_texts_all_look_like_numbers(rejected, table, numbers):
    file = table(".csv", lambda rows: [row | {"text": numbers[n % 2]} for n, row in enumerate(rows)])
    rejected(file, needs=["column 'text' has numbers", "Columns of text: title"])


def test_a_table_without_any_text(rejected, table):
    file = table(".jsonl", lambda rows: [{"text": n, "label": row["label"]} for n, row in enumerate(rows)])
    rejected(file, needs=["column 'text' has numbers", "Columns of text: none"])


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        ([["a", "b"], "c"], ["['a', 'b'] in row 1"]),
        ([{"de": "a"}, "c"], ["{'de': 'a'} in row 1"]),
        (["c", 5], ["5 in row 2"]),
        ([True, False], ["True in row 1, False in row 2"]),
    ],
)
def test_values_that_are_not_text(rejected, table, values, needs):
    file = table(".jsonl", lambda rows: [row | {"text": values[n % 2]} for n, row in enumerate(rows)])
    rejected(file, needs=["column 'text' has values that are not text", *needs, "Columns of text: title"])


@pytest.mark.parametrize(
    ("labels", "needs"),
    [
        ([5, "5"], ["5 in row 1, '5' in row 2", "all classes as text, or all as numbers"]),
        (["a", ""], ["column 'label' is empty in 8 rows: row 2, 4, 6", "Fill in the values, or remove the rows"]),
        (["a", None], ["column 'label' is empty in 8 rows: row 2, 4, 6"]),
        ([["a"], ["a", "b"]], ["values that are not classes", "['a'] in row 1", "one class"]),
        (["a", "caf\udce9"], ["column 'label' is not UTF-8 in 8 rows: row 2, 4", "Save the file as UTF-8"]),
        (["a", "a"], ["one class: 'a'", "at least two"]),
    ],
)
def test_labels_that_are_not_classes(rejected, table, labels, needs):
    file = table(".jsonl", lambda rows: [row | {"label": labels[n % 2]} for n, row in enumerate(rows)])
    rejected(file, needs=[file, *needs])


@pytest.mark.parametrize(
    ("name", "content", "needs"),
    [
        ("t.csv", b"", ["Cannot read table", "no column names"]),
        ("t.csv", b"text,label\n", ["has no rows"]),
        (
            "t.csv",
            b"text,label\nhello, world,a\nbye, world,b\n",
            ["line 2", "3 fields", "header has 2", "Put quotes around"],
        ),
        ("t.csv", b"text,label\nhello,a\nbye,world,b\n", ["line 3", "3 fields", "header has 2"]),
        ("t.csv", b'text,label\n"hello,a\nbye,b\n', ["row that starts in line 2", "invalid quoting"]),
        ("t.csv", b'text,label\nhello,a\n"He said \\"no\\"",b\n', ["row that starts in line 3", "invalid quoting"]),
        ("t.csv", b"label,text\na,first line\nsecond line\nb,third\n", ["too few rows", "second line: 1"]),
        ("t.csv", b"text,label\nfirst line\nsecond line,b\n", ["column 'label' is empty in 1 rows: row 1"]),
        ("t.csv", b"text;a,label\nhello;b,c\n", ["separated by ',' or ';'", "data.delimiter"]),
        ("t.csv", "text,label\nhello,a\n".encode("utf-16-le"), ["Cannot read table", "data.encoding"]),
        ("t.jsonl", b'{"text": "a", "label": "b"}\n{"text": \n', ["Cannot read table", "line 2 is not valid JSON"]),
        ("t.jsonl", b'[{"text": "a", "label": "b"}]\n', ["line 1 is not a JSON object"]),
        ("t.jsonl", b"", ["no column 'text'", "Columns: none"]),
        ("t.jsonl", '{"text": "a"}'.encode("utf-16-le"), ["line 1 is not valid JSON"]),
        ("t.parquet", b"no parquet at all", ["Cannot read table"]),
    ],
)
def test_a_table_that_cannot_be_read(rejected, tmp_path, name, content, needs):
    (tmp_path / name).write_bytes(content)
    rejected(tmp_path / name, needs=[tmp_path / name, *needs])


@pytest.mark.parametrize("files", [[], ["1.txt", "2.txt"]])
def test_a_folder_without_classes(rejected, tmp_path, files):
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in files:
        (flat / name).write_text("x", encoding="utf-8")
    rejected(flat, needs=[flat, "has no classes", "each class's text files", "sub-folder named after the class"])


def test_an_empty_class(rejected, folder):
    (folder / "eggs").mkdir()
    rejected(folder, needs=[folder / "eggs", "is empty", "Put text files into it, or remove it"])


def test_a_class_of_other_files(rejected, folder):
    (folder / "eggs").mkdir()
    for name in ("1.pdf", "2.PDF", "3.docx"):
        (folder / "eggs" / name).write_bytes(b"x")
    rejected(folder, needs=[folder / "eggs", "has no text files: 2 .pdf, 1 .docx", "remove it"])


def test_pairs_from_a_source_that_has_none(rejected, folder):
    for source in (folder, "bbc_news"):
        needs = ["data.text_pair", source, "has no second texts", "'question'", "into a table"]
        rejected(source, text_pair="question", needs=needs)


def test_invalid_bytes_in_files(rejected, folder):
    (folder / "ham" / "3.txt").write_bytes(b"one\ncaf\xe9")
    (folder / "spam" / "5.txt").write_bytes(b"\xff\xfeh")  # the mark of UTF-16, and half a character
    message = rejected(
        folder,
        most_lines=4,
        needs=[
            "2 of 16 texts cannot be used:",
            "  ham/3.txt (",
            "): byte 0xe9 is not UTF-8: line 2, after 'caf'",
            "  spam/5.txt (",
            "): UTF-16; expected UTF-8",
            "data.broken=skip",
            "data.broken=replace",
            "cp1252: set data.encoding",
        ],
    )
    assert "ham/2.txt" not in message


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_invalid_bytes_in_a_row(rejected, table, suffix):
    file = table(suffix, lambda rows: [*rows[:4], rows[4] | {"text": "caf@ au lait"}, *rows[5:]])
    if suffix == ".parquet":
        # As other writers leave it: Parquet checks no text.
        whole = parquet.read_table(file)
        texts = [text.encode().replace(b"@", b"\xe9") for text in whole["text"].to_pylist()]
        wrong = whole.set_column(0, "text", pa.array(texts, pa.binary()).view(pa.string()))
        parquet.write_table(wrong, file)
    else:
        file.write_bytes(file.read_bytes().replace(b"@", b"\xe9"))
    needs = ["1 of 16 texts cannot be used:", "  row 5 (", "): byte 0xe9 is not UTF-8: line 1, after 'caf'"]
    rejected(file, needs=needs, most_lines=3)


@pytest.mark.parametrize("blank", ["", " \r\n\t", "\u200b\ufeff"])
@pytest.mark.parametrize("broken", ["error", "replace"])
def test_a_blank_text(rejected, table, folder, blank, broken):
    file = table(".jsonl", lambda rows: [*rows[:4], rows[4] | {"text": blank}, *rows[5:]])
    rejected(file, broken=broken, needs=["1 of 16 texts", "  row 5 (", "): empty or blank"], most_lines=3)
    (folder / "ham" / "3.txt").write_bytes(blank.encode())
    rejected(folder, broken=broken, needs=["1 of 16 texts", "  ham/3.txt (", "): empty or blank"], most_lines=3)


@pytest.mark.parametrize("broken", ["error", "skip", "replace"])
def test_nothing_but_empty_texts(rejected, table, broken):
    file = table(".csv", lambda rows: [row | {"text": ""} for row in rows])
    rejected(file, broken=broken, needs=["All texts are empty in train, validation, test: row ", "data.text"])


def test_up_to_twenty_broken_texts_of_all_splits_are_listed_at_once(rejected, table):
    file = table(".jsonl", lambda rows: [row | {"text": f"caf\udce9 {n}"} for n in range(2) for row in rows])
    needs = ["32 of 32 texts", "and 12 more", "(train)"]
    rejected(file, needs=needs, most_lines=23)


def test_skipping_that_leaves_a_split_without_texts(rejected, table):
    file = table(".jsonl", lambda rows: [row | {"text": "caf\udce9"} for row in rows])
    rejected(file, broken="skip", needs=["16 of 16 texts", "no train text is left"], most_lines=18)


def test_a_separate_source_with_other_classes(rejected, table, folder):
    (folder / "spam").rename(folder / "eggs")
    rejected(table(), test=str(folder), needs=[folder, "eggs", "Classes: ham, spam"])


def test_invalid_weights(rejected, table):
    rejected(table(), weight="title", needs=["data.weight", "'title'", "numbers of at least 0"])
    rejected(table(), weight="wt", needs=["data.weight", "no column 'wt'"])
