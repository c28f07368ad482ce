"""An engine, an address or a number of workers that cannot be."""

import secrets
import subprocess
import sys

import pytest

from keras_transfer.launch.local import find_free_addresses

LAUNCH = ("launch", "image/quickstart", "--workers", "2")


def test_an_unknown_engine(command):
    result = command(*LAUNCH, "--engine", "rai")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'rai' is not one of 'local', 'ray'" in result.stderr


def test_ray_is_not_installed(refused, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras_transfer.launch.on_ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(*LAUNCH, "--engine", "ray", needs=["needs Ray", "pip install 'keras-transfer[ray]'", "on every node"])


def test_options_of_ray_without_it(refused):
    refused(
        *LAUNCH, "--address", "auto", "--retries", "1", needs=["--address and --retries only work with --engine ray"]
    )


def test_a_folder_that_a_node_cannot_see():
    code = "import sys, os; from keras_transfer.launch.local import enter; enter(os.getppid(), '/absent')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: the working folder of the launch does not exist on ")
    assert "Received: /absent. Launch from a folder that all nodes of the cluster see." in result.stderr


@pytest.mark.slow
def test_an_address_that_does_not_respond(refused, monkeypatch):
    name = "keras_transfer.distribution.ray_cluster"
    cluster = pytest.importorskip(name, reason="needs the extra ray", exc_type=ImportError)
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 8.0)
    (address,) = find_free_addresses(1)
    needs = ["--address: cannot connect to a Ray cluster", f"Received: {address}", "within 8 s", "ray start --head"]
    refused(*LAUNCH, "--engine", "ray", "--address", address, needs=needs)


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_room_for(monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray")
    token = secrets.token_hex(32)
    for name, value in {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, value)
    port, other = (address.rpartition(":")[2] for address in find_free_addresses(2))
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1"]
    start += [f"--port={port}", f"--ray-client-server-port={other}", "--include-dashboard=false"]
    cluster = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # In a separate process: Ray reads its variables once.
    code = (
        "from keras_transfer.console.imports import import_tensorflow; import_tensorflow(); "
        "import keras_transfer.launch.on_ray as e; e._PLACE_SECONDS = 3.0; from keras_transfer.cli import main; main()"
    )
    try:
        command = [sys.executable, "-c", code, *LAUNCH, "--engine", "ray", "--address", f"localhost:{port}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        cluster.terminate()
        cluster.wait(60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "Error: --workers: timed out after 3 s waiting for resources of the cluster. Received: 2, "
    )
    assert "each with 1 CPU. All nodes together have 1 CPU, some of which may be in use." in result.stderr
