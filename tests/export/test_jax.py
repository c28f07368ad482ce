"""Runs that Keras' JAX backend has trained: their exports, which TensorFlow writes, predict as JAX does."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from keras_transfer.run.opened import open_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax"),
]


def run_on_jax(*words):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "keras_transfer.cli", *map(str, words)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_exports_of_a_run_on_jax_predict_as_the_run(recipe_file, stripes, tmp_path):
    recipe = recipe_file.read_text()
    recipe_file.write_text(recipe.replace("formats: []", "formats: [onnx, litert]").replace("epochs: 3", "epochs: 2"))
    folder = tmp_path / "run"
    said = run_on_jax("run", recipe_file, "--out", folder)
    assert json.loads((folder / "environment.json").read_text())["backend"] == "jax"
    assert said.count("verified in a fresh process: ") == 2 and said.count("serve.py gives the same answers") == 2
    files = sorted(stripes.glob("*/*"))[::9]
    expected = json.loads(run_on_jax("predict", folder, *files, "--json"))
    assert len({answer["probabilities"]["cat"] for answer in expected}) == len(files) > 5
    for name in ("onnx", "litert"):
        found = open_model(folder / "export" / name / "1").predict(files)
        assert [one.label for one in found] == [answer["label"] for answer in expected]
        for one, answer in zip(found, expected, strict=True):
            assert one.probabilities == pytest.approx(answer["probabilities"], abs=1e-5)
        # The runtime needs no Keras: the file is served by a process on JAX, too.
        again = json.loads(run_on_jax("predict", folder / "export" / name / "1", *files, "--json"))
        for one, answer in zip(again, expected, strict=True):
            assert one["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)
