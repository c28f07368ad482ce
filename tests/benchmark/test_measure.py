"""The formats of a run compared: what is measured, and what cannot be."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import Run
from keras_transfer.benchmark import measure
from keras_transfer.benchmark.candidates import find_candidates
from keras_transfer.benchmark.metric import measure_metric
from keras_transfer.export import EXPORTERS
from keras_transfer.run.opened import open_model

SPEED = {
    "load_seconds": 0.5,
    "first_answer_seconds": 0.75,
    "latency": {"median_seconds": 0.002, "p99_seconds": 0.004, "calls": 100},
    "throughput": {"batch_size": 32, "rows_per_second": 1234.5, "calls": 5},
    "peak_memory_bytes": 200_000_000,
}
METRIC = {"name": "accuracy", "value": 0.75, "interval": [0.5, 0.9], "rows": 12, "split": "test", "notes": ["A note."]}


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the run, with its SavedModel."""
    return Run(shutil.copytree(finished_run.folder, tmp_path / "run"))


@pytest.fixture
def processes(monkeypatch):
    """Results in place of processes, and the jobs that they received."""
    jobs = []

    def run_process(module, job, scratch, environment):
        jobs.append((module.rpartition(".")[2], job, environment))
        return SPEED if module.endswith("speed") else METRIC

    monkeypatch.setattr(measure, "run_process", run_process)
    monkeypatch.setattr(measure, "write_batches", lambda run, folder: None)
    return jobs


def test_existing_exports_are_used_and_missing_ones_are_created(run, tmp_path, monkeypatch):
    monkeypatch.setattr(EXPORTERS, "_values", {name: EXPORTERS[name] for name in ("saved_model", "litert")})
    found = {each.name: each for each in find_candidates(run, None, tmp_path / "new", report=lambda line: None)}
    assert list(found) == ["keras", "saved_model", "litert"]
    assert found["keras"].path == run.folder / "model.keras"
    assert (found["saved_model"].path, found["saved_model"].is_temporary) == (
        run.folder / "export" / "saved_model" / "1",
        False,
    )
    assert found["litert"].is_temporary
    assert found["litert"].measure_size() == (tmp_path / "new" / "litert" / "1" / "model.tflite").stat().st_size
    assert not (run.folder / "export" / "litert").exists()


def test_a_table_of_what_was_measured(run, processes, command):
    result = command("benchmark", run.folder, "--formats", "keras,saved_model")
    assert result.exit_code == 0, result.stderr
    assert "accuracy (95 %)" in result.stdout
    for cell in ("0.75", "2.00", "4.00", "1,234", "200", "0.7500 (0.5000 to 0.9000)"):
        assert result.stdout.count(cell) >= 2, cell
    assert "1 thread per process; 12 rows (test)" in result.stdout
    assert result.stderr.splitlines() == ["Measuring keras", "Measuring saved_model", "A note."]
    (_, keras, environment), *_, (kind, saved_model, _) = processes
    assert (keras["probe"], keras["artifact"], environment["OMP_NUM_THREADS"]) == (None, None, "1")
    assert (kind, saved_model["artifact"]) == ("metric", str(run.folder / "export" / "saved_model" / "1"))


def test_json_has_what_the_table_has(run, processes, command):
    result = command("benchmark", run.folder, "--formats", "saved_model", "--json")
    values = json.loads(result.stdout)
    assert values["threads"] == 1 and values["machine"]["cores"] >= 1
    (row,) = values["formats"]
    assert row["path"] == str(run.folder / "export" / "saved_model" / "1")
    assert row["size_bytes"] == sum(
        file.stat().st_size for file in (run.folder / "export").rglob("*") if file.is_file()
    )
    assert row["latency"] == SPEED["latency"] and row["error"] is None
    assert row["metric"] == {key: value for key, value in METRIC.items() if key != "notes"}


def test_a_format_that_fails_does_not_end_the_others(run, processes, command, monkeypatch):
    answers = {"keras": {"error": "its process was ended by SIGSEGV"}, "saved_model": SPEED}
    name_of = {None: "keras"}
    monkeypatch.setattr(
        measure,
        "run_process",
        lambda module, job, *_: answers[name_of.get(job["artifact"], "saved_model")] if "speed" in module else METRIC,
    )
    monkeypatch.setattr(EXPORTERS["litert"], "write", lambda self, served, artifact: 1 / 0)
    result = command("benchmark", run.folder, "--formats", "keras,litert,saved_model")
    assert result.exit_code == 0, result.stderr
    assert "keras failed: its process was ended by SIGSEGV" in result.stdout
    assert "litert failed: The LiteRT model cannot be written: ZeroDivisionError" in result.stdout
    assert "0.7500 (0.5000 to 0.9000)" in result.stdout


def test_without_the_rows_the_metric_is_left_out(run, processes, command):
    shutil.move(run.folder.parent / "run", run.folder.parent / "moved")
    folder = run.folder.parent / "moved"
    recipe = (folder / "recipe.yaml").read_text()
    source = run.config.data.source
    (folder / "recipe.yaml").write_text(recipe.replace(source, "/nowhere/images"))
    result = command("benchmark", folder, "--formats", "keras")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("The metric is left out. ")
    assert "accuracy" not in result.stdout
    assert [kind for kind, *_ in processes] == ["speed"]


def test_the_metric_matches_the_report(finished_run):
    rows, report = finished_run.load_split("test"), finished_run.reports["test"]
    found = measure_metric(open_model(finished_run.folder / "export" / "saved_model" / "1"), rows)
    assert (found["name"], found["rows"], found["split"]) == ("accuracy", len(rows), "test")
    assert found["value"] == pytest.approx(report.accuracy)
    assert found["interval"] == pytest.approx(list(report.accuracy_interval))


def test_batches_are_the_samples_of_the_run(finished_run, tmp_path):
    measure.write_batches(finished_run, tmp_path / "batches")
    samples = sorted((finished_run.folder / "samples").iterdir())
    rows = [np.load(file)["pixels"] for file in sorted((tmp_path / "batches").glob("row-*.npz"))]
    many = np.load(tmp_path / "batches" / "many.npz")["pixels"]
    assert len(rows) == len(samples)
    assert many.shape == (32, 64, 64, 3)
    for place, file in enumerate(samples):
        expected = finished_run.reader.decode(tf.constant([file.read_bytes()])).numpy()
        np.testing.assert_array_equal(rows[place], expected)
        np.testing.assert_array_equal(many[place], expected[0])


def test_a_process_that_crashes_is_named(tmp_path):
    (tmp_path / "crash.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (tmp_path / "silent.py").write_text("")
    environment = {"PYTHONPATH": str(tmp_path)}
    assert measure.run_process("crash", {}, tmp_path, environment) == {"error": "its process was ended by SIGKILL"}
    assert measure.run_process("silent", {}, tmp_path, environment) == {"error": "no message"}


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (["--formats", "onxn"], ["there is no export format", "onnx"]),
        (["--formats", "keras,"], ["there is no export format"]),
        (["--data", "nowhere"], ["nowhere"]),
        (["--encoding", "utf-8"], ["--encoding is for the table of --data"]),
        (["--threads", "100000"], ["--threads: this process may use"]),
        (["--formats", "saved_model:int8"], ["quantize"]),
    ],
)
def test_wrong_options(run, command, words, needs):
    result = command("benchmark", run.folder, *words)
    assert result.exit_code == 2
    assert [need for need in needs if need.lower() not in result.stderr.lower()] == [], result.stderr
    assert "Traceback" not in result.stderr


def test_only_a_run_has_formats(refused, finished_run, tmp_path):
    refused("benchmark", tmp_path / "absent", needs=["There is no run folder"])
    refused("benchmark", finished_run.folder / "export" / "saved_model" / "1", needs=["not a finished run"])


@pytest.mark.slow
def test_every_format_is_measured(run, command):
    result = command("benchmark", run.folder, "--seconds", "0.1", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["formats"]
    assert [row["format"] for row in rows] == ["keras", *EXPORTERS]
    assert [row["error"] for row in rows] == [None] * len(rows)
    accuracy = finished = {row["format"]: row["metric"]["value"] for row in rows}
    assert set(accuracy.values()) == {finished["keras"]}
    assert all(row["latency"]["median_seconds"] < 1 and row["peak_memory_bytes"] > 1e7 for row in rows)
