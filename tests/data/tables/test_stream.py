"""Tables in pieces are what they are at once: the same rows, columns, notes and messages, whatever the size."""

import codecs

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from keras_transfer.data.tables.stream import PieceSize, TableStream
from keras_transfer.data.tables.tables import read_table
from keras_transfer.errors import DataError


def pieces(file, rows, **options):
    stream = TableStream(file, **options)
    return stream, list(stream.frames(PieceSize(rows)))


TEXTS = {
    "quotes": ("t.csv", '\ufeffa,b\r\n"1\r\n2, ""3""",NA\r\n\n007,\r\nx\n'.encode(), {}),
    "bytes": ("t.csv", b"a,b\ncaf\xe9,1\n\xe2\x82,2\nx,3\n", {}),
    "semicolons": ("t.csv", b"a;b, c\n1;2\n3;4\n5;6\n", {}),
    "declared": ("t.csv", b"sep=;\r\na;b\r\n1;2\r\n3;4\r\n", {}),
    "tabs": ("t.tsv", b"a\tb\n1\t2\n3\t4\n", {}),
    "utf-16": ("t.csv", codecs.BOM_UTF16_LE + "a,b\n\u00e9,1\nx,2\n".encode("utf-16-le"), {}),
    "named utf-16": ("t.csv", codecs.BOM_UTF16_LE + "a,b\n\u00e9,1\n".encode("utf-16-le"), {"encoding": "utf-16-le"}),
    "cp1252": ("t.csv", b"a,b\ncaf\xe9,1\nx,2\n", {"encoding": "cp1252"}),
    "cp1252 that is UTF-8": ("t.csv", "a,b\ncaf\u00e9,1\nx,2\n".encode(), {"encoding": "cp1252"}),
    "late keys": ("t.jsonl", b'{"a": 1}\n\n{"b": "x", "a": null}\n{}\n{"a": [1, {"c": 2}]}\n', {}),
}


@pytest.mark.parametrize(("name", "content", "options"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_text(tmp_path, name, content, options, rows):
    (tmp_path / name).write_bytes(content)
    whole = read_table(tmp_path / name, **options)
    stream, found = pieces(tmp_path / name, rows, **options)
    assert stream.notes == whole.notes
    assert [len(frame) for frame in found[:-1]] == [rows] * (len(found) - 1)
    pd.testing.assert_frame_equal(pd.concat(found), whole.frame)


def test_parquet_integers_with_missing_values_stay_integers_in_every_piece(tmp_path):
    raw = pa.array([b"caf\xe9", b"b", None, b"d", b"e"], pa.binary()).view(pa.string())
    table = pa.table({"n": [1, None, 3, 2**60 + 1, 5], "text": raw, "f": [0.5, None, 1.0, 2.0, 3.0]})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    _, found = pieces(tmp_path / "t.parquet", 2)
    assert [value for frame in found for value in frame["n"].tolist()] == [1, None, 3, 2**60 + 1, 5]
    assert found[0]["text"].tolist() == ["caf\udce9", "b"]
    assert [place for frame in found for place in frame.index] == [0, 1, 2, 3, 4]


def test_a_piece_ends_when_it_has_enough_bytes(tmp_path):
    (tmp_path / "t.csv").write_text("a\n" + ("x" * 10 + "\n") * 5)
    found = list(TableStream(tmp_path / "t.csv").frames(PieceSize(100, bytes=25)))
    assert [len(frame) for frame in found] == [3, 2]


BROKEN = {
    "encoding": ("t.csv", b"a,b\n" + b"x,1\n" * 5000 + b"\x81,2\n", {"encoding": "cp1252"}),
    "other mark": ("t.csv", codecs.BOM_UTF8 + b"a\n1\n", {"encoding": "utf-16"}),
    "row too long": ("t.csv", b"a,b\n1,2\n1,2,3\n", {}),
    "open quotes": ("t.csv", b'a,b\n1,2\n"1,2\n', {}),
    "two delimiters": ("t.csv", b"a;b,c;d\n1;2,3;4\n", {}),
    "twice": ("t.csv", b"a,a\n1,2\n", {}),
    "no JSON": ("t.jsonl", b'{"a": 1}\n{"a": \n', {}),
    "key twice": ("t.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}\n', {}),
    "no Parquet": ("t.parquet", b"PAR1", {}),
    "gone": ("gone.csv", None, {}),
}


@pytest.mark.parametrize(("name", "content", "options"), BROKEN.values(), ids=BROKEN)
def test_messages(tmp_path, name, content, options):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as whole:
        read_table(tmp_path / name, **options)
    with pytest.raises(DataError) as streamed:
        pieces(tmp_path / name, 2, **options)
    assert str(streamed.value) == str(whole.value)
