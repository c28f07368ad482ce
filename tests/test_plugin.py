"""A package that adds one of each kind of thing: from YAML, the command line and Python, and after it is removed."""

import json
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "plugin"
PIP = ["-m", "pip", "--disable-pip-version-check", "--quiet"]

RECIPE = """
task: retrieval
data: {source: "stripes:12", validation: 0.2, test: 0.25}
backbone: pocket
policy: {name: top_first, top: 2}
training: {epochs: 2, batch_size: 12}
trackers: [{name: csv, file: losses.csv}]
export: {formats: [keras_file]}
"""


def call(command, folder, code=0):
    result = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A copy of the environment that runs the tests, with the plugin installed."""
    folder = tmp_path_factory.mktemp("environment")
    call([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    here = call([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    (Path(here) / "dependencies.pth").write_text("\n".join([str(CHECKOUT), *site.getsitepackages()]), encoding="utf-8")
    source = shutil.copytree(PLUGIN, folder / "plugin")
    call([python, *PIP, "install", "--no-deps", "--no-build-isolation", source], folder)
    return python


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "mine.yaml").write_text(RECIPE.replace("backbone: pocket", "backbone: {name: pocket}"))
    return folder


# Several commands in one process: each would import TensorFlow for itself.
COMMANDS = """
import json, sys
from click.testing import CliRunner
from keras_transfer.cli import main

results = [CliRunner(env={"COLUMNS": "500"}).invoke(main, arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([[result.exit_code, result.stdout, result.stderr] for result in results]))
"""


def commands(python, folder, *lines):
    """The exit code, stdout and stderr of each command."""
    return json.loads(call([python, "-c", COMMANDS, json.dumps(lines)], folder).splitlines()[-1])


@pytest.fixture(scope="module")
def finished(environment, work):
    """A run of the plugin's task by all of its parts, from a file and the command line; and a prediction by it."""
    files = [str(work / "drawn-stripes" / f"{name}.png") for name in ("across-000", "down-001")]
    ran, predicted = commands(
        environment, work, ["run", "mine.yaml", "seed=1", "--out", "run"], ["predict", "run", *files, "--json"]
    )
    assert [ran[0], predicted[0]] == [0, 0], (ran, predicted)
    return work / "run", ran[1], (files, predicted[1])


def test_a_recipe_file_names_a_part_of_each_kind(finished):
    folder, said, _ = finished
    test = json.loads((folder / "metrics.json").read_text())["test"]
    # Each direction of stripes is its own nearest neighbour; by chance it would be 1 of 3.
    assert test["recall_at_1"] >= 0.75
    lines = (folder / "losses.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == ["phase,epoch", "top,1", "all,1", "all,2"]
    assert (folder / "export" / "keras_file" / "1" / "model.keras").is_file()
    assert "Keras file: run/export/keras_file/1 (verified in a fresh process" in said
    assert len(json.loads((folder / "head.json").read_text())["gallery"]) > 12


def test_predict_from_the_command_line(finished):
    _, _, (files, said) = finished
    answers = json.loads(said)
    assert [answer["input"] for answer in answers] == files
    for answer in answers:
        assert set(answer) == {"input", "found", "label", "similarity"}
        assert -1.0 <= answer["similarity"] <= 1.0001


PYTHON = """
import keras
from keras_transfer import *
from keras_transfer.testing import *

recipe = ImageClassification(
    "two_stripes",
    backbone="pocket",
    head={"name": "cosine", "settings": {"scale": 8.0}},
    policy={"name": "top_first"},
    training={"epochs": 2, "batch_size": 8},
    export={"formats": []},
)
run = recipe.fit("from_python", trackers=["csv"])
print(type(run.head).__name__, run.config.head.settings, len(open("from_python/epochs.csv").readlines()))
check_task(
    Recipe("stripes:8", task="retrieval", backbone="pocket", policy="full", training={"epochs": 1, "batch_size": 12}),
    inputs=["drawn-stripes/across-000.png", "drawn-stripes/down-001.png"],
)
check_backbone(BACKBONES["pocket"])
check_policy(POLICIES["top_first"])
check_head(HEADS["cosine"])
check_source(SOURCES["stripes"], "stripes:8", recipe.config.data)
check_sample(SAMPLES["two_stripes"])
check_exporter(EXPORTERS["keras_file"](), Run("from_python"))
check_tracker(TRACKERS["csv"]())
print("checked")
"""


@pytest.mark.slow
def test_python_uses_all_parts_and_they_satisfy_their_contracts(environment, work):
    (work / "script.py").write_text(PYTHON)
    lines = call([environment, "script.py"], work).splitlines()
    assert lines[-2:] == ["CosineHead {'scale': 8.0} 4", "checked"]  # a header and three epochs


MISSING = (
    COMMANDS
    + """
from keras_transfer import Recipe, TransferError

for override in OVERRIDES:
    try:
        Recipe.from_file("image/quickstart", [override]).prepare()
    except TransferError as error:
        print(" ".join(str(error).split()))
"""
)

REMOVED = {
    "backbone.name=pocket": "pocket",
    "policy.name=top_first": "'top_first'",
    "head.name=cosine": "'cosine'",
    "data.source=stripes:12": "'stripes:12'",
    "data.source=two_stripes": "'two_stripes'",
    "export.formats=[keras_file]": "'keras_file'",
    "trackers=[csv]": "'csv'",
}

KNOWN = {
    "backbone.name=pocket": "efficientnet_lite0",
    "policy.name=top_first": "lp_ft",
    "head.name=cosine": "multilabel",
    "data.source=stripes:12": "solar_cells",
    "data.source=two_stripes": "solar_cells",
    "export.formats=[keras_file]": "saved_model",
    "trackers=[csv]": "tensorboard",
}


@pytest.mark.slow
def test_without_the_package_each_name_is_missing_and_the_known_ones_are_listed(environment, finished, work):
    call([environment, *PIP, "uninstall", "--yes", "transfer-plugin"], work)
    (work / "missing.py").write_text(MISSING.replace("OVERRIDES", repr(list(REMOVED))))
    lines = [["check", "mine.yaml"], ["predict", "run", "x.png"]]
    said, *lines = call([environment, "missing.py", json.dumps(lines)], work).splitlines()
    (code, _, error), predicted = json.loads(said)
    assert (code, predicted[0]) == (2, 2)
    assert error.startswith("Error: Recipe mine.yaml has ")
    assert "task: there is no 'retrieval'. Known: audio_classification, image_classification, speech_to_text, " in error
    assert len(lines) == len(REMOVED), lines
    for line, (override, name) in zip(lines, REMOVED.items(), strict=True):
        assert name in line
        assert KNOWN[override] in line, line
    assert "there is no 'retrieval'" in predicted[2]
