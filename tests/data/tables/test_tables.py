import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from keras_transfer.data.tables.tables import read_table
from keras_transfer.errors import DataError


def load(folder, content, name="t.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(folder / name).frame


def test_a_csv_is_read_verbatim(tmp_path):
    table = load(tmp_path, '\ufeffa,b\r\n"1\r\n2, ""3""",NA\r\n\n007,\r\nx\n')
    assert table.columns.tolist() == ["a", "b"]
    assert table.values.tolist() == [['1\r\n2, "3"', "NA"], ["007", None], ["x", None]]


def test_bytes_that_are_not_utf8_can_be_recovered_from_any_kind_of_table(tmp_path):
    raw = b"caf\xe9 \x00 \xe2\x82"
    texts = pa.array([raw, b"ok", None], pa.binary())
    tables = {
        "text": texts.view(pa.string()),
        "long": pa.array([raw, b"ok", None], pa.large_binary()).view(pa.large_string()),
        "bytes": texts,
        "codes": pa.DictionaryArray.from_arrays(
            pa.array([0, 1, None], pa.int32()), pa.array([raw, b"ok"], pa.binary()).view(pa.string())
        ),
        "number": pa.array([1, 2, None]),
    }
    parquet.write_table(pa.table(tables), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet").frame
    for column in ("text", "long", "bytes", "codes"):
        values = table[column].tolist()
        assert values[0].encode("utf-8", "surrogateescape") == raw
        assert values[1:] == ["ok", None]
    assert table["number"].tolist()[:2] == [1, 2]
    for name, content in (("t.csv", b"a\n" + raw), ("t.jsonl", json.dumps({"a": "@"}).encode().replace(b"@", b"\xe9"))):
        value = load(tmp_path, content, name)["a"].tolist()[0]
        assert value.encode("utf-8", "surrogateescape") == (raw if name == "t.csv" else b"\xe9")


def test_a_parquet_in_a_folder_that_is_named_like_a_partition_has_its_own_columns(tmp_path):
    folder = tmp_path / "label=x"
    folder.mkdir()
    parquet.write_table(pa.table({"label": ["a", "b"]}), folder / "t.parquet")
    assert read_table(folder / "t.parquet").frame["label"].tolist() == ["a", "b"]


def test_the_limit_of_the_csv_module_is_restored(tmp_path):
    before = csv.field_size_limit()
    assert len(load(tmp_path, "a\n" + "x" * 200_000)["a"][0]) == 200_000
    with pytest.raises(DataError):
        load(tmp_path, "a\n1,2")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "needs"),
    [
        ("t.csv", "a,b\n1,2,3\n", ["line 2", "3 fields", "header has 2", "Put quotes around"]),
        ("t.csv", "a,b\n1,2\n3,4,\n", ["line 3", "3 fields"]),
        ("t.csv", 'a,b\n1,2\n"3,4\n5,6\n', ["row that starts in line 3", "unexpected end of data"]),
        ("t.csv", 'a,b\n"He said "hi" to me",2\n', ["row that starts in line 2", "expected after '\"'"]),
        ("t.csv", "a,b,a\n1,2,3\n", ["'a' twice"]),
        ("t.csv", "a;b,c\n1;2,3\n", ["separated by ',' or ';'", "Set data.delimiter"]),
        ("t.csv", "ä,b\n1,2\n".encode("cp1252"), ["first line is not UTF-8", "data.encoding", "cp1252"]),
        ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), ["NUL characters", "data.encoding to utf-16-le"]),
        ("t.csv", "column 2,\n1,2\n", ["'column 2' twice"]),
        ("t.jsonl", '{"a": 1, "a": 2}\n', ["line 1", "key 'a' twice"]),
        ("t.csv", "", ["no column names"]),
        ("t.jsonl", '{"a": 1}\n\n{"a": \n', ["line 3 is not valid JSON"]),
        ("t.jsonl", "[" * 100_000, ["line 1 is not valid JSON"]),
        ("t.jsonl", '{"a": 1}\n5\n', ["line 2 is not a JSON object"]),
        ("t.parquet", "no parquet at all", ["t.parquet"]),
        ("t.parquet", "", ["t.parquet"]),
    ],
)
def test_unreadable_tables_are_refused_with_the_position(tmp_path, name, content, needs):
    with pytest.raises(DataError) as refusal:
        load(tmp_path, content, name)
    message = str(refusal.value)
    needs = [f"Cannot read table {tmp_path / name}: ", "Fix the file.", *needs]
    assert [need for need in needs if need not in message] == [], message
    assert len(message.splitlines()) == 1


def test_a_missing_table(tmp_path):
    with pytest.raises(DataError, match="Cannot read table"):
        read_table(Path(tmp_path / "gone.csv"))
