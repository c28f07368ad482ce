"""What spreading a run costs: one device, two logical devices of one process, and two processes, on one CPU.

All train all of EfficientNet-Lite0 on the same photos of solar cells, with the same global batches. Devices and
processes share the same cores, so that nothing can be gained: what is lost is the overhead. A round runs each once, and
rounds change their order; the seconds are those of the epochs after the first, in which TensorFlow compiles.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import load_splits

RUN = [sys.executable, "-m", "keras_transfer.cli"]
WAYS = {
    "one device": [*RUN, "run", "RECIPE", "distribution.strategy=none"],
    "mirrored, 2 devices": [*RUN, "run", "RECIPE", "distribution.strategy=mirrored", "distribution.devices=2"],
    "multi_worker, 2 processes": [*RUN, "launch", "RECIPE", "--workers", "2"],
}
RATIOS = (("mirrored, 2 devices", "one device", 0.9), ("multi_worker, 2 processes", "mirrored, 2 devices", 0.8))


def write_recipe(folder: Path, images: int, size: int, epochs: int) -> Path:
    split = load_splits(ImageDataConfig(source="solar_cells"), seed=0).train
    chosen = np.random.default_rng(0).permutation(len(split))[:images]
    with (folder / "cells.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([split.examples.files[row], f"class_{split.targets[row]}"] for row in chosen)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""task: image_classification
data: {{source: {folder / "cells.csv"}, image_size: {size}, validation: 0.0, test: 0.1, leaks: "off"}}
policy: {{name: full}}
training: {{epochs: {epochs}, batch_size: 32, keep: last}}
export: {{formats: []}}
""",
        encoding="utf-8",
    )
    return recipe


def measure(way: str, recipe: Path, out: Path, images: int) -> float:
    """Images a second."""
    command = [str(recipe) if part == "RECIPE" else part for part in WAYS[way]]
    result = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{way}: {result.stderr[-2000:]}")
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return images / statistics.median(line["seconds"] for line in lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder, given.images, given.image_size, given.epochs)
        for number in range(given.rounds):
            for place, way in enumerate(random.Random(number).sample(list(WAYS), len(WAYS))):
                rate = measure(way, recipe, folder / f"run-{number}-{place}", round(0.9 * given.images))
                rates[way].append(rate)
                print(f"round {number + 1}: {way} {rate:.1f} images a second", flush=True)
    print(f"\n{'':<28}{'images a second (median)':>28}")
    for way, values in rates.items():
        print(f"{way:<28}{statistics.median(values):>28.1f}")
    for way, peer, goal in RATIOS:
        ratios = [ours / theirs for ours, theirs in zip(rates[way], rates[peer], strict=True)]
        spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
        print(f"{way} against {peer}: {statistics.median(ratios):.2f} (to be reached: {goal}; rounds: {spread})")


if __name__ == "__main__":
    main()
