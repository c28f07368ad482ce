"""Inputs that ``predict`` does not accept, or cannot read: each is named, and nothing is written."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_transfer import DataError, InputError, NumberHead, TransferError

RUNS = runpy.run_path(str(Path(__file__).parents[1] / "cases" / "conftest.py"))
image_model, make_image_run, image_run = (RUNS[name] for name in ("image_model", "make_image_run", "image_run"))
text_model, make_text_run, text_run = (RUNS[name] for name in ("text_model", "make_text_run", "text_run"))


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("path,n\ngood.png,1\nbroken.png,2\n,3\ngone.png,4\n")
    (tmp_path / "texts.csv").write_text("reviews,n\na,1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (None, "None"),
        (7, "int 7"),
        (1.5, "float 1.5"),
        (True, "bool True"),
        ({"path": "a.png"}, "dict"),
        ({"a.png"}, "set"),
        ([], "an empty list"),
        ((), "an empty tuple"),
        (iter(["a.png"]), "list_iterator"),
        (["good.png", None, 3], "None as input 2, int 3 as input 3"),
        ([["good.png"]], "a list as input 1"),
        (np.zeros(4), "an array float64[4]"),
        (np.zeros((2, 2, 2, 2, 2)), "an array float64[2, 2, 2, 2, 2]"),
        (range(2), "int 0 as input 1, int 1 as input 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_input_that_is_not_an_image(image_run, given, received):
    with pytest.raises(InputError) as refusal:
        image_run.predict(given, skip_broken=True)
    assert isinstance(refusal.value, TypeError) and isinstance(refusal.value, DataError)
    assert f"Received: {received}" in str(refusal.value)
    assert "a PIL image" in str(refusal.value) and "pandas DataFrame" in str(refusal.value)


@pytest.mark.parametrize("given", [None, b"bytes", ["a", b"b"], [("a", "b")], Image.new("L", (2, 2)), np.zeros((4, 4))])
def test_an_input_that_is_not_a_text(text_run, given):
    with pytest.raises(InputError, match=r"a text \(str\).*a str is never a path.*Received: "):
        text_run.predict(given)


@pytest.mark.parametrize("given", ["a", ["a", "b"], ("a", "b", "c"), [["a", "b"]], ("a", None)])
def test_an_input_that_is_not_a_pair(make_text_run, given):
    with pytest.raises(InputError, match=r"a pair of texts \(a tuple of two str\)"):
        make_text_run(text_pair="reply").predict(given)


@pytest.mark.parametrize(
    ("make", "needs"),
    [
        (lambda f: "", ["'': an empty path"]),
        (lambda f: "a\0b", ["'a\\x00b': embedded null byte"]),
        (lambda f: "\ud800.png", ["'\\ud800.png': "]),
        (lambda f: "/dev/zero", ["/dev/zero: not a file"]),
        (lambda f: [f / "good.png", f], ["a folder; predict for it alone", "1 of 2 inputs"]),
        (lambda f: [f / "t.csv"], ["a table; predict for it alone"]),
        (lambda f: b"", ["image 1: zero bytes"]),
        (lambda f: np.full((4, 4, 3), 0.5), ["image 1: float64 pixels from 0.5 to 0.5", "(images * 255)"]),
        (lambda f: np.eye(16), ["image 1: float64 pixels from 0 to 1", "(images * 255)"]),
        (lambda f: np.eye(16, dtype=bool), ["image 1: an array of bool", "* 255"]),
        (lambda f: np.zeros((0, 4, 3), np.uint8), ["image 1: an array of shape [0, 4, 3]"]),
        (lambda f: np.zeros((4, 4, 7), np.uint8), ["image 1: 7 channels; data.channels is 3"]),
        (lambda f: Image.new("F", (4, 4)), ["image 1: a PIL image of mode F"]),
        (lambda f: f / "empty", ["empty has no images"]),
        (lambda f: f / "gone.csv", ["gone.csv", "does not exist"]),
        (lambda f: pd.DataFrame({"file": ["a"]}), ["The DataFrame has no column 'path'", "data.path", "Columns: file"]),
        (lambda f: pd.DataFrame({"path": []}), ["The DataFrame has no rows"]),
        (lambda f: pd.DataFrame([[1, 2]], columns=["path", "path"]), ["several columns of the same name: path"]),
        (
            lambda f: f / "t.csv",
            ["3 of 4 inputs", "broken.png: not an image", "row 3: column 'path' is empty", "gone.png"],
        ),
    ],
)
def test_images_that_cannot_be_read_are_all_named(image_run, folder, make, needs):
    with pytest.raises(TransferError, match=r"No prediction|Cannot read|no column|several columns") as refusal:
        image_run.predict(make(folder))
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


@pytest.mark.parametrize(
    ("make", "needs"),
    [
        (lambda f: f / "gone.txt", ["gone.txt: No such file", "--text"]),
        (lambda f: Path("great battery"), ["great battery: No such file", "--text", "as a str"]),
        (lambda f: ["fine", "caf\udce9"], ["'caf\\udce9': byte 0xe9 is not UTF-8"]),
        (lambda f: f / "broken.bin", ["broken.bin: byte 0xe9 is not UTF-8"]),
        (lambda f: f / "texts.csv", ["no column 'review'", "Did you mean reviews?", "data.text"]),
        (lambda f: pd.DataFrame({"review": ["a", None, 3]}), ["2 of 3", "row 2: column 'review' is empty", "row 3"]),
    ],
)
def test_texts_that_cannot_be_read_are_all_named(text_run, folder, make, needs):
    (folder / "broken.bin").write_bytes(b"caf\xe9")
    with pytest.raises(DataError) as refusal:
        text_run.predict(make(folder))
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


def test_a_path_that_could_be_two_files_is_refused(make_image_run, folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("training")
    Image.new("RGB", (16, 16), "red").save(other / "good.png")
    run = make_image_run(root=str(other))
    with pytest.raises(DataError, match=r"1 of 1 paths lead to two files.*Set --root to "):
        run.predict(pd.DataFrame({"path": ["good.png"]}) if Path.cwd() == folder else _table(folder))
    assert len(run.predict(_table(folder), root=other)) == len(run.predict(_table(folder), root=folder)) == 1
    (other / "only.png").write_bytes((other / "good.png").read_bytes())
    (folder / "only.csv").write_text("path\nonly.png\n")
    with pytest.raises(DataError, match=rf"only\.png: no such file in {folder}, but in {other}; .*--root"):
        run.predict(folder / "only.csv")


def _table(folder):
    (folder / "one.csv").write_text("path\ngood.png\n")
    return folder / "one.csv"


@pytest.fixture
def stubs(monkeypatch, image_run, text_run, make_text_run, make_image_run):
    numbers = make_image_run(target="number", label="level")
    numbers.__dict__["head"] = NumberHead(("level",), numbers.config.head, (0.0,), (1.0,))
    runs = {"image": image_run, "text": text_run, "pair": make_text_run(text_pair="reply"), "number": numbers}
    monkeypatch.setattr("keras_transfer.run.opened.open_model", lambda folder: runs[str(folder)])


@pytest.mark.usefixtures("stubs")
@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["text", "great battery"], ["great battery: No such file", "--text TEXT"]),
        (["text", "."], ["has no texts"]),
        (["image", "{f}/good.png", "--text", "a"], ["--text is for texts", "this run takes images"]),
        (["pair", "--text", "a", "--text", "b"], ["pairs of texts", "a table with the columns 'review' and 'reply'"]),
        (["text", "--text", "a", "--root", "."], ["--root", "tables of paths"]),
        (["image", "{f}/good.png", "--root", "."], ["--root is for tables", "Received: ., and images without a table"]),
        (["image", "{f}", "--suffix", ".png"], ["--suffix is for tables"]),
        (
            ["image", "{f}/good.png", "--encoding", "cp1252"],
            ["--encoding is for", "a table that is text"],
        ),
        (["text", "--text", "a", "--encoding", "cp1252"], ["--encoding is for tables"]),
        (["text", "{f}/note.txt", "--delimiter", ";"], ["--delimiter is for tables", "a .csv or .tsv table"]),
        (["text", "{f}/t.jsonl", "--delimiter", ";"], ["--delimiter is for tables", "a .csv or .tsv table"]),
        (["text", "{f}/cp1252.csv"], ["the first line is not UTF-8", "or set --encoding, which is cp1252 for many"]),
        (["text", "{f}/rows.csv"], ["byte 0xe9 is not UTF-8", "name their encoding with --encoding"]),
        (
            ["text", "{f}/texts.csv", "--encoding", "utf-99"],
            ["--encoding: unknown encoding", "utf-99"],
        ),
        (["text", "{f}/texts.csv", "--delimiter", "::"], ["--delimiter: expected auto, tab or one character", "'::'"]),
        (["image", "{f}/t.csv", "--suffix", "png"], ["--suffix: expected auto, or a point", "'png'"]),
        (["number", "{f}/good.png", "--top-k", "2"], ["--top-k", "this run predicts values"]),
        (["image", "{f}/good.png", "{f}/broken.png", "--out", "o.csv"], ["1 of 2 inputs", "broken.png: not an image"]),
        (["image", "{f}/good.png", "--out", "o.xlsx"], ["o.xlsx is not a table", ".parquet"]),
        (["image", "{f}/good.png", "--out", "{f}/t.csv"], ["t.csv exists"]),
        (["image", "{f}/good.png", "--out", "{f}/t.csv/o.csv"], ["cannot be written"]),
        (["image", "{f}/good.png", "--resume"], ["Without --out, there is no table for --resume"]),
        (["image", "{f}/good.png", "--engine", "ray", "--columns", "n"], ["no table for --columns and --engine"]),
        (
            ["image", "{f}/good.png", "--out", "o.csv", "--columns", "inptu"],
            ["--columns: the inputs have no column 'inptu'. Did you mean input?"],
        ),
        (["image", "{f}/columns.csv", "--out", "o.csv", "--columns", "path,n"], ["is a column, and so are"]),
        (["image", "{f}/good.png", "--out", "o.csv", "--address", "auto"], ["--address is for --engine ray"]),
        (["text", "{f}/columns.csv", "--out", "o.csv"], ["no column 'review'", "data.text", "Columns: path, n"]),
    ],
)
def test_on_the_command_line(refused, folder, arguments, needs):
    (folder / "cp1252.csv").write_bytes(b"review,caf\xe9\na,b\n")
    (folder / "rows.csv").write_bytes(b"review\ncaf\xe9\n")
    (folder / "t.jsonl").write_text('{"review": "a"}\n')
    (folder / "columns.csv").write_text('path,n,"path,n"\ngood.png,1,2\n')
    (folder / "note.txt").write_text("a")
    refused("predict", *(word.replace("{f}", str(folder)) for word in arguments), needs=needs)


@pytest.mark.usefixtures("stubs")
@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["text", "--encoding", "cp1252"], ["--encoding is for the table of --data", "Name a table with --data"]),
        (["text", "--data", "{f}/cp1252.csv"], ["the first line is not UTF-8", "or set --encoding"]),
        (
            ["text", "--data", "{f}/cp1252.csv", "--encoding", "utf-99"],
            ["--encoding: unknown encoding", "utf-99"],
        ),
        (
            ["text", "--data", "{f}/cp1252.csv", "--root", "."],
            ["--root is for tables of paths", "takes texts"],
        ),
        (["image", "--data", "{f}", "--delimiter", ";"], ["--delimiter: ", "Leave this out, or use a table"]),
    ],
)
def test_evaluate_on_the_command_line(refused, folder, arguments, needs):
    (folder / "cp1252.csv").write_bytes(b"review,label,caf\xe9\na,cat,b\n")
    refused("evaluate", *(word.replace("{f}", str(folder)) for word in arguments), needs=needs)


def test_empty_stdin(refused, stubs):
    refused("predict", "text", "-", needs=["Received: an empty list"])


def test_ray_is_not_installed(refused, stubs, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "keras_transfer.batch_prediction.on_ray", raising=False)
    words = ("predict", "image", folder / "good.png", "--out", "o.csv", "--engine", "ray")
    refused(*words, needs=["--engine ray needs Ray", "pip install 'keras-transfer[ray]'"])


def test_both_ways_to_print(command):
    result = command("predict", "runs/x", "a.png", "--json", "--out", "o.csv")
    assert (result.exit_code, result.stderr.startswith("Usage: ")) == (2, True)
    assert "Give one of them" in result.stderr
