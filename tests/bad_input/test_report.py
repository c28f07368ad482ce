"""Pages of run folders that are damaged or untrusted, and wrong options of ``keras-transfer report``."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parents[1]
MADE = runpy.run_path(str(TESTS / "report" / "conftest.py"))
check = runpy.run_path(str(TESTS / "report" / "html_checks.py"))["check"]


def write_run(folder, **made):
    return MADE["_write_run"](folder, MADE["Made"](**made))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("made") / "run").folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "spoilt")


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (["--out", "page.txt"], ["--out", "page.txt", ".html"]),
        (["--out", "."], ["--out", "is a folder"]),
        (["--out", "/dev/null/page.html"], ["--out", "cannot be written"]),
        (["--root", "images"], ["--root", "--data"]),
        (["--data", "not/there"], ["not/there"]),
    ],
)
def test_wrong_words(folder, refused, words, needs):
    refused("report", folder, *words, needs=needs, most_lines=6)


def test_no_run(refused, tmp_path):
    refused("report", tmp_path / "nothing", needs=["There is no run folder"])


def _arrays(folder, **changes):
    with np.load(folder / "predictions.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return {**arrays, **changes}


NAN = np.full((40, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(lambda file: file.write_bytes(b"none"), "not a file of predictions", id="no-zip"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-300]), "not a file", id="truncated"),
        pytest.param(lambda file: np.savez(file, **_arrays(file.parent, **{"test.predicted": NAN})), "NaN", id="nan"),
        pytest.param(
            lambda file: np.savez(file, **_arrays(file.parent, **{"test.predicted": NAN[:3]})), "[40, 2]", id="short"
        ),
        pytest.param(
            lambda file: np.savez(file, **_arrays(file.parent, **{"test.targets": np.full(40, 7)})),
            "not classes",
            id="classes",
        ),
        pytest.param(
            lambda file: np.savez(file, **_arrays(file.parent, **{"test.targets": np.full(40, "a", object)})),
            "object",
            id="pickled",
        ),
    ],
)
@pytest.mark.parametrize("is_sealed", [True, False])
def test_predictions_that_are_damaged(folder, refused, spoil, problem, is_sealed):
    spoil(folder / "predictions.npz")
    if not is_sealed:
        (folder / "sums.json").unlink()
    needs = ["predictions.npz is damaged", "has changed since the run ended" if is_sealed else problem]
    refused("report", folder, needs=needs)


@pytest.mark.parametrize(
    ("name", "content", "is_refused"),
    [
        pytest.param("history.jsonl", '{"phase": "a", "loss": "<b>"}\n{"loss": []}\n', False, id="history-types"),
        pytest.param("history.jsonl", "[" * 100_000, False, id="history-deep"),
        pytest.param("environment.json", '{"versions": {"<i>": {"a": []}}, "devices": 7}', False, id="environment"),
        pytest.param("environment.json", "{", False, id="environment-no-json"),
        pytest.param("phases.json", '{"phases": [{"name": 7}]}', True, id="phases"),
        pytest.param("choice.json", '{"seconds": "<b>"}', False, id="choice"),
    ],
)
def test_files_with_other_content(folder, command, name, content, is_refused):
    (folder / name).write_text(content, encoding="utf-8")
    result = command("report", folder)
    assert result.exit_code == (2 if is_refused else 0), result.stderr
    if is_refused:
        assert f"{name} is damaged" in result.stderr
    else:
        check((folder / "report.html").read_text(encoding="utf-8"))


def test_a_page_that_is_a_link_to_elsewhere_is_not_written(folder, refused, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    (folder / "report.html").symlink_to(tmp_path / "mine.txt")
    refused("report", folder, needs=["is a link to"])
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_runs_of_a_cross_validation_that_are_elsewhere(made, refused, tmp_path):
    folder = tmp_path / "several"
    folder.mkdir()
    shutil.copytree(made, tmp_path / "outside")
    figure = {"mean": 0.5, "std": 0.1, "values": [0.5]}
    for runs, needs in ((["../outside"], "runs: expected"), ([], "runs: expected"), (["gone"], "runs: expected")):
        summary = {"test": {"accuracy": figure}, "runs": runs}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        refused("report", folder, needs=["summary.json is damaged", needs])
    refused("report", folder, "--data", "x", needs=["several runs"])
