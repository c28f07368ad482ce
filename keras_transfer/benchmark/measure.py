"""Measure candidates one after the other, each in separate processes."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from keras_transfer.benchmark.candidates import Candidate, find_candidates
from keras_transfer.benchmark.cores import usable_cores
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError
from keras_transfer.export.proof import last_line
from keras_transfer.networks.types import Array, JsonObject
from keras_transfer.run.rows import TableOptions, given_options
from keras_transfer.run.run import Run

_MANY = 32
# Environment variables for runtimes that do not look at the cores of a process.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_PACKAGES = ("keras-transfer", "keras", "tensorflow", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Measured:
    """The results of a candidate.

    Attributes:
        candidate: What was measured.
        size_bytes: Of its file, or of all files in its folder; None if there is none.
        speed: What :mod:`keras_transfer.benchmark.speed` returns; empty if there is a problem.
        metric: What :mod:`keras_transfer.benchmark.metric` returns; empty if it was not measured.
        problem: Why it could not be measured; None if it could.
    """

    candidate: Candidate
    size_bytes: int | None = None
    speed: JsonObject = field(default_factory=dict)
    metric: JsonObject = field(default_factory=dict)
    problem: str | None = None

    def to_json(self) -> JsonObject:
        """Return the results as plain data."""
        path = self.candidate.path
        metric = {key: value for key, value in self.metric.items() if key != "notes"}
        return {
            "format": self.candidate.name,
            "path": None if self.candidate.is_temporary or path is None else str(path),
            "size_bytes": self.size_bytes,
            **self.speed,
            "metric": metric or None,
            "error": self.problem,
        }


@dataclass(frozen=True)
class Settings:
    """How candidates are measured.

    Attributes:
        threads: The number of cores that each process may use while its speed is measured.
        seconds: Minimum duration of measuring latency and throughput.
        data: A source of labelled examples; None for the run's own test rows.
        table: How a table in ``data`` is read.
    """

    threads: int
    seconds: float
    data: str | None = None
    table: TableOptions = field(default_factory=TableOptions)


def measure_formats(
    run: Run, formats: Sequence[str] | None, settings: Settings, *, report: Callable[[str], None]
) -> list[Measured]:
    """Measure a run's formats on this machine.

    Returns:
        The results in their order. What cannot be measured has a problem, and does not end the others.

    Raises:
        DataError: The source in ``settings.data`` cannot be read.
        CheckpointError: The run is damaged.
    """
    has_rows = _check_rows(run, settings, report)
    results, notes = [], set()
    with TemporaryDirectory(prefix="keras-transfer-") as scratch:
        batches = Path(scratch) / "batches"
        write_batches(run, batches)
        for candidate in find_candidates(run, formats, Path(scratch), report=report):
            report(f"Measuring {candidate.name}")
            measured = _measure(run, candidate, settings, Path(scratch), has_rows=has_rows)
            results.append(measured)
            notes |= set(measured.metric.get("notes", ()))
    for note in sorted(notes):
        report(note)
    return results


def write_batches(run: Run, folder: Path) -> None:
    """Write the inputs of speed measurements: a file per example of the run folder, and 32 in one file."""
    folder.mkdir()
    samples = run.read_samples()
    for number, row in enumerate(read_batches(run, samples, 1)):
        np.savez(folder / f"row-{number:03}.npz", allow_pickle=False, **row)
    # Large examples may be returned in several batches.
    many = next(read_batches(run, samples.select([number % len(samples) for number in range(_MANY)]), _MANY))
    filled = {name: np.resize(values, (_MANY, *values.shape[1:])) for name, values in many.items()}
    np.savez(folder / "many.npz", allow_pickle=False, **filled)


def read_batches(run: Run, examples: Examples, batch_size: int) -> Iterator[dict[str, Array]]:
    """Return examples in batches of up to a size, as the tensors that the run's model takes, by name."""
    n, reader = len(examples), run.reader
    split = reader.prepare(Split("samples", examples, np.zeros(n, np.int64), np.ones(n, np.float32)))
    return map(reader.name_tensors, reader.evaluation_batches(split, batch_size=batch_size, view=reader.predictor_view))


def _check_rows(run: Run, settings: Settings, report: Callable[[str], None]) -> bool:
    """Whether there are rows to evaluate on. A source that was named has to be readable."""
    if settings.data is not None:
        run.read_source(settings.data, **settings.table)
        return True
    try:
        run.load_split("test")
    except DataError as error:
        report(f"The metric is left out. {error}")
        return False
    return True


def _measure(run: Run, candidate: Candidate, settings: Settings, scratch: Path, *, has_rows: bool) -> Measured:
    if candidate.problem is not None or candidate.path is None:
        return Measured(candidate, problem=candidate.problem or "it is missing")
    measured = Measured(candidate, candidate.measure_size())
    exporter = candidate.exporter
    artifact = None if exporter is None else str(exporter.find_artifact(candidate.path))
    job = {
        "run": str(run.folder),
        "probe": None if exporter is None else str(exporter.probe),
        "artifact": artifact,
        "inputs": [spec.name for spec in run.reader.tensor_inputs],
        "output": run.head.predictions_output,
        "batches": str(scratch / "batches"),
        "threads": settings.threads,
        "seconds": settings.seconds,
    }
    threads = dict.fromkeys(_THREADS, str(settings.threads))
    speed = run_process("keras_transfer.benchmark.speed", job, scratch, threads)
    if "error" in speed:
        return replace(measured, problem=speed["error"])
    measured = replace(measured, speed=speed)
    if not has_rows:
        return measured
    rows = {"data": settings.data, "table": given_options(settings.table)}
    metric = run_process("keras_transfer.benchmark.metric", {**job, **rows}, scratch, {})
    if "error" in metric:
        return replace(measured, problem=f"The metric could not be measured: {metric['error']}")
    return replace(measured, metric=metric)


def run_process(module: str, job: Mapping[str, Any], scratch: Path, environment: Mapping[str, str]) -> JsonObject:
    """Run a module of this package in a separate process.

    Args:
        job: Plain data; ``results`` is added.

    Returns:
        The results, or ``error`` with the reason why there are none.
    """
    results = scratch / "results.json"
    results.unlink(missing_ok=True)
    (scratch / "job.json").write_text(json.dumps({**job, "results": str(results)}), encoding="utf-8")
    # The package is found where this process found it.
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    command = [sys.executable, "-P", "-m", module, str(scratch / "job.json")]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode < 0:
        return {"error": f"its process was ended by {signal.Signals(-ended.returncode).name}"}
    if ended.returncode or not results.exists():
        return {"error": last_line(ended.stderr)}
    values: JsonObject = json.loads(results.read_text(encoding="utf-8"))
    return values


def describe_machine() -> JsonObject:
    """Return the facts on which measured times depend: processor, cores, system and versions."""
    cores = usable_cores()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _find_processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _find_processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
