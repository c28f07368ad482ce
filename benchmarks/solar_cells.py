"""The recipe image/solar_cells against plain Keras (peer_keras.py): same network, same splits, same seeds.

The two run side by side, on half of the cores each, so that what else the machine does slows both. Prints a table of
test accuracies and whole-process seconds. The recipe averages its predictions over four flips, as its file says; the
peer does not. Its keys may be set as for `keras-transfer run` (policy.name=lp_ft). Results so far are kept in
--results, so that a benchmark that was stopped goes on where it was; remove the file to measure anew.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RECIPE, PEER = "image/solar_cells", "plain Keras"


def start(command: list[str], cores: list[int]) -> str:
    """Run a command on some cores; what it prints."""
    bind = functools.partial(os.sched_setaffinity, 0, cores)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=bind).stdout


def run_recipe(seed: int, cores: list[int], overrides: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = ["keras_transfer.cli", "run", RECIPE, f"seed={seed}", "export.formats=[]", *overrides]
        start([sys.executable, "-m", *command, "--out", f"{folder}/run"], cores)
        metrics = json.loads(Path(folder, "run", "metrics.json").read_text())["test"]
        history = [json.loads(line) for line in Path(folder, "run", "history.jsonl").read_text().splitlines()]
    seconds = sum(line["seconds"] for line in history)
    return {"accuracy": metrics["accuracy"], "auroc": metrics["auroc"], "fit_seconds": seconds}


def run_peer(seed: int, cores: list[int]) -> dict[str, float]:
    script = Path(__file__).with_name("peer_keras.py")
    return json.loads(start([sys.executable, str(script), "--seed", str(seed)], cores).splitlines()[-1])


def measure(
    name: str, run: Callable[[int, list[int]], dict[str, float]], seeds: list[int], cores: list[int], results: Path
) -> dict[tuple[str, int], dict[str, float]]:
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(line["name"], line["seed"]): line for line in lines}
    for seed in seeds:
        if (name, seed) in done:
            continue
        started = time.perf_counter()
        figures = run(seed, cores)
        line = {"name": name, "seed": seed, **figures, "process_seconds": round(time.perf_counter() - started, 1)}
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        done[name, seed] = line
    return {(name, seed): done[name, seed] for seed in seeds}


def main(overrides: list[str], seeds: list[int], results: Path) -> None:
    recipe = " ".join([RECIPE, *overrides])
    runs = {recipe: functools.partial(run_recipe, overrides=overrides), PEER: run_peer}
    width = max(map(len, runs))
    cores = sorted(os.sched_getaffinity(0))
    halves = (cores[::2], cores[1::2] or cores)
    with ThreadPoolExecutor(len(halves)) as pool:
        both = pool.map(lambda name, half: measure(name, runs[name], seeds, half, results), runs, halves)
        lines = {key: line for each in both for key, line in each.items()}
    print(f"{'':<{width}}{'seed':>6}{'accuracy':>10}{'AUROC':>9}{'fit s':>9}{'process s':>11}")
    for (name, seed), line in sorted(lines.items()):
        print(
            f"{name:<{width}}{seed:>6}{line['accuracy']:>10.4f}{line['auroc']:>9.4f}{line['fit_seconds']:>9.0f}"
            f"{line['process_seconds']:>11.0f}"
        )
    for name in runs:
        accuracies = [lines[name, seed]["accuracy"] for seed in seeds]
        spread = statistics.stdev(accuracies) if len(seeds) > 1 else 0.0
        print(f"{name:<{width}} mean accuracy {statistics.mean(accuracies):.4f} +- {spread:.4f} (standard deviation)")
    ratios = [lines[recipe, seed]["process_seconds"] / lines[PEER, seed]["process_seconds"] for seed in seeds]
    print(f"time, recipe / peer: median {statistics.median(ratios):.2f} (whole processes)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="what differs from the recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("solar_cells_results.jsonl"))
    main(**vars(parser.parse_args()))
