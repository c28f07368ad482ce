"""Two processes train the same model as one; and what happens to one if the other is lost."""

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

from keras_transfer import Recipe
from keras_transfer.launch.local import find_free_addresses, name_workers
from keras_transfer.launch.local import launch as launch_all
from keras_transfer.storage.cache_store import FeatureStore, cache_folder

# As in test_mirrored.py: sums of float32 in another order.
TOLERANCE = 2e-6


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def weights(folder):
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def launch(recipe, out, *more, workers=2):
    command = [sys.executable, "-m", "keras_transfer.cli", "launch", str(recipe), "--out", str(out)]
    command += ["--workers", str(workers)]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def wait_for_lines(folder, count, process):
    limit = time.monotonic() + 200
    while time.monotonic() < limit and process.poll() is None:
        if (folder / "history.jsonl").exists() and len(history(folder)) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(recipe_file, tmp_path):
    more = ("policy.name=lp_ft", "training.keep=best", "trackers=[tensorboard]")
    process = launch(recipe_file, tmp_path / "two", *more)
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert {line[:4] for line in out.splitlines()} == {"[0] "}
    Recipe.from_file(recipe_file, more).fit(tmp_path / "one")
    for one, two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert {**two, "seconds": 0} == pytest.approx({**one, "seconds": 0}, abs=TOLERANCE)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max(np.abs(a - b).max() for a, b in zip(one, two, strict=True)) < TOLERANCE
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text())["test"] for name in ("one", "two")]
    assert metrics[0]["confusion"] == metrics[1]["confusion"]
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == sorted(
        file.name for file in (tmp_path / "one").iterdir()
    )
    assert "workers: []" in (tmp_path / "two" / "recipe.yaml").read_text()
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1  # only the chief calls trackers


@pytest.mark.slow
def test_three_processes_train_the_same_model_as_one(recipe_file, tmp_path):
    more = ("training.batch_size=9", "training.accumulate_steps=2")
    process = launch(recipe_file, tmp_path / "three", *more, workers=3)
    _, told = process.communicate(timeout=400)
    assert process.returncode == 0, told
    Recipe.from_file(recipe_file, more).fit(tmp_path / "one")
    for one, three in zip(history(tmp_path / "one"), history(tmp_path / "three"), strict=True):
        assert {**three, "seconds": 0} == pytest.approx({**one, "seconds": 0}, abs=TOLERANCE)
    one, three = weights(tmp_path / "one"), weights(tmp_path / "three")
    assert max(np.abs(a - b).max() for a, b in zip(one, three, strict=True)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "strategy"), [("tensorflow", "multi_worker"), ("jax", "data_parallel")])
@pytest.mark.parametrize("policy", [["policy={name: head}"], ["policy.name=last_stages", "policy.stages=1"]])
def test_the_chief_computes_features_for_all(recipe_file, tmp_path, capfd, monkeypatch, backend, strategy, policy):
    if backend == "jax":
        pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    command = [sys.executable, str(Path(__file__).with_name("counting_worker.py")), "run", str(recipe_file), *policy]
    command += [f"distribution.strategy={strategy}", "training.epochs=1", "--out", str(tmp_path / "run")]
    addresses = find_free_addresses(2)
    assert launch_all([[*command, *name_workers(addresses, number)] for number in range(2)]) == 0
    computed = [line for line in capfd.readouterr().out.splitlines() if "computes features of" in line]
    assert len(computed) >= 2
    assert sorted(set(computed)) == sorted(computed)
    assert {line[:4] for line in computed} == {"[0] "}
    entries = FeatureStore(cache_folder() / "features", max_bytes=None).entries()
    assert len(entries) == len(computed), [entry.description for entry in entries]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "which"), [(signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 1)])
def test_a_lost_worker_ends_the_other_and_the_run_is_resumed(recipe_file, tmp_path, number, which):
    more = ("checkpoint.every_steps=2", "training.epochs=12")
    folder = tmp_path / "run"
    process = launch(recipe_file, folder, *more)
    wait_for_lines(folder, 2, process)
    lost = sorted(children(process))[which]
    os.kill(lost, number)
    started = time.monotonic()
    _, told = process.communicate(timeout=120)
    assert time.monotonic() - started < 60
    assert f"[{1 - which}] Error: The run ends because worker {which}" in told
    assert process.returncode == (1 if number == signal.SIGSTOP else 137)
    resumed = launch(recipe_file, folder, *more, "--resume")
    out, told = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, told
    assert "Resumed from checkpoint-" in out
    assert len(history(folder)) == 12


@pytest.mark.slow
def test_sigterm_ends_all_with_a_checkpoint(recipe_file, tmp_path):
    folder = tmp_path / "run"
    process = launch(recipe_file, folder, "training.epochs=50")
    wait_for_lines(folder, 1, process)
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert [line[:4] for line in sorted(told.splitlines()) if "stopped by SIGTERM" in line] == ["[0] ", "[1] "]


@pytest.mark.slow
def test_a_run_folder_that_is_not_shared_is_refused(recipe_file, tmp_path):
    workers = f"distribution.workers=[{','.join(find_free_addresses(2))}]"
    processes = []
    for number in range(2):
        command = [sys.executable, "-m", "keras_transfer.cli", "run", str(recipe_file), workers]
        command += ["distribution.strategy=multi_worker", f"distribution.worker={number}"]
        command += ["--out", str(tmp_path / f"here{number}")]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for number, process in enumerate(processes):
        _, told = process.communicate(timeout=200)
        assert process.returncode == 2, told
        assert "Worker 1 does not see the run folder that worker 0 writes" in told
        assert f"here{number} on worker {number}" in told
