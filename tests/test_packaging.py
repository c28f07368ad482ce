"""Recipes are found however the project is installed; the wheel, the sdist and the lock file hold what they should."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[1]
LIST = [
    "-c",
    "import json, keras_transfer.config.catalog as c; "
    "print(json.dumps({'folder': str(c.recipes_folder()), 'names': list(c.bundled_recipes())}))",
]
PIP = ["-m", "pip", "--disable-pip-version-check", "--quiet"]


def call(command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def recipe_names():
    folder = CHECKOUT / "recipes"
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.glob("*/*.yaml"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy, so that a build leaves nothing in the real one."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("keras_transfer", "recipes"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    call([sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout])
    (file,) = folder.glob("*.whl")
    return file


def test_recipes_are_found_in_a_checkout(checkout, tmp_path):
    found = json.loads(call([sys.executable, *LIST], cwd=tmp_path, env={"PYTHONPATH": str(checkout)}))
    assert found == {"folder": str(checkout / "recipes"), "names": recipe_names()}


def test_recipes_are_found_in_a_wheel_install(wheel, tmp_path):
    installed = tmp_path / "installed"
    call([sys.executable, *PIP, "install", "--no-deps", "--target", installed, wheel])
    found = json.loads(call([sys.executable, *LIST], cwd=tmp_path, env={"PYTHONPATH": str(installed)}))
    folder = installed / "keras_transfer" / "bundled_recipes"
    assert found == {"folder": str(folder), "names": recipe_names()}
    script = installed / "bin" / "keras-transfer"
    shown = call([sys.executable, script, "show", "image/quickstart"], env={"PYTHONPATH": str(installed)})
    assert shown == (CHECKOUT / "recipes" / "image" / "quickstart.yaml").read_text(encoding="utf-8")


def test_recipes_are_found_in_an_editable_install(checkout, tmp_path):
    environment = tmp_path / "venv"
    call([sys.executable, "-m", "venv", "--without-pip", environment])
    python = environment / "bin" / "python"
    here = json.loads(call([python, "-c", "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"]))
    # The dependencies are those of the environment that runs the tests; they are not installed again.
    (Path(here) / "dependencies.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    call([python, *PIP, "install", "--no-deps", "--no-build-isolation", "--editable", checkout])
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = json.loads(call([python, *LIST], cwd=tmp_path, env=plain))
    assert found == {"folder": str(checkout / "recipes"), "names": recipe_names()}
    own = checkout / "recipes" / "image" / "added_later.yaml"
    own.write_text("# Added after the install\ntask: image_classification\n", encoding="utf-8")
    try:
        assert "image/added_later" in call([environment / "bin" / "keras-transfer", "list"], cwd=tmp_path, env=plain)
    finally:
        own.unlink()


def test_the_wheel_is_typed_licensed_and_contains_only_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    assert "keras_transfer/py.typed" in names
    assert {f"keras_transfer/bundled_recipes/{name}.yaml" for name in recipe_names()} <= names
    templates = {f"keras_transfer/report/templates/{name}" for name in ("page.html", "chart.html", "style.css")}
    assert templates <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"keras_transfer"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["Version"] == re.search(r'^__version__ = "(.+)"', read("keras_transfer/__init__.py"), re.M)[1]
    assert fields["Description-Content-Type"] == "text/markdown"
    assert set(fields.get_all("Provides-Extra")) >= {"samples", "gpu", "test", "dev"}
    # A model or a data set that slips into the package would be many times as large as its code.
    assert wheel.stat().st_size < 1e6


def test_the_source_distribution_has_what_the_tests_and_docs_need(tmp_path):
    call([sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path], cwd=CHECKOUT)
    (file,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {path.name for path in CHECKOUT.iterdir() if path.suffix in {".md", ".cff"}} | {"LICENSE", "Makefile"}
    assert {*tracked, "pyproject.toml", "requirements/ci.txt", "tests/test_packaging.py", "docs/design.md"} <= names
    assert [name for name in names if "__pycache__" in name or name.startswith(("runs/", ".venv"))] == []


def read(name):
    return (CHECKOUT / name).read_text(encoding="utf-8")


def test_the_changelog_and_the_citation_have_the_version():
    version = re.search(r'^__version__ = "(.+)"', read("keras_transfer/__init__.py"), re.M)[1]
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M)[1] == version
    assert re.search(r"^version: (.+)$", read("CITATION.cff"), re.M)[1] == version


def required(*extras):
    """What pyproject.toml requires for ``make test`` and ``make check``, its own extras resolved."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        yield requirement
    waiting = list(extras)
    while waiting:
        for requirement in map(Requirement, project["optional-dependencies"][waiting.pop()]):
            if requirement.name == "keras-transfer":
                waiting += requirement.extras
            else:
                yield requirement


def test_the_lock_file_pins_every_requirement_within_its_bounds():
    pins = [Requirement(line) for line in read("requirements/ci.txt").splitlines() if not line.lstrip().startswith("#")]
    wrong = []
    for requirement in required("samples", "test", "dev"):
        for version in ("3.11", "3.12", "3.13"):
            system = {**default_environment(), "python_version": version, "python_full_version": f"{version}.0"}
            found = [
                next(iter(pin.specifier)).version
                for pin in pins
                if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
                and (pin.marker is None or pin.marker.evaluate(system))
            ]
            if len(found) != 1 or not requirement.specifier.contains(found[0]):
                wrong.append(f"{requirement} on Python {version}: {found}. Run: make lock")
    assert wrong == []
