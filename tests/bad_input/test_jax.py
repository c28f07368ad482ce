"""What Keras' JAX backend has not, or this machine."""

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")

CHECKS = """
import sys
from keras_transfer.config.schema import DistributionConfig, ImageClassificationConfig
from keras_transfer.distribution import distribute
from keras_transfer.errors import ConfigError
for section in ({"strategy": "mirrored"}, {"strategy": "multi_worker"},
                {"strategy": "data_parallel", "devices": ["cpu:0", "cpu:0"]},
                {"strategy": "data_parallel", "devices": 3},
                {"strategy": "data_parallel", "devices": ["gpu:0"]}):
    config = ImageClassificationConfig.model_construct(distribution=DistributionConfig(**section))
    try:
        with distribute(config):
            print("accepted")
    except ConfigError as error:
        print(error)
"""


def run(code):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_unavailable_strategies_and_devices():
    result = run(CHECKS)
    mirrored, multi_worker, twice, many, gpu = result.stdout.splitlines()
    assert mirrored.endswith("Use data_parallel, or set KERAS_BACKEND=tensorflow.")
    assert multi_worker.endswith("Use data_parallel, or set KERAS_BACKEND=tensorflow.")
    assert "Received: cpu:0, cpu:0. This process has cpu:0; each can be named once" in twice
    assert "JAX has no such devices. Received: 3. This process has cpu:0" in many  # JAX had started
    assert "Received: gpu:0. This process has no gpu" in gpu


def test_a_backend_that_is_not_installed():
    code = "import sys; sys.modules['jax'] = None; from keras_transfer.cli import main; main(['backbones'])"
    result = run(code)
    assert (result.returncode, result.stderr) == (
        2,
        "Error: KERAS_BACKEND=jax needs JAX, which is not installed. Install it with pip install "
        "'keras-transfer[jax]', or unset KERAS_BACKEND.\n",
    )
