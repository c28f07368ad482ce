"""docs/extend: the pages on sources, sample sets and exporters run unchanged, and their parts work in recipes."""

import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pandas as pd
import pytest

from keras_transfer import (
    EXAMPLE_KINDS,
    EXPORTERS,
    SAMPLES,
    SOURCES,
    ConfigError,
    DataError,
    ImageClassification,
    Run,
    TextClassification,
)
from keras_transfer.config.data import TextDataConfig
from keras_transfer.data.splits.splits import load_splits, read_split
from keras_transfer.export import make_exporters
from keras_transfer.recipe.spec import with_absolute_paths

PAGES = Path(__file__).parents[2] / "docs" / "extend"
REGISTRIES = (SOURCES, SAMPLES, EXPORTERS, EXAMPLE_KINDS)


def blocks(page, kind="python"):
    return re.findall(rf"```{kind}\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)


def run_page(page):
    space = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, page, "exec"), space)
    return space


@pytest.fixture(autouse=True)
def registries(monkeypatch, tmp_path):
    """What a test adds is removed after it; each test has its own working folder."""
    monkeypatch.chdir(tmp_path)
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_values", dict(registry._values))
        registry.__dict__.pop("_plugins", None)
    yield
    for registry in REGISTRIES:
        registry.__dict__.pop("_plugins", None)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install("sources", "sqlite = mine:Sqlite", module)``: a package with an entry point, for this test."""
    site = tmp_path / "site"

    def call(group, entry, module):
        folder = site / "mine-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[keras_transfer.{group}]\n{entry}\n")
        (site / "mine.py").write_text(module)
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        for registry in REGISTRIES:
            registry.__dict__.pop("_plugins", None)
        return site

    return call


def write_database(file, rows):
    with sqlite3.connect(file) as database:
        pd.DataFrame(rows).to_sql("examples", database, index=False)


RECIPE = """
task: {task}_classification
data: {{source: "sqlite:rows.db", validation: 0.25, test: 0.25}}
"""


def test_the_page_on_sources():
    space = run_page("sources.md")
    assert "sqlite" in SOURCES
    # Its own kind of examples, read by its own kind of source, and divided like all others.
    rows = [{"x": n, "y": n / 2, "label": "ab"[n % 2]} for n in range(16)]
    write_database("numbers.db", rows)
    config = space["NumbersConfig"](source="sqlite:numbers.db", test=0.25, validation=0.25)
    splits = load_splits(config, seed=0)
    assert [len(split) for split in splits] == [9, 3, 4]
    for split in splits:
        for name, values, target in zip(split.examples.names, split.examples.values, split.targets, strict=True):
            row = rows[int(name.removeprefix("row ")) - 1]
            assert (values, "ab"[target]) == ((row["x"], row["y"]), row["label"])
    whole = read_split("all", "sqlite:numbers.db", config, splits.target)
    assert whole.examples.names == tuple(f"row {n}" for n in range(1, 17))
    with pytest.raises(DataError, match=r"gone\.db: there is no file gone\.db"):
        load_splits(TextDataConfig(source="sqlite:gone.db"), seed=0)


@pytest.mark.parametrize("task", ["text", "image"])
def test_an_installed_source_works_from_files_the_command_line_and_python(
    task, install, images, tmp_path, command, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    site = install("sources", "sqlite = mine:Sqlite", blocks("sources.md")[0])
    if task == "text":
        rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(16)]
    else:
        rows = [{"path": f"images/{f.relative_to(images)}", "label": f.parent.name} for f in images.glob("*/*")]
    write_database("rows.db", rows)
    (tmp_path / "mine.yaml").write_text(RECIPE.format(task=task))
    recipe = (TextClassification if task == "text" else ImageClassification).from_file("mine.yaml")
    loaded = load_splits(recipe.config.data, seed=0)
    assert sum(map(len, loaded)) == len(rows)
    given = (TextClassification if task == "text" else ImageClassification)("sqlite:rows.db")
    assert len(load_splits(given.config.data, seed=0).train) > 0
    recorded = with_absolute_paths(recipe.config).data.source
    assert recorded == f"sqlite:{tmp_path / 'rows.db'}"
    if task == "image":
        options = ("backbone.weights=none", "data.image_size=64", f"data.root={tmp_path}")
        result = command("check", tmp_path / "mine.yaml", f"data.source={recorded}", *options)
        assert (result.exit_code, f"Data: {recorded}: 2 classes; rows: 18 train" in result.stdout) == (0, True), result

    shutil.rmtree(site)
    for registry in REGISTRIES:
        registry.__dict__.pop("_plugins", None)
        registry._values.pop("sqlite", None)
    with pytest.raises(
        DataError, match=r"'sqlite:rows\.db' not found.*No installed package reads sources that start with 'sqlite:'"
    ):
        load_splits(recipe.config.data, seed=0)


def test_a_source_that_two_kinds_claim_is_refused(install, make_images):
    make_images(Path("solar_cells"), {"cat": 8, "dog": 8})
    config = ImageClassification("solar_cells").config.data
    ways = r"a sample set \(sample\) and as a folder \(folder\)"
    with pytest.raises(DataError, match=rf"is ambiguous: it can be read as {ways}\. .*\./"):
        load_splits(config, seed=0)
    assert len(load_splits(config.model_copy(update={"source": "./solar_cells"}), seed=0).train) > 0
    install("sources", "also = mine:Also", blocks("sources.md")[0] + "\n\nclass Also(Sqlite):\n    name = 'also'\n")
    run_page("sources.md")
    with pytest.raises(DataError, match=r"as sqlite:FILE \(sqlite\) and as sqlite:FILE \(also\)\. .*uninstall one"):
        load_splits(TextDataConfig(source="sqlite:reviews.db"), seed=0)


@pytest.mark.parametrize(
    ("kind", "other", "examples"),
    [(ImageClassification, "bbc_news", "texts"), (TextClassification, "solar_cells", "images")],
)
def test_a_sample_set_of_other_examples_is_refused(kind, other, examples):
    with pytest.raises(
        DataError, match=rf"Sample set {other} has {examples}, and this recipe's task reads \w+\. Sample"
    ):
        load_splits(kind(other).config.data, seed=0)


def write_reviews(site):
    (site / "my_reviews" / "data").mkdir(parents=True)
    (site / "my_reviews" / "__init__.py").write_text("")
    (site / "my_reviews" / "data" / "reviews.csv").write_text("id,text,stars\n1,a,1\n2,b,2\n3,c,1\n4,d,2\n")


def test_the_page_on_sample_sets(install):
    with pytest.raises(
        DataError, match=r"Sample set sample needs the package my-reviews\. Run: pip install my-reviews"
    ):
        run_page("samples.md")
    site = install("samples", "reviews = mine:reviews", blocks("samples.md")[0])
    write_reviews(site)
    config = TextClassification("reviews").config.data.model_copy(update={"test": 0.5, "validation": 0.0})
    assert sorted(text for split in load_splits(config, seed=0) for (text,) in split.examples.segments) == list("abcd")
    SAMPLES._values.pop("reviews")
    registry = SAMPLES.__dict__
    registry["_plugins"] = {}
    run_page("samples.md")
    assert "reviews" in SAMPLES


@pytest.mark.slow
def test_the_page_on_exporters(finished_run, tmp_path, command):
    (probe,) = blocks("exporters.md", "python probe")
    Path("network_probe.py").write_text(probe)
    space = run_page("exporters.md")
    space["NetworkExporter"].probe = Path("network_probe.py").absolute()
    run = Run(shutil.copytree(finished_run.folder, tmp_path / "run"))
    result = command("export", run.folder, "--format", "network")
    folder = run.folder / "export" / "network" / "1"
    assert result.stdout.startswith(f"Network: {folder} (verified in a fresh process: "), result.output
    assert {"names.json", "saved_model.pb"} <= {file.name for file in folder.iterdir()}
    assert (folder / "LICENSE").read_text() == "not stated"
    formats = TextClassification("x", export={"formats": [{"name": "network", "license": "MIT"}]}).config.export.formats
    assert [exporter.settings.license for exporter in make_exporters(formats)] == ["MIT"]
    with pytest.raises(ConfigError, match=r"export\.formats.*licence.*license"):
        TextClassification("x", export={"formats": [{"name": "network", "licence": "MIT"}]})
    result = command("export", run.folder, "--format", "netwrok")
    assert result.exit_code == 2
    assert "There is no export format named 'netwrok'. Did you mean network?" in result.stderr
