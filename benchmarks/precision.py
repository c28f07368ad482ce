"""bfloat16 against float32: how fast networks train on this machine, and how accurate image/quickstart becomes.

The first table is what `training.precision: auto` goes by: images a second with random weights and every layer
training. The second one trains the recipe in each arithmetic, a process each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from keras_transfer.backbones import BACKBONES
from keras_transfer.training.precision import CANDIDATES, run_precision_test


def run(precision: str, seed: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"training.precision={precision}", f"seed={seed}", "export.formats=[]"]
        command = ["keras_transfer.cli", "run", "image/quickstart", *overrides, "--out", f"{folder}/run"]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        return json.loads(Path(folder, "run", "metrics.json").read_text())["test"]["accuracy"], seconds


def main(backbones: list[str], size: int, seeds: list[int]) -> None:
    print(f"{f'images a second at {size} px':<32}" + "".join(f"{name:>16}" for name in CANDIDATES) + f"{'auto':>16}")
    for name in backbones:
        found = run_precision_test(partial(BACKBONES[name].load, image_size=size, weights="none"), batch_size=32)
        rates = "".join(f"{found.rates[precision]:>16.1f}" for precision in CANDIDATES)
        print(f"{name:<32}{rates}{found.precision:>16}", flush=True)
    print(f"\n{'image/quickstart':<20}{'seed':>6}{'accuracy':>10}{'process s':>11}")
    for precision in CANDIDATES:
        for seed in seeds:
            accuracy, seconds = run(precision, seed)
            print(f"{precision:<20}{seed:>6}{accuracy:>10.4f}{seconds:>11.0f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0", "mobilenet_v2", "resnet50"])
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    main(**vars(parser.parse_args()))
