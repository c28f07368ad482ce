"""Devices and processes of Keras' JAX backend: the same run as on one device.

Tolerances: gradients and statistics are summed over devices, in another order than within one. float32 has seven
digits, and 15 steps of Adam with a learning rate of 3e-4 move a weight by at most 5e-3. The bias of a convolution
before an adapting BatchNorm is not part of the function: its gradient is only rounding, of which Adam makes whole
steps, and the running mean follows it.
"""

import ast
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import Run
from keras_transfer.launch.local import find_free_addresses

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
WORKER = Path(__file__).parent / "jax_worker.py"

# 18 training rows are batches of 4 and of 3, which two devices do not share evenly; so are 5 rows of validation.
RECIPE = """
task: image_classification
data: {{source: {images}, image_size: 16, test: 0.2, validation: 0.2}}
backbone: {{name: pebble}}
augmentation: {{horizontal_flip: false}}
policy: {{name: last_stages, stages: 2, batch_norm: adapt}}
head: {{hidden: 1024}}
training: {{epochs: 3, batch_size: 4, keep: last}}
checkpoint: {{every_steps: 2}}
export: {{formats: []}}
"""
TWO_DEVICES = "distribution.devices=2"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, make_images):
    folder = tmp_path_factory.mktemp("jax")
    make_images(folder / "images", {"cat": 15, "dog": 14}, size=16)
    (folder / "recipe.yaml").write_text(RECIPE.format(images=folder / "images"))
    return folder / "recipe.yaml"


def start(recipe, *arguments):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "KERAS_TRANSFER_CACHE": str(recipe.parent / "cache"),
        "PYTHONPATH": os.pathsep.join([str(WORKER.parents[1]), *sys.path]),
    }
    command = [sys.executable, str(WORKER), str(recipe), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, said = process.communicate(timeout=400)
    return process.returncode, said


def two_processes(recipe, folder, *arguments, strategy="data_parallel"):
    addresses = ",".join(find_free_addresses(2))
    options = [f"distribution.strategy={strategy}", f"distribution.workers=[{addresses}]", *arguments]
    return [start(recipe, folder, *options, f"distribution.worker={index}") for index in range(2)]


@pytest.fixture(scope="module")
def runs(recipe):
    """By devices: one run each, of one process."""
    folder = recipe.parent
    code, said = finish(
        start(recipe, folder / "two", TWO_DEVICES, "--", folder / "model", "distribution.strategy=model_parallel",
              "--", folder / "one")
    )  # fmt: skip
    assert code == 0, said
    return {name: Run(folder / name) for name in ("one", "two", "model")}


def history(run):
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    return np.array([[value for key, value in line.items() if key not in ("phase", "seconds")] for line in lines])


def assert_alike(run, one):
    np.testing.assert_allclose(history(run), history(one), atol=5e-5)
    for a, b in zip(run.model.weights, one.model.weights, strict=True):
        if "block1" in a.path:  # frozen
            np.testing.assert_array_equal(a, b, err_msg=a.path)
        atol = 1e-3 if a.path.endswith(("conv/bias", "moving_mean")) else 2e-5
        np.testing.assert_allclose(a, b, atol=atol, err_msg=a.path)
    before, after = (json.loads((each.folder / "metrics.json").read_text())["test"] for each in (one, run))
    assert after["confusion"] == before["confusion"]
    assert after["loss"] == pytest.approx(before["loss"], abs=2e-5)


def environment(run):
    return json.loads((run.folder / "environment.json").read_text())


@pytest.mark.parametrize(("name", "replicas"), [("two", 2), ("model", 1)])
@pytest.mark.slow
def test_several_devices_train_the_same_model_as_one(runs, name, replicas):
    assert_alike(runs[name], runs["one"])
    seen = environment(runs[name])
    assert (seen["backend"], seen["replicas"], seen["devices"]) == ("jax", replicas, ["cpu:0", "cpu:1"])
    assert seen["strategy"] == {"two": "data_parallel", "model": "model_parallel"}[name]
    assert not np.array_equal(history(runs["one"])[0], history(runs["one"])[-1])


CUT = """
import jax, keras
jax.config.update("jax_num_cpu_devices", 2)
from keras_transfer.distribution.keras_parallel import ModelParallel
from keras_transfer.errors import ConfigError
parallel = ModelParallel(["cpu:0", "cpu:1"])
with parallel.scope():
    inputs = keras.Input((16,))
    x = keras.layers.Dense(512, name="wide")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="narrow")(x))
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
parallel.check_model(model)
print({v.path: v.value.addressable_shards[0].data.shape for v in [*model.weights, *optimizer.variables] if v.shape})
try:
    parallel.check_model(small)
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_model_parallel_shards_large_weights_and_their_slots_and_refuses_what_it_cannot_shard():
    said = subprocess.run(
        [sys.executable, "-c", CUT], env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True
    )
    shapes, refusal = said.stdout.splitlines()
    shapes = ast.literal_eval(shapes)
    assert {path: shape for path, shape in shapes.items() if "/" in path and "adam" not in path} == {
        "wide/kernel": (16, 256),
        "wide/bias": (512,),
        "narrow/kernel": (512, 2),
        "narrow/bias": (2,),
    }
    assert [shape for path, shape in shapes.items() if "adam" in path and "wide_kernel" in path] == [(16, 256)] * 2
    assert refusal.startswith("distribution.strategy=model_parallel has nothing to split: ")
    assert refusal.endswith("Received: 2 devices. Use data_parallel, or another number in distribution.devices.")


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one_device(recipe, runs):
    folder = recipe.parent / "processes"
    for process in two_processes(recipe, folder):
        code, said = finish(process)
        assert code == 0, said
    run = Run(folder)
    assert_alike(run, runs["one"])
    assert_alike(run, runs["two"])
    assert environment(run)["processes"] == 2


@pytest.mark.slow
def test_two_processes_that_shard_large_weights_train_the_same_model_as_one_device(recipe, runs):
    folder = recipe.parent / "cut"
    more = ("distribution.devices=2", "export.formats=[saved_model]")
    for process in two_processes(recipe, folder, *more, strategy="model_parallel"):
        code, said = finish(process)
        assert code == 0, said
    run = Run(folder)
    assert_alike(run, runs["one"])
    assert_alike(run, runs["model"])
    seen = environment(run)
    assert (seen["processes"], seen["replicas"], len(seen["devices"])) == (2, 2, 4)
    assert (folder / "export" / "saved_model" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["data_parallel", "model_parallel"])
def test_a_lost_process_ends_the_other_and_the_run_is_resumed_on_other_devices(recipe, runs, strategy):
    folder = recipe.parent / f"lost_{strategy}"
    more = ("distribution.timeout_seconds=20", f"distribution.devices={1 + (strategy == 'model_parallel')}")
    chief, other = two_processes(recipe, folder, *more, strategy=strategy)
    while not (folder / "checkpoints" / "checkpoint-000003").is_dir():
        assert chief.poll() is None, chief.communicate()[1]
        time.sleep(0.02)
    os.kill(other.pid, signal.SIGKILL)
    killed = time.monotonic()
    code, said = finish(chief)
    other.communicate()
    assert code == 1, said
    assert time.monotonic() - killed < 60
    assert "no longer responds" in said, said
    code, said = finish(start(recipe, folder, "--resume", f"distribution.strategy={strategy}", TWO_DEVICES))
    assert code == 0, said
    assert "replicas: " not in said or "may differ in the last digits" in said
    assert_alike(Run(folder), runs["one"])


@pytest.mark.slow
def test_a_process_that_never_connects_is_named(recipe, tmp_path):
    addresses = ",".join(find_free_addresses(2))
    options = [
        "distribution.strategy=data_parallel",
        f"distribution.workers=[{addresses}]",
        "distribution.timeout_seconds=5",
    ]
    code, said = finish(start(recipe, tmp_path / "run", *options, "distribution.worker=0"))
    assert code == 1, said
    missing = f"worker 1 ({addresses.split(',')[1]})"
    assert f"Timed out after 5 s (distribution.timeout_seconds) waiting for {missing}." in said
