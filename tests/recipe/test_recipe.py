"""Whole runs, from Python."""

import json

import numpy as np
import pytest

from keras_transfer import ImageClassification, Recipe, Run
from keras_transfer.errors import DataError

QUICK = {
    "policy": {"name": "last_stages", "stages": 1},
    "training": {"epochs": 1, "batch_size": 8},
    "export": {"formats": []},
    "report": False,
}


def quick(images, **sections):
    return ImageClassification({"source": str(images), "image_size": 32}, **{**QUICK, **sections})


def test_a_string_is_short_for_the_name_of_a_section():
    recipe = ImageClassification("solar_cells", backbone="resnet50", policy="full", seed=3)
    assert recipe.config.data.source == "solar_cells"
    assert recipe.config.backbone.name == "resnet50"
    assert recipe.config.policy.name == "full"
    assert recipe.config.seed == 3


def test_a_recipe_file_and_the_same_from_python_are_equal(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: image_classification\ndata: {source: solar_cells, test: 0.3}\ntraining: {epochs: 2}\n")
    recipe = Recipe.from_file(file, ["training.epochs=5"])
    assert isinstance(recipe, ImageClassification)
    same = ImageClassification({"source": "solar_cells", "test": 0.3}, training={"epochs": 5})
    assert recipe.config == same.config


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_does_not(images, tmp_path):
    sections = {"deterministic": True, "augmentation": {"rotation": 20, "crop": 0.2, "brightness": 0.1}}
    runs = {
        name: quick(images, seed=seed, **sections).fit(tmp_path / name)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    }
    first, again, other = (runs[name].model.get_weights() for name in ("first", "again", "other"))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("first", "again")]
    losses = [[json.loads(line)["loss"] for line in history.splitlines()] for history in histories]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_run_starts_from_another_runs_backbone(finished_run, images, tmp_path):
    recipe = quick(images, backbone={"name": "pebble", "weights": str(finished_run.folder)}, policy="head")
    run = recipe.fit(tmp_path / "second")
    first, second = (r.model.get_layer("pebble").get_weights() for r in (finished_run, run))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.usefixtures("tiny")
def test_broken_images_are_left_out_on_request_and_recorded(images, tmp_path):
    (images / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png: not an image"):
        quick(images, backbone="tiny").prepare()
    data = {"source": str(images), "image_size": 32, "broken": "skip"}
    recipe = ImageClassification(data, backbone="tiny", **QUICK)
    run = recipe.fit(tmp_path / "run")
    data = json.loads((run.folder / "data.json").read_text())
    assert [line.split(": ")[1] for line in data["skipped"]] == ["not an image"]
    assert run.evaluate().n == data["splits"]["test"]["count"]


@pytest.mark.slow
def test_without_validation_rows_the_last_weights_are_saved(images, tmp_path):
    data = {"source": str(images), "image_size": 32, "validation": 0.0}
    run = ImageClassification(data, **{**QUICK, "training": {"epochs": 1, "batch_size": 8, "keep": "last"}}).fit(
        tmp_path / "run"
    )
    assert set(json.loads((run.folder / "metrics.json").read_text())) == {"test"}
    assert "val_loss" not in (run.folder / "history.jsonl").read_text()


@pytest.mark.slow
def test_mixed_precision_leaves_float32_probabilities_and_the_policy_of_the_process(images, tmp_path):
    import keras

    training = {"epochs": 1, "batch_size": 8, "precision": "mixed_bfloat16"}
    run = quick(images, policy="head", training=training).fit(tmp_path / "run")
    assert keras.config.dtype_policy().name == "float32"
    assert run.model.get_layer("efficientnet_lite0").get_layer("top_conv").compute_dtype == "bfloat16"
    assert run.model.output.dtype == "float32"


@pytest.mark.slow
def test_a_loss_that_is_nan_or_infinite_leaves_a_run_with_the_last_good_weights(images, tmp_path):
    from keras_transfer.errors import TrainingError

    training = {"epochs": 1, "batch_size": 8, "learning_rate": 1e38, "warmup": 0.0, "clip_norm": None}
    with pytest.raises(TrainingError, match=r"step \d+.*model\.keras"):
        quick(images, policy="full", training=training).fit(tmp_path / "run")
    assert all(np.isfinite(weight).all() for weight in Run(tmp_path / "run").model.get_weights())


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_the_recipe_in_a_run_folder_works_from_any_working_folder(images, tmp_path, monkeypatch):
    monkeypatch.chdir(images.parent)
    run = quick(images.name, backbone="tiny", policy="head").fit("run")
    folder = run.folder.resolve()
    monkeypatch.chdir(tmp_path.parent)
    assert Run(folder).evaluate().confusion == Run(folder).reports["test"].confusion
