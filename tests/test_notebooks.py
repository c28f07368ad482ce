"""Notebooks install what they use, hold no outputs, and run from an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 120  # on one core; the test allows for a busy machine


def cells(file, kind):
    book = json.loads(file.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def test_there_are_notebooks_and_a_page_links_each():
    page = (ROOT / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(\.\./\.\./notebooks/(\w+)\.ipynb\)", page)
    assert sorted(linked) == [file.stem for file in NOTEBOOKS]
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_start_with_their_install_and_contain_no_outputs(file):
    install, *rest = cells(file, "code")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    found = re.search(r'%pip install --quiet "keras-transfer\[([\w,-]+)\]"', "".join(install["source"]))
    assert found is not None
    assert set(found[1].split(",")) <= set(extras)
    assert install["metadata"]["tags"] == ["skip-execution"]  # tests have their own installation
    assert not any("%pip" in line or "!" in line[:1] for cell in rest for line in cell["source"])
    assert [cell["id"] for cell in [install, *rest] if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_contain_no_local_paths(file):
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"/(?:home|root|content|tmp|Users)/\S*", text) == []


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_run(file, tmp_path):
    shutil.copy(file, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", f"--nbmake-timeout={4 * SECONDS}", file.name]
    result = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
