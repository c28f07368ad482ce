"""Every example runs as its first line says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


REVIEWS = [("It never worked, a waste of money", 1), ("Wonderful, I love it", 5)]


def run(name, *arguments, **environment):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_folder_then_serve(images, tmp_path):
    assert "accuracy" in run("folder.py", images, tmp_path / "run")
    files = sorted(images.glob("*/*"))[::7]
    answers = run("serve.py", tmp_path / "run" / "export" / "saved_model" / "1", *files).splitlines()
    assert [answer.split(": ")[0] for answer in answers] == [str(file) for file in files]


@pytest.mark.slow
def test_table(images, tmp_path):
    assert "cat: precision" in run("table.py", images, tmp_path / "run")


@pytest.mark.slow
def test_python_api(images, tmp_path):
    said = run("python_api.py", images, tmp_path / "run")
    assert "Did you mean resnet50" in said
    assert "policy.stagse" in said
    assert "examples match within" in said


@pytest.mark.slow
def test_texts(tmp_path):
    rows = ["review,stars", *(f'"{text} {n}",{stars}' for n in range(12) for text, stars in REVIEWS)]
    (tmp_path / "reviews.csv").write_text("\n".join(rows))
    said = run("texts.py", tmp_path / "reviews.csv", tmp_path / "run").splitlines()
    assert said[-3] == "accuracy 1.000"
    for line, text in zip(said[-2:], ["Came late, and broken.", "Just what I had hoped for!"], strict=True):
        assert re.fullmatch(rf"{re.escape(text)}: [15] \([01]\.\d\d\)", line), line


@pytest.mark.slow
def test_pretrain(make_images, tmp_path):
    many = make_images(tmp_path / "many", {"cat": 12, "dog": 12})
    few = make_images(tmp_path / "few", {"hen": 6, "owl": 6, "tit": 6})
    said = run("pretrain.py", many, few, tmp_path / "runs").splitlines()
    for line, start in zip(said[-2:], ["pretrained", tmp_path / "runs" / "first"], strict=True):
        assert re.fullmatch(rf"from {re.escape(str(start))}: accuracy [01]\.\d+", line), line


@pytest.mark.slow
def test_own_loop(images):
    lines = run("own_loop.py", images).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["fine_tune epoch 2", "fine_tune epoch 3", "test"]
    assert "'accuracy': " in lines[-1]


def test_all_examples_are_tested():
    text = Path(__file__).read_text()
    assert [file.name for file in EXAMPLES.glob("*.py") if f'"{file.name}"' not in text] == []


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_examples_are_short(file):
    assert 5 <= len(file.read_text().splitlines()) <= 60
