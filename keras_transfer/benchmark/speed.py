"""Measure how fast an artifact loads and predicts, and how much memory that takes, in a separate process.

Usage: python -m keras_transfer.benchmark.speed JOB.json, a file that :mod:`keras_transfer.benchmark.measure` writes.

Only the format's runtime is imported, by its probe. Only the Keras model is loaded by this package, as by a run.
"""

import gc
import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.benchmark.cores import pin_to_cores

# Warm-up calls: the first ones trace, allocate and choose kernels.
_WARM_UP = 10
# Minimum number of calls: with fewer, the 99th percentile would be the maximum.
_LEAST_CALLS, _MOST_CALLS = 100, 5000
_LEAST_BATCHES = 5
# A slow model is measured for up to this multiple of the requested time, with the calls that fit.
_PATIENCE = 10

Batch = dict[str, Any]
Predict = Callable[[Batch], Any]


def main(file: str) -> None:
    """Measure, and write the results to a JSON file.

    Args:
        file: JSON with ``probe`` and ``artifact``, or ``run`` for the Keras model; ``inputs``, the names of tensors;
            ``output``, that of the predictions; ``batches``, a folder with ``many.npz`` and files of a row each;
            ``threads``, ``seconds`` per measurement; and ``results``, the file to write.
    """
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    pin_to_cores(job["threads"])
    batches = Path(job["batches"])
    rows = [_read(batch) for batch in sorted(batches.glob("row-*.npz"))]
    many = _read(batches / "many.npz")
    start = time.perf_counter()
    predict = _load_run(job) if job["probe"] is None else _load_artifact(job)
    loaded = time.perf_counter()
    predict(rows[0])
    first = time.perf_counter()
    results = {
        "load_seconds": loaded - start,
        "first_answer_seconds": first - start,
        "latency": measure_latency(predict, rows, job["seconds"]),
        "throughput": measure_throughput(predict, many, job["seconds"]),
        "peak_memory_bytes": find_peak_memory(),
    }
    Path(job["results"]).write_text(json.dumps(results), encoding="utf-8")


def _load_artifact(job: Mapping[str, Any]) -> Predict:
    serve, _ = runpy.run_path(job["probe"])["load"](job["artifact"], job["inputs"])
    return lambda batch: np.asarray(serve(batch)[job["output"]])


def _load_run(job: Mapping[str, Any]) -> Predict:
    from keras_transfer.run.run import Run

    run = Run(job["run"])
    _ = run.model
    return run.predict_tensors


def measure_latency(predict: Predict, rows: Sequence[Batch], seconds: float) -> dict[str, Any]:
    """Predict for one row after the other, in turn.

    Args:
        rows: Batches of one row; texts differ in length, and therefore in time.
        seconds: For at least this long, and at least 100 calls.

    Returns:
        ``median_seconds``, ``p99_seconds`` and ``calls``.
    """
    times = _time(predict, rows, seconds, _LEAST_CALLS)
    return {
        "median_seconds": float(np.median(times)),
        "p99_seconds": float(np.percentile(times, 99)),
        "calls": len(times),
    }


def measure_throughput(predict: Predict, many: Batch, seconds: float) -> dict[str, Any]:
    """Predict for one batch again and again.

    Args:
        seconds: For at least this long, and at least 5 calls.

    Returns:
        ``batch_size``, ``rows_per_second`` and ``calls``.
    """
    times = _time(predict, [many], seconds, _LEAST_BATCHES)
    size = len(next(iter(many.values())))
    return {"batch_size": size, "rows_per_second": size * len(times) / sum(times), "calls": len(times)}


def _time(predict: Predict, batches: Sequence[Batch], seconds: float, least: int) -> list[float]:
    start = time.perf_counter()
    # Each shape is traced once.
    for number in range(max(_WARM_UP if len(batches) > 1 else 2, len(batches))):
        predict(batches[number % len(batches)])
        if number >= len(batches) - 1 and time.perf_counter() - start > seconds:
            break
    gc.collect()
    gc.disable()
    try:
        times: list[float] = []
        total = 0.0
        while (len(times) < least or total < seconds) and total < _PATIENCE * seconds and len(times) < _MOST_CALLS:
            batch = batches[len(times) % len(batches)]
            before = time.perf_counter()
            predict(batch)
            times.append(time.perf_counter() - before)
            total += times[-1]
        return times
    finally:
        gc.enable()


def find_peak_memory() -> int | None:
    """Return the peak memory of this process in bytes, including its libraries; None if unknown."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, the resource counter starts with the peak of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # Windows has none
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _read(file: Path) -> Batch:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
