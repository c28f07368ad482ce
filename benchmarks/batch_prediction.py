"""Rows per second of ``predict --out`` beside those of ``model.predict`` on arrays in memory; and its peak memory."""

import argparse
import csv
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_transfer.batch_prediction import AnswerFile, LocalEngine, Settings, Worker, predict_to_file
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.tables.write import WRITABLE
from keras_transfer.run.run import Run

FILES = 5
WORDS = "bank raises rates striker out for six weeks robots play cup final film wins award as minister resigns".split()
# Peak memory of the children so far can only grow: each command is measured by a process of its own.
MEASURE = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def write_table(folder: Path, rows: int, text: str | None) -> Path:
    """Headlines of 6 to 12 words, or paths of a few small JPEG files."""
    random, file = np.random.default_rng(0), folder / f"{rows}.csv"
    if text is None:
        for number in range(FILES):
            noise = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8))
            noise.resize((96, 96)).save(folder / f"{number}.jpg", quality=85)
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["id", text or "path"])
        for row in range(rows):
            headline = " ".join(random.choice(WORDS, random.integers(6, 13))) if text else f"{row % FILES}.jpg"
            table.writerow([row, headline])
    return file


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and those of the processors: a machine that does other things, too, changes these less."""
    started, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - started, time.process_time() - processor


def in_memory(run: Run, file: Path) -> Any:
    """Batches of what the model takes, decoded or tokenized."""
    examples = run.read_inputs(file).examples
    n = len(examples)
    split = run.reader.prepare(Split("inputs", examples, np.zeros(n, np.int64), np.ones(n, np.float32)))
    return run.reader.evaluation_batches(split, batch_size=32).cache()


def compare(run: Run, folder: Path, rows: int, rounds: int, text: str | None) -> None:
    file, numbers = write_table(folder, rows, text), itertools.count()
    batches = in_memory(run, file)

    def whole(skip_broken: bool) -> None:
        inputs = run.stream_inputs(file)
        settings = Settings(columns=tuple(inputs.columns), skip_broken=skip_broken)
        answers = AnswerFile(folder / f"{next(numbers)}.parquet", resume=False, suffixes=WRITABLE)
        engine = LocalEngine(Worker(run, inputs.kind, settings))
        predict_to_file(inputs, answers, settings, run=run.path, engine=engine, outputs=len(run.target.names))

    ways = {
        "model.predict on arrays in memory": lambda: run.model.predict(batches, verbose=0),
        "predict --out": lambda: whole(False),
        "predict --out --skip-broken": lambda: whole(True),
    }
    for way in ways.values():  # traces, and fills the cache
        way()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    for name, each in seconds.items():
        wall, processor = (statistics.median(column) for column in zip(*each, strict=True))
        first = zip(*seconds["model.predict on arrays in memory"], strict=True)
        ratios = [
            statistics.median(other / own for own, other in zip(column, others, strict=True))
            for column, others in zip(zip(*each, strict=True), first, strict=True)
        ]
        print(
            f"{name:<34} {rows / wall:>8,.0f} rows/s, ratio {ratios[0]:.2f}; processor "
            f"{1000 * processor / rows:.2f} ms/row, ratio {ratios[1]:.2f}",
            flush=True,
        )


def measure_memory(path: Path, folder: Path, rows: list[int], text: str | None) -> None:
    for count in rows:
        command = [sys.executable, "-m", "keras_transfer.cli", "predict", str(path)]
        command += [str(write_table(folder, count, text)), "--out", str(folder / f"memory-{count}.parquet")]
        started = time.perf_counter()
        result = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE)
        seconds = time.perf_counter() - started
        print(f"{count:>9,} rows: peak {int(result.stdout) / 1024:,.0f} MiB, {seconds:,.0f} s", flush=True)


def main(path: Path, rows: int, rounds: int, memory: list[int]) -> None:
    run = Run(path)
    text = getattr(run.config.data, "text", None)
    with tempfile.TemporaryDirectory() as folder:
        if rounds:
            compare(run, Path(folder), rows, rounds, text)
        measure_memory(path, Path(folder), memory, text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="a run on images or single texts")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5, help="0 for memory alone")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="numbers of rows")
    main(**vars(parser.parse_args()))
