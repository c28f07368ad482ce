"""ONNX: one file that ONNX Runtime loads, and serve.py next to it."""

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer import ExportError
from keras_transfer.export.onnx import convert_to_onnx
from keras_transfer.export.tensor_graph import TensorGraph

FLOAT, INT32 = "tensor(float)", "tensor(int32)"


@pytest.fixture(scope="module")
def artifact(exported):
    return exported("onnx")


@pytest.fixture(scope="module")
def session(artifact):
    return onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])


def test_inputs_and_outputs_match_the_contract(session):
    assert {x.name: (x.type, x.shape) for x in session.get_inputs()} == {"pixels": (FLOAT, ["batch", 64, 64, 3])}
    assert {x.name: (x.type, x.shape) for x in session.get_outputs()} == {
        "probabilities": (FLOAT, ["batch", 2]),
        "score": (FLOAT, ["batch"]),
        "label_index": (INT32, ["batch"]),
        "features": (FLOAT, ["batch", 6]),
    }


def test_metadata_has_the_names_and_the_description(session):
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["names"]) == ["cat", "dog"]
    description = json.loads(metadata["keras_transfer"])
    assert description["names"] == ["cat", "dog"]
    assert [x["name"] for x in description["outputs"]] == ["features", "label_index", "probabilities", "score"]
    assert description["preprocessing"]["size"] == 64


def test_the_export_verifies_serve_py(artifact, finished_run):
    printed = (artifact.parent / "stdout").read_text()
    count = len(list((finished_run.folder / "samples").iterdir()))
    said = rf"verified in a fresh process: {count} examples match within (.+); serve.py gives the same answers"
    found = re.fullmatch(rf"ONNX model: {re.escape(str(artifact))} \({said}\)\n", printed)
    assert found and float(found[1]) < 1e-5, printed
    assert sorted(file.name for file in artifact.iterdir()) == ["inputs.py", "model.onnx", "serve.py"]
    assert len((artifact / "serve.py").read_text().splitlines()) <= 60


def test_serve_py_matches_predict_without_tensorflow(artifact, finished_run, images, tmp_path):
    files = sorted(images.glob("*/*"))[::9]
    for mode, name in (("L", "grey.jpg"), ("RGBA", "alpha.png"), ("CMYK", "ink.jpg")):
        with Image.open(files[0]) as image:
            image.convert(mode).resize((90, 50)).save(tmp_path / name)
        files.append(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(files[0].read_bytes()[:99])
    contents = [*files[:2], tmp_path / "broken.png", *files[2:]]
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import serve\n"
        "answers = serve.load(sys.argv[1])([open(file, 'rb').read() for file in sys.argv[2:]])\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "print(json.dumps({name: answers[name].tolist() for name in ('ok', 'label', 'probabilities', 'names')}))"
    )
    arguments = [sys.executable, "-I", "-B", "-c", code, str(artifact), *map(str, contents)]
    answers = json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert answers["ok"] == [file.name != "broken.png" for file in contents]
    assert answers["label"].pop(2) == "" and answers["probabilities"].pop(2) == [0, 0]
    assert answers["names"] == [["cat", "dog"]] * len(contents)
    predictions = finished_run.predict(files)
    assert answers["label"] == [prediction.label for prediction in predictions]
    expected = [list(prediction.probabilities.values()) for prediction in predictions]
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-4)


def test_attention_with_one_head_and_any_number_of_rows():
    """Two reshapes in a row, of which the second one copies the number of rows."""
    weights = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)

    def run(x):
        projected = tf.reshape(tf.matmul(tf.reshape(x, [-1, 8]), weights), [tf.shape(x)[0], -1, 8])
        heads = tf.transpose(tf.reshape(projected, [tf.shape(x)[0], -1, 1, 8]), [0, 2, 1, 3])
        return {"y": tf.matmul(heads, heads, transpose_b=True)}

    specs = (tf.TensorSpec([None, 5, 8], tf.float32, "x"),)
    graph = TensorGraph(specs, tf.function(run, input_signature=list(specs), autograph=False))
    session = onnxruntime.InferenceSession(convert_to_onnx(graph, opset=17).SerializeToString())
    x = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(np.float32)
    expected = np.einsum("bnd,bmd->bnm", x @ weights, x @ weights)[:, None]
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], expected, atol=1e-4)


def test_operations_that_onnx_lacks_are_named_with_their_layer():
    def run(x):
        with tf.name_scope("predictor/block_2/mlp"):
            return {"y": tf.math.erfc(x)}

    specs = (tf.TensorSpec([None, 4], tf.float32, "x"),)
    graph = TensorGraph(specs, tf.function(run, input_signature=list(specs), autograph=False))
    with pytest.raises(ExportError, match=r"ONNX model cannot be written: .* Erfc \(layer predictor/block_2/mlp\)"):
        convert_to_onnx(graph, opset=17)


@pytest.mark.slow
def test_the_version_of_the_operators_is_a_setting(finished_run, tmp_path):
    from keras_transfer.export import OnnxExporter

    folder, _ = finished_run.export(tmp_path / "1", format=OnnxExporter(opset=13))
    assert [x.version for x in onnx.load(folder / "model.onnx").opset_import if x.domain == ""] == [13]
