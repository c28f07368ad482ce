"""Policies on few labels: 5, 10, 25 and 50 images a class, of two data sets, drawn five times each.

Solar cells (160 px, with flips) and the handwritten digits that come with scikit-learn (8 x 8 pixels, shown at 64 px,
without flips). The test rows stay the same; the training rows are drawn anew. Every policy has the same epochs and
batches, and no validation rows. Results so far are kept in --results, so that a benchmark that was stopped goes on
where it was; remove the file to measure anew.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from keras_transfer import ImageClassification
from keras_transfer.config import ImageDataConfig
from keras_transfer.data.splits.splits import Split, images_of, load_splits

TRAINING = {"epochs": 10, "batch_size": 16, "keep": "last"}
SIZES, DRAWS, POLICIES = (5, 10, 25, 50), 5, ("head", "last_stages", "full", "lp_ft", "auto")


def solar_cells(folder: Path) -> dict:
    return {
        "data": {"source": "solar_cells", "stratify": ["probability", "cell_type"], "image_size": 160},
        "augmentation": {"vertical_flip": True},
    }


def digits(folder: Path) -> dict:
    images, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = folder / "digits" / str(label) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.reshape(8, 8) * 255 / 16).astype(np.uint8)).save(file)
    return {"data": {"source": str(folder / "digits"), "image_size": 64}, "augmentation": {"horizontal_flip": False}}


DATA_SETS = {"solar_cells": solar_cells, "digits": digits}


def write_table(split: Split, classes: tuple[str, ...], rows: np.ndarray, file: Path) -> str:
    chosen = split.select(rows)
    labels = [classes[label] for label in chosen.targets]
    pd.DataFrame({"path": [str(Path(name).resolve()) for name in images_of(chosen).files], "label": labels}).to_csv(
        file
    )
    return str(file)


def measure(recipe: dict, policy: str, per_class: int, draw: int, folder: Path) -> dict:
    """Train on a draw; the accuracy on all test rows, and the seconds of fit without start-up."""
    splits = load_splits(ImageDataConfig(**{**recipe["data"], "validation": 0.0, "test": 0.25}), seed=0)
    random = np.random.default_rng(draw)
    rows = [
        random.permutation(np.flatnonzero(splits.train.targets == label))[:per_class]
        for label in range(len(splits.target.names))
    ]
    train = write_table(splits.train, splits.target.names, np.concatenate(rows), folder / "train.csv")
    test = write_table(splits.test, splits.target.names, np.arange(len(splits.test)), folder / "test.csv")
    data = {"source": train, "test": test, "validation": 0.0, "image_size": recipe["data"]["image_size"]}
    job = ImageClassification(
        data, policy=policy, augmentation=recipe["augmentation"], training=TRAINING, seed=draw, export={"formats": []}
    )
    keras.backend.clear_session()
    started = time.perf_counter()
    run = job.fit(folder / "run")
    line = {"accuracy": run.reports["test"].accuracy, "seconds": round(time.perf_counter() - started, 1)}
    choice = folder / "run" / "choice.json"
    return {**line, "choice": json.loads(choice.read_text())} if choice.exists() else line


def find_same(lines: list[dict], key: dict) -> dict | None:
    """What `auto` reached with the policy that is asked for, where it chose that: the same run, by the same seed."""
    for line in lines:
        if {**key, "policy": "auto"}.items() <= line.items() and line["choice"]["policy"] == key["policy"]:
            return {**key, "accuracy": line["accuracy"], "seconds": None}
    return None


def print_table(lines: list[dict], policies: list[str]) -> None:
    print(f"{'':<13}{'a class':>8}" + "".join(f"{policy:>16}" for policy in policies) + f"{'auto - best':>13}")
    groups = pd.DataFrame(lines).groupby(["set", "per_class"], sort=False)
    for (name, per_class), group in groups:
        accuracies = {policy: list(group[group.policy == policy].accuracy) for policy in policies}
        means = {policy: statistics.mean(each) for policy, each in accuracies.items() if each}
        cells = [
            f"{means[policy]:.4f} +- {statistics.stdev(each) if len(each) > 1 else 0.0:.3f}" if each else ""
            for policy, each in accuracies.items()
        ]
        best = max((means[policy] for policy in ("head", "full", "lp_ft") if policy in means), default=0.0)
        difference = f"{100 * (means['auto'] - best):+.1f}" if "auto" in means else ""
        print(f"{name:<13}{per_class:>8}" + "".join(f"{cell:>16}" for cell in cells) + f"{difference:>13}")
    seconds = pd.DataFrame(lines).groupby("policy").seconds.median()
    print(
        "median seconds of fit: "
        + ", ".join(f"{policy} {seconds[policy]:.0f}" for policy in policies if policy in seconds)
    )


def main(
    sets: list[str], sizes: list[int], draws: int, first_draw: int, policies: list[str], reuse: bool, results: Path
) -> None:
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    with tempfile.TemporaryDirectory() as temporary:
        recipes = {name: DATA_SETS[name](Path(temporary)) for name in sets}
        for draw in range(first_draw, first_draw + draws):
            for name in sets:
                for per_class in sizes:
                    for policy in sorted(policies, key=lambda policy: policy != "auto") if reuse else policies:
                        key = {"set": name, "per_class": per_class, "draw": draw, "policy": policy}
                        if any(key.items() <= line.items() for line in lines):
                            continue
                        line = find_same(lines, key) if reuse else None
                        if line is None:
                            with tempfile.TemporaryDirectory() as folder:
                                line = {**key, **measure(recipes[name], policy, per_class, draw, Path(folder))}
                        lines.append(line)
                        with results.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                        print(json.dumps(line), file=sys.stderr, flush=True)
    print_table(lines, policies)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(DATA_SETS))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--policies", nargs="+", default=list(POLICIES))
    parser.add_argument("--reuse", action="store_true", help="train no policy anew that `auto` came to")
    parser.add_argument("--results", type=Path, default=Path("few_labels_results.jsonl"))
    main(**vars(parser.parse_args()))
