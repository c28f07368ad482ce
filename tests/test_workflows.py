"""Workflows run what `make` runs, on the Pythons that the package claims to support."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
if not WORKFLOWS:
    pytest.skip("a source distribution has no workflows", allow_module_level=True)


def jobs(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]


def commands(file):
    return [step["run"] for job in jobs(file).values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_commands_are_targets_of_make(file):
    made = [command for command in commands(file) if not command.startswith("grep")]
    assert [command for command in made if command.split()[0] != "make" or command.split()[1] not in TARGETS] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_jobs_have_a_time_limit_and_read_only_permissions(file):
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs(file).items() if "timeout-minutes" not in job] == []


def test_every_target_that_checks_runs_in_a_workflow():
    run = {command.split()[1] for file in WORKFLOWS for command in commands(file) if command.startswith("make")}
    assert run >= {target for target in TARGETS if target.startswith(("check", "coverage", "test", "wheel"))} | {"docs"}


def test_tested_python_versions_match_the_classifiers():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    claimed = {
        found[1] for found in (re.fullmatch(r"Programming .* :: (3\.\d+)", text) for text in classifiers) if found
    }
    (matrix,) = (job["strategy"]["matrix"]["python"] for job in [jobs(ROOT / ".github/workflows/test.yml")["linux"]])
    assert set(matrix) == claimed
