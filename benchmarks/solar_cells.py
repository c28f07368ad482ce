"""The recipe image/solar_cells against plain Keras (peer_keras.py): same network, same splits, same seeds, in turn.

Prints a table of test accuracies and whole-process seconds. Results so far are kept in --results, so that a
benchmark that was stopped goes on where it was; remove the file to measure anew.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE, PEER = "image/solar_cells", "plain Keras"


def run_recipe(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = ["keras_transfer.cli", "run", RECIPE, f"seed={seed}", "export.formats=[]", "--out", f"{folder}/run"]
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads(Path(folder, "run", "metrics.json").read_text())["test"]
        history = [json.loads(line) for line in Path(folder, "run", "history.jsonl").read_text().splitlines()]
    seconds = sum(line["seconds"] for line in history)
    return {"accuracy": metrics["accuracy"], "auroc": metrics["auroc"], "fit_seconds": seconds}


def run_peer(seed: int) -> dict[str, float]:
    script = Path(__file__).with_name("peer_keras.py")
    result = subprocess.run([sys.executable, str(script), "--seed", str(seed)], check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout.splitlines()[-1])


def measure(name: str, seed: int, results: Path) -> dict[str, float]:
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for line in done:
        if (line["name"], line["seed"]) == (name, seed):
            return line
    started = time.perf_counter()
    figures = run_recipe(seed) if name == RECIPE else run_peer(seed)
    line = {"name": name, "seed": seed, **figures, "process_seconds": round(time.perf_counter() - started, 1)}
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return line


def main(seeds: list[int], results: Path) -> None:
    lines = {(name, seed): measure(name, seed, results) for seed in seeds for name in (RECIPE, PEER)}
    print(f"{'':<20}{'seed':>6}{'accuracy':>10}{'AUROC':>9}{'fit s':>9}{'process s':>11}")
    for (name, seed), line in sorted(lines.items()):
        print(
            f"{name:<20}{seed:>6}{line['accuracy']:>10.4f}{line['auroc']:>9.4f}{line['fit_seconds']:>9.0f}"
            f"{line['process_seconds']:>11.0f}"
        )
    for name in (RECIPE, PEER):
        accuracies = [lines[name, seed]["accuracy"] for seed in seeds]
        spread = statistics.stdev(accuracies) if len(seeds) > 1 else 0.0
        print(f"{name:<20} mean accuracy {statistics.mean(accuracies):.4f} +- {spread:.4f} (standard deviation)")
    ratios = [lines[RECIPE, seed]["process_seconds"] / lines[PEER, seed]["process_seconds"] for seed in seeds]
    print(f"time, recipe / peer: median {statistics.median(ratios):.2f} (whole processes)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("solar_cells_results.jsonl"))
    main(**vars(parser.parse_args()))
