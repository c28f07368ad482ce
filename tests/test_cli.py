import json
import shutil
import warnings

import pytest
from rich.console import Console

from keras_transfer import BACKBONES, __version__
from keras_transfer.config.catalog import bundled_recipes
from keras_transfer.errors import TransferWarning

pytestmark = pytest.mark.usefixtures("pebble")

QUICK = [
    "backbone.name=pebble",
    "data.image_size=32",
    "policy.name=head",
    "training.epochs=1",
    "training.batch_size=8",
]


@pytest.fixture
def recipe(images, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(f"# My own\ntask: image_classification\ndata:\n  source: {images}\n", encoding="utf-8")
    return file


def done(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_version(command):
    assert done(command("--version")).split()[-1] == __version__


def test_help_names_every_command(command):
    text = done(command("--help"))
    names = ("list", "backbones", "show", "copy", "check", "run", "evaluate", "predict", "export", "find-lr", "cache")
    for name in names:
        assert f"\n  {name} " in text
        assert "Usage:" in done(command(name, "-h"))


def test_list_names_every_recipe_with_its_summary(command):
    lines = done(command("list")).splitlines()
    for name, recipe in bundled_recipes().items():
        assert any(line.startswith(name) and line.endswith(recipe.summary) for line in lines)
        assert any(recipe.expected in line for line in lines)
    values = json.loads(done(command("list", "--json")))
    assert values == [
        {"name": r.name, "summary": r.summary, "expected": r.expected} for r in bundled_recipes().values()
    ]


def test_show_prints_a_recipe_unchanged(command, recipe):
    file = bundled_recipes()["image/quickstart"].file
    assert done(command("show", "image/quickstart")) == file.read_text(encoding="utf-8")
    assert done(command("show", recipe)) == recipe.read_text(encoding="utf-8")


def test_copy_writes_a_recipe_that_runs_from_there(command, tmp_path):
    target = tmp_path / "mine.yaml"
    assert f"keras-transfer run {target}" in done(command("copy", "image/quickstart", target))
    assert target.read_text(encoding="utf-8") == done(command("show", "image/quickstart"))


def test_check_reports_what_would_run_and_writes_no_run_folder(command, recipe, tmp_path):
    text = done(command("check", recipe, *QUICK, "policy.name=last_stages", "policy.stages=2"))
    assert "2 classes; rows: 21 train, 4 validation, 7 test" in text
    assert "(2 of " in text and "last_stages" in text
    assert text.splitlines()[-1] == "No problems found."
    assert list((tmp_path / "work").iterdir()) == []


def test_check_names_the_images_that_are_left_out(command, recipe, images):
    (images / "cat" / "000.png").write_bytes(b"")
    text = done(command("check", recipe, *QUICK, "data.broken=skip"))
    assert f"Broken: {images / 'cat' / '000.png'}: zero bytes" in text


def test_backbone_names_are_not_truncated_on_a_narrow_terminal(command, monkeypatch):
    from keras_transfer.backbones import listing

    monkeypatch.setattr(listing, "make_console", lambda: Console(width=60, force_terminal=True))
    text = done(command("backbones"))
    words = text.split()
    assert [name for name in BACKBONES if name not in words] == []


def test_backbones_lists_every_backbone(command):
    everything = json.loads(done(command("backbones", "--json")))
    presets = [row["name"] for row in everything if row["name"].startswith("hub:")]
    assert "hub:resnet_50_imagenet" in presets
    rows = [row for row in everything if "family" not in row]
    assert sorted(row["name"] for row in rows) == sorted(BACKBONES)
    assert {row["name"] for row in rows if row["modality"] == "text"} == {"minilm"}
    # What can be used now comes first.
    available = [row["available"] for row in rows]
    assert available == sorted(available, reverse=True)
    (lite,) = (row for row in rows if row["name"] == "efficientnet_lite0")
    assert lite["available"] is True
    assert lite["parameters"] == BACKBONES["efficientnet_lite0"].parameters
    assert (lite["image_size"], lite["stages"]) == (224, BACKBONES["efficientnet_lite0"].stages)
    lines = done(command("backbones")).splitlines()
    for row in rows:
        assert any(row["name"] in line and f"{row['parameters']:,}" in line for line in lines)
    texts = {row["name"]: row for row in everything if row["modality"] == "text"}
    assert texts["minilm"]["available"] is True
    assert texts["bert_tiny_en_uncased"]["family"] == "bert" and texts["gpt2_base_en"]["family"] == "gpt2"
    assert "bert" in lines[-2] and "gpt2" in lines[-2]


def test_run_writes_a_run_folder_and_prints_its_path(command, recipe, tmp_path):
    folder = tmp_path / "out" / "run"
    text = done(command("run", recipe, *QUICK, "seed=3", "--out", folder))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["n"] == 7
    assert f"accuracy  {metrics['test']['accuracy']:.4f}" in text
    assert f"Run folder: {folder}" in text
    assert f"SavedModel: {folder / 'export' / 'saved_model' / '1'} " in text
    assert (folder / "export" / "saved_model" / "1" / "saved_model.pb").is_file()
    (line,) = (folder / "history.jsonl").read_text().splitlines()
    assert {"phase": "head", "epoch": 1}.items() <= json.loads(line).items()
    # What it wrote down runs again and gives the same splits.
    assert "No problems found." in done(command("check", folder / "recipe.yaml"))


def test_evaluate_prints_a_table_or_json(command, finished_run):
    recorded = json.loads((finished_run.folder / "metrics.json").read_text())
    (values,) = json.loads(done(command("evaluate", finished_run.folder, "--json"))).items()
    assert values[0] == "test"
    assert values[1]["confusion"] == recorded["test"]["confusion"]
    assert values[1]["n"] == 7
    text = done(command("evaluate", finished_run.folder, "--split", "validation"))
    assert "Validation: 4 rows" in text
    assert f"accuracy  {recorded['validation']['accuracy']:.4f}" in text


def test_evaluate_accepts_other_images(command, finished_run, make_images, tmp_path):
    other = make_images(tmp_path / "other", {"cat": 2, "dog": 3})
    values = json.loads(done(command("evaluate", finished_run.folder, "--data", other, "--json")))
    assert values[str(other)]["n"] == 5


def test_evaluate_falls_back_to_the_recorded_report_if_the_data_is_missing(command, finished_run, tmp_path):
    folder = shutil.copytree(finished_run.folder, tmp_path / "copy")
    recipe = (folder / "recipe.yaml").read_text().replace(finished_run.config.data.source, "/nowhere")
    (folder / "recipe.yaml").write_text(recipe)
    result = command("evaluate", folder, "--json")
    assert result.exit_code == 0
    assert "/nowhere" in result.stderr and "The report that the run recorded:" in result.stderr
    recorded = json.loads((folder / "metrics.json").read_text())
    assert json.loads(result.stdout) == {"test": recorded["test"]}


def test_predict_prints_one_object_per_input_in_order(command, finished_run, images):
    files = [images / "dog" / "001.jpg", images / "cat" / "000.png"]
    values = json.loads(done(command("predict", finished_run.folder, *files, "--json")))
    assert [value["input"] for value in values] == [str(file) for file in files]
    for value in values:
        assert list(value["probabilities"]) == ["cat", "dog"]
        assert value["score"] == max(value["probabilities"].values()) == value["probabilities"][value["label"]]
        assert sum(value["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    lines = done(command("predict", finished_run.folder, *files)).splitlines()
    assert lines == [f"{value['input']}\t{value['label']}\t{value['score']:.4f}" for value in values]


def test_predict_accepts_a_folder_and_reads_all_its_files(command, finished_run, images):
    values = json.loads(done(command("predict", finished_run.folder, images / "cat", "--json")))
    assert [value["input"] for value in values] == [str(file) for file in sorted((images / "cat").iterdir())]


@pytest.mark.slow
def test_export_writes_to_the_given_path_and_reports_what_was_verified(command, finished_run, tmp_path):
    target = tmp_path / "served" / "1"
    text = done(command("export", finished_run.folder, "--out", target))
    assert text.startswith(f"SavedModel: {target} (verified in a fresh process: 7 examples match within")
    assert (target / "saved_model.pb").is_file()


def test_cache_shows_and_clears_its_entries(command, recipe, tmp_path):
    assert "0 entries" in done(command("cache"))
    done(command("run", recipe, *QUICK, "export.formats=[]", "--out", tmp_path / "run"))
    assert "pebble to block3, 21 rows, 1 view" in done(command("cache"))
    entries = json.loads(done(command("cache", "--json")))
    assert len(entries) == 3  # training, validation and test rows
    assert {"key", "description", "size", "used"} == set(entries[0])
    assert "Removed 3 entries" in done(command("cache", "--clear"))
    assert "0 entries" in done(command("cache"))


@pytest.mark.slow
def test_a_run_continues_if_the_cache_cannot_be_written(command, recipe, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "file"))
    with pytest.warns(TransferWarning, match="computed for this run alone"):
        result = command("run", recipe, *QUICK, "export.formats=[]", "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert (tmp_path / "run" / "metrics.json").exists()


def test_a_warning_of_ours_is_one_plain_line(command):
    command("list")
    assert warnings.formatwarning("Mind this.", TransferWarning, "file.py", 1) == "Warning: Mind this.\n"
    assert "file.py:1" in warnings.formatwarning("Other.", UserWarning, "file.py", 1)
