"""What a benchmark measures, by models whose speed and memory are known."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_transfer.benchmark import speed

ROW = {"pixels": np.zeros((1, 2))}


@pytest.fixture
def model(monkeypatch):
    """``model(seconds)``: a model whose call number n takes ``seconds(n)`` by a clock that nothing else moves."""
    now = [0.0]
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(speed.gc, "collect", lambda: 0)  # this process has much to look through

    def make(seconds):
        def predict(batch):
            now[0] += seconds(len(predict.batches))
            predict.batches.append(batch)

        predict.batches = []
        return predict

    return make


def test_latencies_exclude_the_first_calls(model):
    # The first call takes a second, every twentieth one 20 ms, and others 2 ms.
    predict = model(lambda call: 1.0 if call == 0 else 0.02 if call % 20 == 0 else 0.002)
    latency = speed.measure_latency(predict, [ROW, ROW], seconds=2.0)
    assert latency["median_seconds"] == pytest.approx(0.002)
    assert latency["p99_seconds"] == pytest.approx(0.02)
    assert latency["calls"] == pytest.approx(2.0 / 0.0029, rel=0.05)


@pytest.mark.parametrize(
    ("each", "calls"),
    [
        pytest.param(0.001, 2000, id="so long as asked for"),
        pytest.param(0.1, 100, id="at least a hundred calls"),
        pytest.param(1.0, 20, id="a slow model is not measured for ever"),
        pytest.param(0.0001, 5000, id="at most five thousand calls"),
    ],
)
def test_how_many_calls_count(model, each, calls):
    assert speed.measure_latency(model(lambda call: each), [ROW], seconds=2.0)["calls"] == pytest.approx(calls, abs=1)


def test_each_length_is_traced_before_it_is_timed(model):
    rows = [{"tokens": np.zeros((1, length))} for length in range(1, 21)]
    # Each length takes a second when it comes for the first time.
    predict = model(lambda call: 1.0 if call < 20 else 0.001)
    latency = speed.measure_latency(predict, rows, seconds=0.1)
    assert [batch["tokens"].shape[1] for batch in predict.batches[:20]] == list(range(1, 21))
    assert latency["p99_seconds"] == pytest.approx(0.001)


def test_throughput_counts_rows(model):
    found = speed.measure_throughput(model(lambda call: 0.01), {"pixels": np.zeros((32, 2))}, seconds=0.1)
    assert found["batch_size"] == 32
    assert found["rows_per_second"] == pytest.approx(3200)


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
    """Run the process as a benchmark does, for an artifact that takes that many megabytes."""

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


def test_a_process_has_one_core_its_own_memory_and_only_the_runtime(measure):
    # This process has far more memory than that one.
    small, large = measure(1), measure(301)
    assert small["peak_memory_bytes"] < 150e6
    assert 280e6 < large["peak_memory_bytes"] - small["peak_memory_bytes"] < 340e6
    assert small["first_answer_seconds"] >= small["load_seconds"] > 0


def test_the_error_of_a_model_that_fails_is_reported(measure):
    assert measure(1, fails=True).strip().splitlines()[-1] == "ValueError: no such kernel"
