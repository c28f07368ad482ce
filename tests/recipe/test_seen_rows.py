"""A recipe that starts from the network that an earlier run trained, on images."""

import keras
import numpy as np
import pytest

from keras_transfer import ImageClassification
from keras_transfer.data.sources import SAMPLES

pytestmark = pytest.mark.usefixtures("tiny")


def recipe(images, *, data=None, weights="none", policy="full", seed=0):
    return ImageClassification(
        {"source": str(images), "image_size": 32, "test": 0.25, "validation": 0.25, **(data or {})},
        backbone={"name": "tiny", "weights": str(weights)},
        policy=policy,
        seed=seed,
        training={"epochs": 1, "batch_size": 8},
        export={"formats": []},
    )


@pytest.fixture
def first(images, tmp_path):
    return recipe(images).fit(tmp_path / "first")


def stage_weights(job):
    return [[weight.numpy() for weight in stage.weights] for stage in job.model.backbone.stages]


def network_of(run):
    return next(layer for layer in run.model.layers if isinstance(layer, keras.Model))


@pytest.mark.slow
def test_every_stage_starts_with_the_weights_of_the_run_and_is_not_evaluated_on_its_training_rows(
    first, make_images, tmp_path
):
    others = make_images(tmp_path / "others", {"hen": 8, "owl": 8, "tit": 8})
    job = recipe(others, data={"image_size": 48}, weights=first.folder).prepare()
    assert job.model.predictor.input_shape == (None, 48, 48, 3)
    assert job.model.predictor.output_shape == (None, 3)
    got = [weight for stage in stage_weights(job) for weight in stage]
    wanted = network_of(first).get_weights()
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)

    again = recipe(first.config.data.source, seed=5, weights=first.folder).prepare()
    for split in again.splits:
        assert list(split.examples.names) == [name for name, _ in first.record["splits"][split.name]["rows"]]


@pytest.mark.slow
def test_adapters_of_the_run_are_merged(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = recipe(images, policy={"name": "lora", "rank": 2}).fit("first")
    trained = network_of(first).get_weights()
    second = recipe(images, weights="first", policy="head").fit("second")
    assert second.config.backbone.weights == str(tmp_path / "first")
    for a, b in zip(network_of(second).get_weights(), trained, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not any("lora" in weight.path for weight in second.model.weights)


def test_solar_cells_by_type_are_all_of_them():
    whole, mono, poly = (SAMPLES[f"solar_cells{end}"].load("cells").rows["path"] for end in ("", "_mono", "_poly"))
    assert (len(mono), len(poly)) == (1074, 1550)
    assert sorted([*mono, *poly]) == sorted(whole)
