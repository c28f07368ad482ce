"""LiteRT: one file that its interpreter loads, with the description inside."""

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_transfer import ExportError
from keras_transfer.export.litert import convert_to_litert
from keras_transfer.export.tensor_graph import TensorGraph


@pytest.fixture(scope="module")
def artifact(exported):
    return exported("litert")


def test_the_signature_is_the_contract_for_batches_of_any_size(artifact, finished_run):
    runner = Interpreter(str(artifact / "model.tflite")).get_signature_runner("serving_default")
    assert {name: x["dtype"] for name, x in runner.get_input_details().items()} == {"pixels": np.float32}
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(finished_run.model(pixels))
    for rows in (5, 2, 3):
        outputs = runner(pixels=pixels[:rows])
        assert {name: (x.dtype, x.shape) for name, x in outputs.items()} == {
            "probabilities": (np.float32, (rows, 2)),
            "score": (np.float32, (rows,)),
            "label_index": (np.int32, (rows,)),
            "features": (np.float32, (rows, 6)),
        }
        np.testing.assert_allclose(outputs["probabilities"], expected[:rows], atol=1e-5)
        assert outputs["label_index"].tolist() == expected[:rows].argmax(axis=1).tolist()


def test_the_description_is_an_associated_file(artifact):
    with zipfile.ZipFile(artifact / "model.tflite") as archive:
        assert archive.namelist() == ["keras_transfer.json"]
        assert json.loads(archive.read("keras_transfer.json"))["names"] == ["cat", "dog"]
    assert (artifact.parent / "stdout").read_text().endswith("; serve.py gives the same answers)\n")


def test_operations_that_litert_lacks_are_named_with_their_layer(capfd):
    def run(x):
        with tf.name_scope("predictor/block_2/mlp"):
            return {"y": tf.math.igamma(x, x)}

    specs = (tf.TensorSpec([None, 4], tf.float32, "x"),)
    graph = TensorGraph(specs, tf.function(run, input_signature=list(specs), autograph=False))
    with pytest.raises(ExportError, match=r"LiteRT model cannot be written: .* Igamma \(layer predictor/block_2/mlp\)"):
        convert_to_litert(graph)
    assert "loc(" not in capfd.readouterr().err
