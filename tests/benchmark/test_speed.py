"""What a benchmark measures, by models whose speed and memory are known."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_transfer.benchmark import speed


class Slow:
    """Takes 2 ms, and every fiftieth time 20 ms; the first call takes 50 ms."""

    def __init__(self):
        self.calls = 0

    def __call__(self, batch):
        time.sleep(0.05 if self.calls == 0 else 0.02 if self.calls % 50 == 0 else 0.002)
        self.calls += 1


ROW = {"pixels": np.zeros((1, 2))}


def test_latencies_are_those_of_calls_after_the_first_ones():
    latency = speed.measure_latency(Slow(), [ROW, ROW], seconds=0.3)
    assert 0.002 <= latency["median_seconds"] < 0.005
    assert 0.015 < latency["p99_seconds"] < 0.045
    assert latency["calls"] >= 100


def test_a_slow_model_is_not_measured_for_ever():
    start = time.perf_counter()
    latency = speed.measure_latency(lambda batch: time.sleep(0.05), [ROW], seconds=0.05)
    assert latency["calls"] < 20
    assert time.perf_counter() - start < 2.0


def test_each_length_is_traced_before_it_is_timed():
    seen = []
    rows = [{"tokens": np.zeros((1, length))} for length in range(1, 21)]
    speed.measure_latency(lambda batch: seen.append(batch["tokens"].shape[1]), rows, seconds=0.01)
    assert seen[:20] == list(range(1, 21))


def test_throughput_counts_rows():
    many = {"pixels": np.zeros((32, 2))}
    found = speed.measure_throughput(lambda batch: time.sleep(0.01), many, seconds=0.1)
    assert found["batch_size"] == 32
    assert 32 / 0.02 < found["rows_per_second"] <= 32 / 0.01


PROBE = """
import json, pathlib, sys, numpy as np

def load(artifact, inputs):
    weights = np.load(artifact)
    ballast = np.ones(weights["megabytes"].item() * 2**17)

    def run(batch):
        if weights["fails"].item():
            raise ValueError("no such kernel")
        return {"probabilities": np.asarray(batch[inputs[0]]) * ballast[0]}

    return run, ["cat"]
"""


@pytest.fixture
def measure(tmp_path):
    """Run the process as a benchmark does, for an artifact that takes so many megabytes."""

    def run(megabytes, fails=False):
        (tmp_path / "probe.py").write_text(PROBE)
        np.savez(tmp_path / "model.npz", megabytes=megabytes, fails=fails)
        (tmp_path / "batches").mkdir(exist_ok=True)
        np.savez(tmp_path / "batches" / "row-000.npz", **ROW)
        np.savez(tmp_path / "batches" / "many.npz", pixels=np.zeros((32, 2)))
        job = {
            "probe": str(tmp_path / "probe.py"),
            "artifact": str(tmp_path / "model.npz"),
            "inputs": ["pixels"],
            "output": "probabilities",
            "batches": str(tmp_path / "batches"),
            "threads": 1,
            "seconds": 0.01,
            "results": str(tmp_path / "results.json"),
        }
        (tmp_path / "job.json").write_text(json.dumps(job))
        check = (
            "import sys; from keras_transfer.benchmark import speed; speed.main(sys.argv[1]); "
            "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1); "
            "print(sorted({'tensorflow', 'keras', 'pandas'} & set(sys.modules)))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-P", "-c", check, str(tmp_path / "job.json")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            return ended.stderr
        assert ended.stdout.splitlines() == ["1", "[]"]
        return json.loads((tmp_path / "results.json").read_text())

    return run


def test_a_process_has_one_core_its_own_memory_and_the_runtime_alone(measure):
    # This process has far more memory than that one.
    small, large = measure(1)["peak_memory_bytes"], measure(301)["peak_memory_bytes"]
    assert small < 150e6
    assert 280e6 < large - small < 340e6
    assert measure(1)["first_answer_seconds"] >= measure(1)["load_seconds"] * 0.1


def test_a_model_that_fails_says_why(measure):
    assert measure(1, fails=True).strip().splitlines()[-1] == "ValueError: no such kernel"
