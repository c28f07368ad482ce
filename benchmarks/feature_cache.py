"""last_stages with the boundary in the middle of the network, with the cache of the frozen part and without.

Ten epochs on ELPV, with flips. Prints seconds of training (features included) and test accuracy for each number of
views; 0 is no cache. Every setting is a process of its own, on an empty cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(views: int, stages: int, epochs: int, size: int, seed: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"seed={seed}",
            f"cache.views={views}",
            "policy.name=last_stages",
            f"policy.stages={stages}",
            f"training.epochs={epochs}",
            f"data.image_size={size}",
            "export.formats=[]",
        ]
        if views == 1:  # the plain image: augmentation would be refused
            overrides.append("augmentation.vertical_flip=false")
        command = [sys.executable, "-m", "keras_transfer.cli", "run", "image/quickstart", *overrides]
        environment = {**os.environ, "KERAS_TRANSFER_CACHE": f"{folder}/cache"}
        started = time.perf_counter()
        subprocess.run([*command, "--out", f"{folder}/run"], check=True, stdout=subprocess.DEVNULL, env=environment)
        seconds = time.perf_counter() - started
        accuracy = json.loads(Path(folder, "run", "metrics.json").read_text())["test"]["accuracy"]
    return seconds, accuracy


def main(views: list[int], seeds: list[int], stages: int, epochs: int, size: int) -> None:
    print(f"{'views':>6}{'seconds':>10}{'accuracy':>10}   (of seeds {', '.join(map(str, seeds))})", flush=True)
    medians = {}
    for count in views:
        results = [measure(count, stages, epochs, size, seed) for seed in seeds]
        medians[count] = statistics.median(seconds for seconds, _ in results)
        accuracy = statistics.mean(accuracy for _, accuracy in results)
        each = " ".join(f"{accuracy:.4f}" for _, accuracy in results)
        print(f"{count:>6}{medians[count]:>10.1f}{accuracy:>10.4f}   {each}", flush=True)
    if 0 in medians:
        ratios = ", ".join(f"{count}: {medians[0] / seconds:.2f}" for count, seconds in medians.items() if count)
        print(f"times as fast as without, whole processes: {ratios}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--stages", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=160)
    main(**vars(parser.parse_args()))
