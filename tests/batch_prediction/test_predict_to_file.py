"""Tables of predictions, written in parts: the same bytes whatever the size of a part, and after any interruption."""

import csv
import errno
import json
import os
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet

from keras_transfer.batch_prediction import answer_file, predict, worker
from keras_transfer.data.tables import write
from keras_transfer.storage import atomic

RUNS = runpy.run_path(str(Path(__file__).parents[1] / "cases" / "conftest.py"))
image_model, make_image_run, image_run = (RUNS[name] for name in ("image_model", "make_image_run", "image_run"))
text_model, make_text_run, text_run = (RUNS[name] for name in ("text_model", "make_text_run", "text_run"))
expected_text, expected_image = RUNS["expected_text"], RUNS["expected_image"]

ROWS = [
    {"n": 1, "review": "great battery", "tags": ["x"]},
    {"n": None, "review": 'a "b"\nc, d'},
    {"n": 3, "review": "caf\u00e9", "late": {"a": 1}},
    {"n": 2**60 + 1, "review": "."},
    {"n": 5, "review": "fell apart", "late": {"b": None}},
]


@pytest.fixture
def stubs(monkeypatch, image_run, text_run):
    runs = {"image": image_run, "text": text_run}
    monkeypatch.setattr("keras_transfer.run.opened.open_model", lambda folder: runs[str(folder)])


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of two rows."""
    monkeypatch.setattr(predict, "_PIECE_ROWS", range(2, 3))


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return file


@pytest.fixture
def predict_out(command, stubs):
    """Calls ``predict --out``, which succeeds, and returns the table and what was printed."""

    def call(*words, out="out.jsonl"):
        result = command("predict", *words, "--out", out)
        assert result.exit_code == 0, result.output
        assert sorted(file.name for file in Path(out).parent.iterdir() if "out" in file.name) == [Path(out).name]
        return Path(out).read_bytes(), result

    return call


def rounded(content):
    return re.sub(rb"(0\.\d{5})\d+", rb"\1", content)


def read_rows(content):
    return [json.loads(line) for line in content.splitlines()]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_joined_parts_match_a_single_part(predict_out, table, monkeypatch, suffix):
    whole, _ = predict_out("text", table, out=f"out{suffix}")
    Path(f"out{suffix}").rename(f"whole{suffix}")
    monkeypatch.setattr(predict, "_PIECE_ROWS", range(2, 3))
    joined, _ = predict_out("text", table, out=f"out{suffix}")
    if suffix == ".parquet":
        frames = [parquet.read_table(f"{name}{suffix}").to_pandas() for name in ("out", "whole")]
        pd.testing.assert_frame_equal(*frames, atol=1e-6)
    else:  # a batch of another size is summed in another order
        assert rounded(joined) == rounded(whole)


@pytest.mark.usefixtures("small_parts")
def test_every_row_has_its_own_prediction(predict_out, table, expected_text):
    rows = read_rows(predict_out("text", table)[0])
    assert [row["n"] for row in rows] == [row["n"] for row in ROWS]
    assert rows[2]["late"] == {"a": 1} and rows[0]["late"] is None
    for row, own in zip(rows, ROWS, strict=True):
        found = [row[f"probability_{name}"] for name in ("bird", "cat", "dog")]
        np.testing.assert_allclose(found, expected_text(own["review"]), atol=1e-5)


KILLED = [
    pytest.param(predict.AnswerFile, "begin", 1, False, id="before the folder is made"),
    pytest.param(predict.AnswerFile, "add", 1, False, id="before the first part"),
    pytest.param(answer_file, "write_part", 2, True, id="between a part and its facts"),
    pytest.param(predict.AnswerFile, "add", 2, True, id="after the second part"),
    pytest.param(answer_file, "join_parts", 1, False, id="before the parts are joined"),
    pytest.param(atomic, "sync", -2, False, id="before the table is public"),
    pytest.param(answer_file.shutil, "rmtree", 1, False, id="before the parts are removed"),
]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("owner", "name", "number", "after"), KILLED)
def test_a_killed_process_is_resumed_without_lost_or_duplicate_rows(
    predict_out, command, killed, table, monkeypatch, owner, name, number, after
):
    unbroken, _ = predict_out("text", table)
    Path("out.jsonl").unlink()
    if number < 0:  # of the last calls of the whole process
        calls = []
        with pytest.MonkeyPatch.context() as patch:
            original = getattr(owner, name)
            patch.setattr(owner, name, lambda *arguments: (calls.append(1), original(*arguments)))
            predict_out("text", table)
        Path("out.jsonl").unlink()
        number += len(calls) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict.AnswerFile, "_end", lambda self: "")  # a killed process tidies nothing up
        killed(lambda: command("predict", "text", table, "--out", "out.jsonl"), owner, name, number, after=after)
    done = len(list(Path().glob("out.jsonl.parts/0*.json")))
    answered, answer = [], worker.Worker.answer
    monkeypatch.setattr(worker.Worker, "answer", lambda self, piece: answered.append(1) or answer(self, piece))
    assert predict_out("text", table, "--resume")[0] == unbroken
    assert len(answered) == (0 if name == "rmtree" else 3 - done)


@pytest.fixture
def begun(command, stubs, small_parts, killed, table):
    """A call that was killed after its first part."""
    shutil.copy(table, "in.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict.AnswerFile, "_end", lambda self: "")
        killed(
            lambda: command("predict", "text", "in.jsonl", "--out", "out.jsonl"),
            predict.AnswerFile,
            "add",
            1,
            after=True,
        )
    return Path("out.jsonl.parts")


def change_the_table():
    Path("in.jsonl").write_text(Path("in.jsonl").read_text().replace("fell apart", "fell aport"))


def add_a_row():
    with Path("in.jsonl").open("a") as file:
        file.write('{"n": 6, "review": "more"}\n')


CHANGED = {
    "a text": (change_the_table, [], ["the inputs have changed (5 rows then, 5 now)"]),
    "a row": (add_a_row, [], ["the inputs have changed (5 rows then, 6 now)"]),
    "an option": (lambda: None, ["--top-k", "2"], ["top_k was None and is 2"]),
    "columns": (lambda: None, ["--columns", "n"], ["columns was n, review, tags, late and is n"]),
    "two": (lambda: None, ["--skip-broken", "--min-confidence", "0.5"], ["min_confidence was None", "skip_broken was"]),
}


@pytest.mark.parametrize(("change", "words", "needs"), CHANGED.values(), ids=CHANGED)
def test_parts_of_another_prediction_are_not_continued(begun, refused, predict_out, change, words, needs):
    before = Path("in.jsonl").read_text()
    change()
    refused("predict", "text", "in.jsonl", "--out", "out.jsonl", "--resume", *words, needs=[*needs, "out.jsonl.parts"])
    Path("in.jsonl").write_text(before)
    predict_out("text", "in.jsonl", "--resume")


def test_another_run_does_not_continue(begun, refused, text_run, monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sums.json").write_text("{}")
    monkeypatch.setattr(text_run, "path", tmp_path / "other")
    refused("predict", "text", "in.jsonl", "--out", "out.jsonl", "--resume", needs=["the run is a different one"])


def test_parts_are_neither_overwritten_nor_mixed(begun, refused, predict_out):
    needs = ["out.jsonl.parts holds the parts of an earlier call", "--resume"]
    refused("predict", "text", "in.jsonl", "--out", "out.jsonl", needs=needs)
    with atomic.FolderLock(begun):
        refused("predict", "text", "in.jsonl", "--out", "out.jsonl", "--resume", needs=["Another process", "out.jsonl"])
    (begun / "job.json").write_text("[]")
    refused("predict", "text", "in.jsonl", "--out", "out.jsonl", "--resume", needs=["job.json is damaged"])


def test_a_damaged_part_is_predicted_again(begun, predict_out, table):
    (begun / "000000.jsonl").write_text("{}\n")
    assert [row["n"] for row in read_rows(predict_out("text", "in.jsonl", "--resume")[0])] == [r["n"] for r in ROWS]


def test_other_files_in_the_way_are_refused(command, stubs, refused, table):
    Path("out.csv.parts").mkdir()
    Path("out.csv.parts/mine.txt").touch()
    refused("predict", "text", table, "--out", "out.csv", "--resume", needs=["holds other files", "mine.txt"])
    Path("out.tsv.parts").symlink_to("elsewhere")
    refused("predict", "text", table, "--out", "out.tsv", needs=["out.tsv.parts is not a folder"])
    Path("out.jsonl").touch()
    refused("predict", "text", table, "--out", "out.jsonl", "--resume", needs=["out.jsonl exists"])


def test_a_table_that_appears_meanwhile_is_not_overwritten(command, stubs, table, monkeypatch):
    join = answer_file.join_parts
    monkeypatch.setattr(answer_file, "join_parts", lambda *given: (join(*given), Path("out.csv").write_text("mine")))
    result = command("predict", "text", table, "--out", "out.csv")
    assert result.exit_code == 2
    assert "out.csv was created by another process" in result.stderr and "--resume" in result.stderr
    assert Path("out.csv").read_text() == "mine"
    assert not list(Path().glob(".unfinished*"))


def test_nothing_to_resume(predict_out, table):
    _, result = predict_out("text", table, "--resume")
    assert "Nothing to resume: out.jsonl.parts has no parts." in result.stderr


@pytest.mark.usefixtures("small_parts")
def test_an_error_of_a_full_disk_explains_how_to_continue(command, stubs, predict_out, table, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    unbroken, _ = predict_out("text", table)
    Path("out.jsonl").unlink()
    hint = "Predictions for 5 of 5 rows are in out.jsonl.parts. Continue with --resume."
    form = write._FORMATS[".jsonl"]
    for changed, left in (({"append": fail}, []), ({"join": fail}, ["out.jsonl.parts"])):
        with monkeypatch.context() as patch:
            patch.setitem(write._FORMATS, ".jsonl", replace(form, **changed))
            result = command("predict", "text", table, "--out", "out.jsonl")
        assert result.exit_code == 2
        assert "No space left on device. Free disk space" in result.stderr
        assert [path.name for path in Path().iterdir()] == left
        assert (hint in result.stderr) == bool(left)
    assert predict_out("text", table, "--resume")[0] == unbroken


@pytest.mark.usefixtures("small_parts")
def test_inputs_that_cannot_be_read_are_all_named_before_anything_is_written(command, stubs, tmp_path, predict_out):
    reviews = [None, 3, "good", None, "fine", "more"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"review": review}) + "\n" for review in reviews))
    result = command("predict", "text", tmp_path / "in.jsonl", "--out", "out.csv")
    lines = result.stderr.splitlines()
    assert lines[0] == "Error: No prediction was made: 3 of 6 inputs cannot be read:"
    assert [line.strip().partition(":")[0] for line in lines[1:4]] == ["row 1", "row 2", "row 4"]
    assert not list(Path().iterdir())
    content, result = predict_out("text", tmp_path / "in.jsonl", "--skip-broken", out="out.csv")
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert list(rows[0]) == [
        *("review", "predicted_label", "predicted_score"),
        *(f"probability_{name}" for name in ("bird", "cat", "dog")),
        "error",
    ]
    assert [bool(row["error"]) for row in rows] == [not isinstance(review, str) for review in reviews]
    assert [bool(row["predicted_label"]) for row in rows] == [isinstance(review, str) for review in reviews]
    assert "3 of 6 inputs cannot be read; their predictions are empty." in result.stderr


def test_no_input_that_can_be_read(predict_out, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"review": null}\n')
    rows = read_rows(predict_out("text", tmp_path / "in.jsonl", "--skip-broken")[0])
    assert rows == [{"review": None, "error": "column 'review' is empty"}]


COLUMNS = {
    "some": (["--columns", "n,tags"], ["n", "tags"]),
    "in the order given": (["--columns", "tags", "--columns", "n"], ["tags", "n"]),
    "a comma in a name": (["--columns", "a,b"], ["a,b"]),
    "none": (["--columns", ""], []),
    "all": ([], ["n", "review", "tags", "a,b"]),
}


@pytest.mark.parametrize(("words", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_columns(predict_out, tmp_path, words, expected):
    (tmp_path / "in.jsonl").write_text('{"n": 1, "review": "a", "tags": 2, "a,b": 3}\n')
    (row,) = read_rows(predict_out("text", tmp_path / "in.jsonl", *words, "--top-k", 1)[0])
    assert list(row) == [*expected, "predicted_label", "predicted_score", "top_1_label", "top_1_score"]


@pytest.mark.usefixtures("small_parts")
def test_a_folder_a_table_and_texts_in_one_table(predict_out, table, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("from a file")
    words = ("text", tmp_path / "texts", table, "--text", "more")
    content, _ = predict_out(*words)
    rows = read_rows(content)
    assert [row["input"] for row in rows] == [str(tmp_path / "texts" / "a.txt"), *[None] * 5, "more"]
    assert [row["n"] for row in rows] == [None, 1, None, 3, 2**60 + 1, 5, None]
    Path("out.jsonl").unlink()
    predict_out(*words, out="out.parquet")
    assert parquet.read_table("out.parquet")["n"].to_pylist() == [None, 1, None, 3, 2**60 + 1, 5, None]


def test_files_share_a_part(predict_out, tmp_path, monkeypatch):
    files = [tmp_path / f"{number}.txt" for number in range(5)]
    for file in files:
        file.write_text(file.stem)
    sizes, answer = [], worker.Worker.answer
    monkeypatch.setattr(
        worker.Worker, "answer", lambda self, piece: sizes.append(len(piece.values)) or answer(self, piece)
    )
    content, _ = predict_out("text", *files)
    assert sizes == [5] and [row["input"] for row in read_rows(content)] == list(map(str, files))


@pytest.mark.usefixtures("small_parts")
def test_paths_are_read_by_one_rule_in_all_parts(command, predict_out, refused, tmp_path, expected_image):
    random = np.random.default_rng(0)
    pixels = {name: random.integers(0, 256, (16, 16, 3), np.uint8) for name in ("a", "b", "c", "d")}
    for name, values in pixels.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    (tmp_path / "in.csv").write_text("path\na\nb.png\nc\nd\n")
    content, result = predict_out("image", tmp_path / "in.csv")
    assert "Paths without a suffix, read with .png: 3 rows, such as a" in result.stderr
    for row, values in zip(read_rows(content), pixels.values(), strict=True):
        found = [row[f"probability_{name}"] for name in ("bird", "cat", "dog")]
        np.testing.assert_allclose(found, expected_image(values), atol=1e-5)
    (tmp_path / "d.png").rename(tmp_path / "d.bmp")
    refused("predict", "image", tmp_path / "in.csv", "--out", "new.csv", needs=["2 as .png, 1 as .bmp"])
    (tmp_path / "d.bmp").unlink()  # the suffix fits three of four: none is added
    refused("predict", "image", tmp_path / "in.csv", "--out", "new.csv", needs=["3 of 4 inputs", "a: no such file"])


def test_a_file_that_changes_between_the_check_and_the_prediction(command, stubs, tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(file)
    begin = predict.AnswerFile.begin
    monkeypatch.setattr(
        predict.AnswerFile, "begin", lambda self, job: (begin(self, job), file.write_bytes(b"\x89PNG\r\n\x1a\nno"))
    )
    result = command("predict", "image", file, "--out", "out.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: No prediction was made: 1 of 1 inputs cannot be read:\n  {file}: ")
    assert not list(Path().iterdir())


def test_progress_shows_rows_per_second_and_the_time_left(capsys, monkeypatch):
    now = iter([0.0, 10.0, 50.0, 90.0])
    monkeypatch.setattr(predict, "time", SimpleNamespace(monotonic=lambda: next(now)))
    shown = predict.Progress("Predicted", 10_000, done=1000)
    for _ in range(3):
        shown.advance(1000)
    assert capsys.readouterr().err.splitlines() == [
        "Predicted 3,000 of 10,000 rows, 40 per second, 2 min 55 s left",
        "Predicted 4,000 of 10,000 rows, 33 per second, 3 min 0 s left",
    ]
