"""Devices and processes that are not there, or do not fit."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_transfer import ConfigError, TrainingError
from keras_transfer.config.schema import DistributionConfig
from keras_transfer.distribution import tf_strategies
from keras_transfer.distribution.rendezvous import await_workers
from keras_transfer.distribution.workers import Workers, find_workers
from keras_transfer.launch.local import find_free_addresses

RECIPE = "image/quickstart"


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        (
            ["strategy=data_parallel"],
            ["strategy=data_parallel needs KERAS_BACKEND=jax. Received: tensorflow", "Use mirrored on one machine"],
        ),
        (["strategy=model_parallel"], ["needs KERAS_BACKEND=jax", "Use mirrored, which keeps the whole model"]),
        (["strategy=mirored"], ["distribution.strategy", "'mirored'"]),
        (["strategy=mirrored", "devices=0"], ["distribution.devices", "Received: 0"]),
        (["strategy=mirrored", "devices=[GPU:0]"], ["distribution.devices: there is no GPU:0. Received: GPU:0."]),
        (["strategy=mirrored", "devices=[CPU:0, CPU:0]"], ["a device is named twice. Received: CPU:0, CPU:0"]),
        (
            ["strategy=multi_worker"],
            ["no worker addresses were given", "TF_CONFIG", "srun"],
        ),
        (["strategy=multi_worker", "workers=[a:1, b:2]"], ["distribution.worker", "0 to distribution.worker=1"]),
        (["strategy=multi_worker", "workers=[a:1, b:2]", "worker=2"], ["no worker 2. Received: 2 workers"]),
        (
            ["strategy=multi_worker", "workers=[a:1, a:1]", "worker=0"],
            ["two workers have the same address. Received: a:1"],
        ),
        (["strategy=multi_worker", "workers=[a, b:2]", "worker=0"], ["'a' is not of the form host:port"]),
    ],
)
def test_invalid_settings_are_refused(refused, overrides, needs):
    refused("check", RECIPE, *(f"distribution.{override}" for override in overrides), needs=needs)


def test_a_batch_that_cannot_be_divided_evenly_and_an_unsupported_precision(refused):
    workers = [
        "distribution.strategy=multi_worker",
        "distribution.workers=[a:1, b:2, c:3, d:4]",
        "distribution.worker=0",
    ]
    needs = ["training.batch_size must be a multiple of the 4 devices. Received: 30. Use 28 or 32."]
    refused("check", RECIPE, *workers, "training.batch_size=30", needs=needs)
    refused("check", RECIPE, *workers, "training.precision=mixed_float16", needs=["Use mixed_bfloat16 or float32"])
    needs = ["policy.name=auto is resolved by a measurement", "training.precision=auto"]
    refused("check", RECIPE, *workers, "policy.name=auto", "training.precision=auto", needs=needs)


def test_more_gpus_than_there_are(monkeypatch):
    class Device:
        name = "/physical_device:GPU:0"

    monkeypatch.setattr(
        tf_strategies.tf.config, "list_physical_devices", lambda kind: [Device()] if kind == "GPU" else []
    )
    with pytest.raises(ConfigError, match=r"not enough GPUs. Received: 3. This machine has 1: GPU:0. Use at most 1."):
        tf_strategies.choose_devices(3)


def test_it_is_too_late_to_split_the_cpu():
    import tensorflow as tf

    tf.constant(1)
    with pytest.raises(ConfigError, match="Start the run in a fresh process, before anything else uses TensorFlow"):
        tf_strategies.choose_devices(9)


CLUSTER = {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{cluster", "TF_CONFIG is not valid JSON: .* Received: '{cluster'. Example"),
        ("[]", "TF_CONFIG lacks cluster and task"),
        (json.dumps({"cluster": CLUSTER}), "TF_CONFIG lacks task. Received"),
        (
            json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
            "index 2; the cluster has 2 of",
        ),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "ps", "index": 0}}), "Received: type 'ps', index 0"),
        (json.dumps({"cluster": {}, "task": {"type": "worker", "index": 0}}), "the cluster has none"),
        (json.dumps({"cluster": {"worker": 5}, "task": {}}), "worker is not a list of addresses. Received: 5. Example"),
        (
            json.dumps({"cluster": {"chief": [None]}, "task": {}}),
            r"chief is not a list of addresses. Received: \[None\]",
        ),
        (json.dumps({"cluster": CLUSTER, "task": {"type": ["worker"], "index": 0}}), r"Received: type \['worker'\]"),
    ],
)
def test_an_invalid_tf_config(text, message):
    with pytest.raises(ConfigError, match=message):
        find_workers(DistributionConfig(strategy="multi_worker"), {"TF_CONFIG": text})


def test_a_valid_tf_config():
    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    text = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}})
    found = find_workers(DistributionConfig(strategy="multi_worker"), {"TF_CONFIG": text})
    assert found == Workers(("a:1", "b:2", "c:3"), 2)


def test_a_port_that_is_in_use():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"The port of worker 1 \(localhost:{port}\) cannot be used"):
            Workers(("localhost:1", f"localhost:{port}"), 1).check_port()


def test_a_worker_that_never_connects_is_named():
    addresses = tuple(find_free_addresses(3))
    with ThreadPoolExecutor() as pool:
        second = pool.submit(await_workers, Workers(addresses, 1), timeout_seconds=20.0)
        with pytest.raises(TrainingError) as caught:
            await_workers(Workers(addresses, 0), timeout_seconds=2.0)
        message = f"Timed out after 2 s (distribution.timeout_seconds) waiting for worker 2 ({addresses[2]})."
        assert message in str(caught.value)
        assert message in str(second.exception(timeout=30))
    with pytest.raises(TrainingError, match=r"worker 1 \(.*\) could not connect to worker 0 \(.*\), the chief, within"):
        await_workers(Workers(addresses, 1), timeout_seconds=0.5)


def test_two_workers_with_one_index_on_two_machines():
    addresses = tuple(find_free_addresses(3))
    with ThreadPoolExecutor() as pool:
        each = [pool.submit(await_workers, Workers(addresses, index), timeout_seconds=20.0) for index in (0, 1, 1)]
        errors = [future.exception(timeout=60) for future in each]
    assert isinstance(errors[0], ConfigError)
    assert "Two workers have the index 1. Give each worker one of 0 to 2." in str(errors[0])
    assert sum("have the index 1" in str(error) for error in errors) == 3
