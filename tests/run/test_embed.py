"""Features that the head reads, from Python, the command line and exports: what Keras' layers and NumPy compute."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pyarrow import parquet

from keras_transfer import Run
from keras_transfer.errors import CheckpointError
from keras_transfer.run.opened import open_model


@pytest.fixture(scope="module")
def files(finished_run):
    """PNG files of the size that the model takes: their pixels are its input."""
    return sorted((finished_run.folder.parent / "images").glob("*/*.png"))[::3]


@pytest.fixture(scope="module")
def pooled(finished_run, files):
    """The mean of the network's feature map, which is what the head reads."""
    contract, network = (finished_run.model.get_layer(name) for name in ("input_contract", "pebble"))
    pixels = np.stack([np.asarray(Image.open(file), np.float32) for file in files])
    return np.asarray(network(contract(pixels), training=False)).mean(axis=(1, 2))


@pytest.fixture(scope="module")
def artifact(finished_run):
    return finished_run.folder / "export" / "saved_model" / "1"


def test_the_head_makes_the_predictions_of_the_features(finished_run, files, pooled):
    features = finished_run.embed(files)
    assert (features.dtype, features.shape) == (np.float32, pooled.shape)
    np.testing.assert_allclose(features, pooled, atol=1e-5)
    kernel, bias = finished_run.model.get_layer("head").get_weights()
    probabilities = [list(prediction.probabilities.values()) for prediction in finished_run.predict(files)]
    margins = np.log([p[0] / p[1] for p in probabilities])  # a temperature divides them all
    logits = features @ kernel + bias
    np.testing.assert_allclose(
        margins / margins[0], (logits[:, 0] - logits[:, 1]) / (logits[0, 0] - logits[0, 1]), 1e-3
    )


def test_a_folder_has_a_row_for_each_file(finished_run, files):
    folder = files[0].parent
    found = finished_run.embed(folder)
    one = finished_run.embed(str(sorted(folder.iterdir())[3]))
    assert len(found) == len(list(folder.iterdir()))
    np.testing.assert_allclose(one, found[3:4], atol=1e-5)


def test_a_served_model_embeds_what_a_client_sends(artifact, files, pooled):
    signatures = tf.saved_model.load(str(artifact)).signatures
    contents = [file.read_bytes() for file in files]
    answer = signatures["embed"](image_bytes=tf.constant([contents[0], b"no image", *contents[1:]]))
    assert sorted(answer) == ["features", "ok"] and answer["features"].dtype == tf.float32
    assert answer["ok"].numpy().tolist() == [True, False, *[True] * (len(files) - 1)]
    assert np.isnan(answer["features"][1]).all()
    np.testing.assert_allclose(np.delete(answer["features"], 1, axis=0), pooled, atol=1e-5)


def test_an_exported_model_embeds_as_its_run_does(artifact, files, pooled):
    np.testing.assert_allclose(open_model(artifact).embed(files), pooled, atol=1e-5)


def test_the_command_line(command, finished_run, files, pooled):
    folder = files[0].parent
    expected = finished_run.embed(folder)
    command("embed", finished_run.folder, folder, "--out", "features.npy")
    np.testing.assert_allclose(np.load("features.npy"), expected, atol=1e-5)
    said = command("embed", finished_run.folder, *files, "--out", "features.parquet")
    assert said.stdout == f"Features: features.parquet ({len(files)} rows)\n"
    table = parquet.read_table("features.parquet")
    assert str(table.schema.field("embedding").type) == "list<element: float>"
    assert table["input"].to_pylist() == list(map(str, files))
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), pooled, atol=1e-5)
    command("predict", finished_run.folder, *files, "--out", "both.jsonl", "--embeddings", "--columns", "")
    rows = [json.loads(line) for line in Path("both.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["predicted_label", "predicted_score", "probability_cat", "probability_dog", "embedding"]
    np.testing.assert_allclose([row["embedding"] for row in rows], pooled, atol=1e-5)
    assert [row["predicted_label"] for row in rows] == [one.label for one in finished_run.predict(files)]


def test_features_of_inputs_that_cannot_be_read_are_empty(command, finished_run, files, pooled, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    words = ("embed", finished_run.folder, files[0], tmp_path / "no.png", "--out")
    assert "1 of 2 inputs cannot be read" in command(*words, "features.csv").stderr
    assert command(*words, "features.npy", "--skip-broken").exit_code == 2
    assert not list(Path().iterdir())
    command(*words, "features.parquet", "--skip-broken")
    first, second = parquet.read_table("features.parquet").to_pylist()
    np.testing.assert_allclose(first["embedding"], pooled[0], atol=1e-5)
    assert (first["error"], second["embedding"], second["error"]) == (None, None, "not an image")


def test_a_model_without_features(finished_run, files, refused, monkeypatch):
    monkeypatch.setattr(Run, "embed_batches", lambda self, batches: None)
    with pytest.raises(CheckpointError, match=r"has no features.*another run"):
        finished_run.embed(files)
    refused("embed", finished_run.folder, files[0], "--out", "features.csv", needs=["has no features"])
