"""Recipes on Keras' JAX backend: a short part of the tests, in a separate process (`make test-jax`: the rest)."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = [
    # A solved head, all stages, kills within an epoch, at its end and after a phase.
    "recipe/test_resume.py::test_a_killed_and_resumed_run_matches_an_unbroken_one[lp_ft]",
]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_recipes_train_and_are_resumed_on_jax():
    tests = [str(Path(__file__).parent / name) for name in QUICK]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow", *tests]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-8000:]
    assert f"{len(QUICK)} passed" in result.stdout


CHECK = "import keras_transfer.distribution as d; print(d.chosen_jit()); d.prepare_backend()"


@pytest.mark.slow
def test_another_backend_is_refused_with_the_one_to_use():
    environment = {**os.environ, "KERAS_BACKEND": "numpy", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == (
        "keras_transfer.errors.ConfigError: Recipes train on Keras' backends tensorflow and jax. Received: "
        "KERAS_BACKEND=numpy. Set KERAS_BACKEND=tensorflow, or leave it out."
    )
