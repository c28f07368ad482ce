"""Mistakes on the command line itself."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["trian"], ["No such command 'trian'"]),
        (["run"], ["Missing argument 'RECIPE'"]),
        (["predict", "runs/x"], ["Missing argument 'INPUT...'"]),
        (["run", "image/quickstart", "--epochs", "3"], ["No such option", "--epochs"]),
        (["evaluate", "runs/x", "--split", "tset"], ["'tset'", "'train', 'validation', 'test'"]),
        (["copy", "image/quickstart"], ["Missing argument 'FILE'"]),
    ],
)
def test_usage(command, arguments, needs):
    result = command(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert [need for need in needs if need not in result.stderr] == []
    assert (result.stdout, "Traceback" in result.stderr) == ("", False)


def test_copy_does_not_overwrite(refused, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("my own work")
    refused("copy", "image/quickstart", file, needs=[file, "exists", "Name a new file"])
    assert file.read_text() == "my own work"


@pytest.mark.parametrize("name", ["absent/mine.yaml", "file/mine.yaml", "/proc/mine.yaml"])
def test_copy_to_a_path_that_cannot_be_written(refused, tmp_path, name):
    (tmp_path / "file").write_text("x")
    refused("copy", "image/quickstart", tmp_path / name, needs=[tmp_path / name, "cannot be written", "another file"])


def test_copy_of_an_unknown_recipe_writes_nothing(refused):
    refused("copy", "image/quickstrat", "mine.yaml", needs=["'image/quickstrat'", "Did you mean image/quickstart"])


@pytest.mark.parametrize("verb", ["show", "copy"])
def test_a_recipe_that_is_not_text(refused, tmp_path, verb):
    (tmp_path / "own.yaml").write_bytes(b"\xff\xfe\x00")
    refused(verb, tmp_path / "own.yaml", *(["mine.yaml"] if verb == "copy" else []), needs=["own.yaml", "UTF-8"])


def test_a_mistake_prints_only_our_lines_on_stderr(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("task: image_classification\ndata: {source: absent}\n", encoding="utf-8")
    command = [sys.executable, "-m", "keras_transfer.cli", "run", str(recipe), "--out", "run"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: Data source 'absent' not found.")
    assert not (tmp_path / "run").exists()
