"""The devices that ``distribution.strategy: auto`` takes."""

import keras
import pytest

from keras_transfer import ImageClassification
from keras_transfer.distribution import distribute


@pytest.mark.parametrize(
    ("devices", "strategy", "replicas"),
    [(None, "none", 1), (1, "none", 1), (2, "mirrored", 2), (["CPU:1"], "mirrored", 1)],
)
def test_auto_takes_the_devices_that_a_recipe_counts_or_names(devices, strategy, replicas):
    config = ImageClassification("images", distribution={"devices": devices}).config
    with distribute(config) as distribution:
        assert (distribution.strategy, distribution.replicas) == (strategy, replicas)
        with distribution.scope():
            variable = keras.Variable([0.0])
    if strategy == "mirrored":
        names = {value.device.rpartition("/device:")[2] for value in variable.value.values}
        assert names == {"CPU:0", "CPU:1"} if devices == 2 else set(devices)


def test_auto_does_not_start_jax_ahead_of_processes_that_have_to_connect(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr("keras_transfer.distribution.choose._count_gpus", lambda on_jax: pytest.fail("JAX was started"))
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with distribute(ImageClassification("images").config) as distribution:
        assert distribution.strategy == "none"
