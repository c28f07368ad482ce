"""The contract of sources and sample sets: the project's own satisfy it, and the checks find those that do not."""

import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from keras_transfer import SAMPLES, SOURCES, Sample, Source, TableSource
from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.data.sources.given_objects import PythonObjects
from keras_transfer.data.sources.python_objects import describe_object
from keras_transfer.testing import check_sample, check_source

TEXTS = pd.DataFrame({"text": [f"text {n}" for n in range(8)], "label": ["ham", "spam"] * 4})


def write_texts(folder):
    for number, (text, label) in enumerate(TEXTS.itertuples(index=False)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("folder", [True, False])
def test_folders_and_tables_of_texts(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "texts")
    TEXTS.to_csv("texts.csv", index=False)
    name = "texts" if folder else "texts.csv"
    check_source(SOURCES["folder" if folder else "table"], name, TextDataConfig(source=name))


def test_folders_tables_and_shards_of_images(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_source(SOURCES["folder"], "images", ImageDataConfig(source="images"))
    files = sorted(images.glob("*/*"))
    labels = [file.parent.name for file in files]
    pd.DataFrame({"path": [f"images/{file.relative_to(images)}" for file in files], "label": labels}).to_csv(
        "images.csv", index=False
    )
    check_source(SOURCES["table"], "images.csv", ImageDataConfig(source="images.csv"))
    table = pa.table({"image": [file.read_bytes() for file in files], "label": labels})
    parquet.write_table(table, "images.parquet")
    for name in ("images.parquet", "*.parquet"):
        check_source(SOURCES["shards"], name, ImageDataConfig(source=name, bytes="image"))


def test_datasets_of_tfds(tmp_path, images):
    (tmp_path / "split").mkdir()
    images.rename(tmp_path / "split" / "train")
    config = ImageDataConfig(source="tfds:image_folder", data_dir=str(tmp_path / "split"))
    check_source(SOURCES["tfds"], "tfds:image_folder", config)


def test_python_objects():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    data = (pixels, ["cat", "dog"] * 3)
    check_source(PythonObjects(data), describe_object(data), ImageDataConfig(source=describe_object(data)))
    name = describe_object(TEXTS)
    check_source(PythonObjects(TEXTS), name, TextDataConfig(source=name))


@pytest.mark.parametrize("name", ["bbc_headlines", "solar_cells_mono"])
def test_sample_sets_are_sources(name):
    config = {"text": TextDataConfig, "image": ImageDataConfig}[SAMPLES[name].examples](source=name)
    check_source(SOURCES["sample"], name, config)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_own_sample_sets_satisfy_the_contract(name):
    check_sample(SAMPLES[name])


class Sqlite(TableSource):
    name, form = "sqlite", "sqlite:FILE"

    def claims(self, name, config):
        return name.startswith("sqlite:")

    def load(self, name, config):
        with sqlite3.connect(name.removeprefix("sqlite:")) as database:
            return pd.read_sql(f"SELECT * FROM examples {self.order}", database)

    order = "ORDER BY rowid"


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "texts.db") as database:
        TEXTS.to_sql("examples", database, index=False)
    return f"sqlite:{tmp_path / 'texts.db'}"


def greedy(self, name, config):
    return True


def relative(self, name):
    return name.rpartition("/")[2]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"claims": greedy}, r"claims\(\) is false for names of other sources"),
        ({"order": "ORDER BY random()"}, "two reads give the same rows in order"),
        ({"absolute": relative}, r"claims\(\) is true for what absolute\(\) returns"),
        ({"absolute": lambda self, name: "sqlite:gone.db"}, "from any working folder"),
        ({"has_labels": lambda self, name, config, examples: False}, r"has_labels\(\) is true"),
    ],
)
def test_a_source_of_a_plugin(database, changes, problem):
    kind = type("Changed", (Sqlite,), changes)()
    config = TextDataConfig(source=database)
    if problem is None:
        check_source(kind, database, config)
        return
    with pytest.raises(AssertionError, match=rf"The contract of source 'sqlite': .*{problem}"):
        check_source(kind, database, config)


def make_sample(rows=None, classes=("no", "yes"), **fields):
    rows = rows or [("a", "x", "no"), ("b", "y", "yes")]
    table = pd.DataFrame(rows, columns=["name", "text", "label"]).assign(split=fields.pop("split", ""))
    options = {"description": "Two.", "examples": "text", "package": "pandas", "module": "pandas"}
    return Sample(**{**options, **fields}, read=lambda folder: Source("any", folder, table, classes))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rows": [("a", "x", "no"), ("a", "y", "yes")]}, "names of examples are unique"),
        ({"rows": [("/a", "x", "no"), ("b", "y", "yes")]}, "names of examples are not absolute paths"),
        ({"classes": ("no", "yes", "yes")}, "class_names are unique"),
        ({"classes": ("no",)}, "every label is one that class_names has"),
        ({"classes": ("maybe", "no", "yes")}, "every class has a row"),
        ({"split": "dev"}, "split is train, validation, test or empty"),
        ({"examples": "smell"}, "its kind of examples is registered"),
        ({"description": " "}, "it has a description"),
    ],
)
def test_a_sample_set_that_breaks_the_contract_is_refused_with_the_rule(options, problem, monkeypatch):
    sample = make_sample(**options)
    monkeypatch.setattr(SAMPLES, "_values", {**SAMPLES._values, "two": sample})
    rule = problem or (
        "names of examples are unique" if options["rows"][0][0] == "a" else "names of examples are not absolute paths"
    )
    with pytest.raises(AssertionError, match=f"The contract of sample set 'two': {rule}"):
        check_sample(sample)
