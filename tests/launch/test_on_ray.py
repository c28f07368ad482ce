"""Two workers on a Ray of this machine: what they train, and what becomes of a run whose workers are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow


def start(recipe, out, *more, engine="ray"):
    command = [sys.executable, "-m", "keras_transfer.cli", "launch", str(recipe), "--workers", "2", "--out", str(out)]
    command += ["--engine", engine, "checkpoint.every_steps=2", "training.epochs=8", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights(folder):
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def find_workers(folder):
    """The processes that run a worker: by number, their own id and that of the actor that started them."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue
        numbers = [word.partition("=")[2] for word in words if word.startswith("distribution.worker=")]
        if numbers and str(folder) in words and "enter" in words[2]:
            found[int(numbers[0])] = int(process.name), int(words[3])
    return found


def wait_for_epochs(folder, count, process):
    limit = time.monotonic() + 200
    while time.monotonic() < limit and process.poll() is None:
        if (folder / "history.jsonl").exists() and len(history(folder)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def test_killed_workers_restart_and_train_the_same_model(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "TF_NUM_INTRAOP_THREADS", "1"
    )  # it determines the order of sums; each engine has its own default
    unbroken = start(recipe_file, tmp_path / "unbroken", engine="local")
    assert unbroken.wait(300) == 0, unbroken.communicate()
    folder = tmp_path / "run"
    process = start(recipe_file, folder)
    wait_for_epochs(folder, 2, process)
    first = find_workers(folder)
    os.kill(first[1][0], signal.SIGKILL)  # a worker
    wait_for_epochs(folder, 5, process)
    second = find_workers(folder)
    os.kill(second[0][1], signal.SIGKILL)  # the chief's actor, and so the chief
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert set(first.values()).isdisjoint(second.values())
    assert not any(Path(f"/proc/{pid}").exists() for pair in [*first.values(), *second.values()] for pid in pair)
    assert {line[:4] for line in out.splitlines() if "(raylet)" not in line} == {"[0] "}
    assert out.count("Resumed from checkpoint-") == 2
    assert "Worker 1 ended first, with exit code 137.\n" in told
    assert "[0] Ray lost this worker: " in told
    assert "Restarting the workers from the last checkpoint. Retries left: 1." in told
    assert history(folder) == history(tmp_path / "unbroken")
    assert all(np.array_equal(a, b) for a, b in zip(weights(folder), weights(tmp_path / "unbroken"), strict=True))


def test_jax_processes_end_by_sigterm_and_are_resumed(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    folder = tmp_path / "run"
    process = start(recipe_file, folder, "--retries", "0")
    wait_for_epochs(folder, 1, process)
    process.terminate()
    _, told = process.communicate(timeout=120)
    assert process.returncode == 143, told
    assert sorted(line[:4] for line in told.splitlines() if "stopped by SIGTERM" in line) == ["[0] ", "[1] "]
    resumed = start(recipe_file, folder, "--resume")
    out, told = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, told
    assert "Resumed from checkpoint-" in out
    environment = json.loads((folder / "environment.json").read_text())
    assert (environment["strategy"], environment["processes"]) == ("data_parallel", 2)
