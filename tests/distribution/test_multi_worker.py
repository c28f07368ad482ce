"""What two processes train is what one trains, and what becomes of the one where the other is lost."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_transfer import Recipe

# As in test_mirrored.py: sums of float32 in another order.
TOLERANCE = 2e-6


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def weights(folder):
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def launch(recipe, out, *more):
    command = [sys.executable, "-m", "keras_transfer.cli", "launch", str(recipe), "--workers", "2", "--out", str(out)]
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


def test_two_processes_train_what_one_trains(recipe_file, tmp_path):
    more = ("policy.name=lp_ft", "training.keep=best")
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
    assert f"[{1 - which}] Error: The run ends, because worker {which}" in told
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
def test_run_folders_that_do_not_see_each_other(recipe_file, tmp_path):
    from keras_transfer.launch import find_free_addresses

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
