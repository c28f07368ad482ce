"""What resuming is worth: runs that are killed at random moments, what checkpoints cost, and how soon a run is back.

`kills`: runs of several policies are killed by SIGKILL at moments drawn from the time that the unbroken run takes, and
resumed, until so many kills are reached; each run that was killed is compared to its unbroken one.
`cost`: the same training with a checkpoint every 30 seconds and at each epoch's end, and with none; rounds alternate
and change their order. `--images` are to make epochs of some 30 seconds too: 1,400 at 50 a second, 400 at 12.
`start`: seconds from the start of a process to the end of its first new step, of a fresh run and of a resumed one.

All on photos of solar cells. `cost` and `start` train EfficientNet-Lite0. `kills` trains a small network of its own, so
that there is time for many; its processes are forked from one that has imported TensorFlow and not used it.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_transfer import BACKBONES, ImageClassification, Run
from keras_transfer.backbones import SIGNED, ImageBackboneRow
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.distribution import ONE_DEVICE
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.trackers.built_in import ConsoleTracker, HistoryTracker
from keras_transfer.trackers.composite import Trackers
from keras_transfer.training.checkpointing import Checkpointer, Checkpoints
from keras_transfer.training.interruption import Interruption
from keras_transfer.training.observers import Observers

RUNS = {
    "full, no cache": {"policy": "full", "cache": {"views": 0}, "augmentation": {"mixup": 0.2}},
    "lp_ft, averages": {"policy": "lp_ft", "training": {"ema": 0.9}},
    "gradual": {"policy": {"name": "gradual", "groups": 2, "group_epochs": 1}},
    "lora": {"policy": {"name": "lora", "rank": 4, "stages": 2}},
    "last_stages": {"policy": {"name": "last_stages", "stages": 2}, "training": {"early_stopping": {"patience": 2}}},
}


def make_table(folder: Path, rows: int) -> Path:
    split = load_splits(ImageDataConfig(source="solar_cells"), seed=0).train
    chosen = np.random.default_rng(0).permutation(len(split))[:rows]
    with (folder / "cells.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([split.examples.files[row], f"class_{split.targets[row]}"] for row in chosen)
    return folder / "cells.csv"


def build_small(size: int | None) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    x = inputs
    for block in range(1, 5):
        x = keras.layers.Conv2D(16, 3, 2 if block < 4 else 1, padding="same", name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        x = keras.layers.Dropout(0.1, name=f"block{block}_dropout")(x)
    return keras.Model(inputs, x, name="small")


def add_small() -> None:
    row = ImageBackboneRow(
        name="small",
        build=build_small,
        build_pretrained=build_small,
        contract=SIGNED,
        image_size=32,
        minimum_size=16,
        parameters=0,
        stages=4,
        weights_source="none",
        weights_file=lambda: None,
    )
    BACKBONES.add("small", row)


def make_recipe(table: Path, *, size: int, epochs: int, batch: int, **sections) -> ImageClassification:
    training = {"epochs": epochs, "batch_size": batch, **sections.pop("training", {})}
    return ImageClassification(
        {"source": str(table), "image_size": size},
        **{"training": training, "deterministic": True, "export": {"formats": []}, **sections},
    )


def fork(recipe: ImageClassification, out: Path, *, resume: bool) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        warnings.simplefilter("ignore")
        recipe.fit(out, resume=resume)
        code = 0
    except Exception:
        traceback.print_exc()
    os._exit(code)


def wait(process: int, seconds: float | None) -> int | None:
    """Its exit status; None where it was killed after so many seconds."""
    until = time.monotonic() + (seconds if seconds is not None else 1e9)
    while time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def lines(out: Path) -> list[dict[str, float]]:
    values = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in values]


def same(first: Path, second: Path) -> bool:
    a, b = (Run(folder).model.get_weights() for folder in (first, second))
    return lines(first) == lines(second) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def measure_kills(folder: Path, kills: int, seed: int) -> None:
    draw, table = random.Random(seed), make_table(folder, 120)
    add_small()
    unbroken, done, results = {}, 0, []
    for number in range(10_000):
        if done >= kills:
            break
        name = list(RUNS)[number % len(RUNS)]
        recipe = make_recipe(
            table, size=32, epochs=6, batch=8, backbone="small", checkpoint={"every_steps": 3}, **RUNS[name]
        )
        if name not in unbroken:
            started = time.monotonic()
            out = folder / f"unbroken-{len(unbroken)}"
            if wait(fork(recipe, out, resume=False), None) != 0:
                raise SystemExit(f"the unbroken run of {name} failed")
            unbroken[name] = (out, time.monotonic() - started)
        expected, seconds = unbroken[name]
        out, own = folder / f"killed-{number}", 0
        # A process that never comes far enough would never come to an end.
        while True:
            patience = draw.uniform(0.3, 1.3) * seconds if done < kills else None
            status = wait(fork(recipe, out, resume=own > 0), patience)
            if status is not None:
                break
            own, done = own + 1, done + 1
        if status != 0:
            raise SystemExit(f"the run of {name} ended with {status}")
        results.append((name, own, expected, out))
        print(f"{name:<18} {own:2} kills, {done} in all", flush=True)
    # Only now: what compares uses TensorFlow, after which there can be no fork.
    right = 0
    for name, own, expected, out in results:
        equal = same(expected, out)
        right += own if equal else 0
        print(f"{name:<18} {own:2} kills  {'bit-identical' if equal else 'DIFFERS'}")
    print(f"{right} of {done} kills ended in a run that is bit-identical to the unbroken one ({len(results)} runs)")


def measure_cost(folder: Path, rounds: int, images: int) -> None:
    table = make_table(folder, images)
    recipe = make_recipe(table, size=160, epochs=2, batch=32, policy="full", cache={"views": 0})
    times = {"every 30 s": [], "none": []}
    processor = {"every 30 s": [], "none": []}  # what others do on the machine changes these less
    spent = []

    for number in range(2 * rounds):
        name = ["every 30 s", "none", "none", "every 30 s"][number % 4]
        out = folder / f"cost-{number}"
        out.mkdir()
        with recipe.session(ONE_DEVICE, None) as settled:
            job = settled.prepare()
            checkpoints, writing = None, 0.0
            if name != "none":
                config = recipe.config.checkpoint.model_copy(update={"every_seconds": 30.0})
                checkpoints = Checkpoints(
                    CheckpointStore(out / "checkpoints"),
                    config,
                    record={},
                    interruption=Interruption(out, grace_seconds=1.0),
                )
                save = checkpoints.save

                def timed(*arguments, save=save, **options):
                    nonlocal writing
                    began = time.perf_counter()
                    save(*arguments, **options)
                    writing += time.perf_counter() - began

                checkpoints.save = timed
            started, worked = time.perf_counter(), time.process_time()
            job.train(Observers(Trackers([HistoryTracker(out / "history.jsonl"), ConsoleTracker()])), checkpoints)
            times[name].append(time.perf_counter() - started)
            processor[name].append(time.process_time() - worked)
            if checkpoints is not None:
                spent.append(writing / times[name][-1])
        shutil.rmtree(out)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        work, span = statistics.median(processor[name]), f"(min {min(values):.1f}, max {max(values):.1f})"
        print(f"{name:<10} {medians[name]:.1f} s  {span}, {work:.1f} s of CPU")
    print(f"ratio {medians['every 30 s'] / medians['none']:.3f} ({rounds} rounds)")
    print(f"share of the time spent in checkpoints: {statistics.median(spent):.2%}")


def measure_start(folder: Path, rounds: int) -> None:
    table = make_table(folder, 400)
    times = {"fresh": [], "resumed": []}
    kept = folder / "kept"
    for number in range(rounds + 1):
        out = folder / f"start-{number}"
        fresh = first_step(table, out, resume=False)
        if not number:  # the first one fills caches of the system, and leaves the run that is resumed
            out.rename(kept)
            continue
        times["fresh"].append(fresh)
        shutil.rmtree(out)
        shutil.copytree(kept, out)
        times["resumed"].append(first_step(table, out, resume=True))
        shutil.rmtree(out)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:<8} {medians[name]:.1f} s  (min {min(values):.1f}, max {max(values):.1f})")
    print(f"ratio {medians['resumed'] / medians['fresh']:.2f} ({rounds} rounds)")


def first_step(table: Path, out: Path, *, resume: bool) -> float:
    command = [sys.executable, __file__, "child", str(table), str(out), *(["--resume"] if resume else [])]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout.readline() != "step\n":
            raise SystemExit(f"{' '.join(command)} made no step")
        seconds = time.perf_counter() - started
        process.wait()
    return seconds


def run_child(table: Path, out: Path, *, resume: bool) -> None:
    """Say when the first new step is done, then leave; a fresh run leaves a checkpoint of its tenth step behind."""
    original, said = Checkpointer.on_train_batch_end, []

    def on_train_batch_end(self, batch, logs=None):
        original(self, batch, logs)
        if not said and not (self._resumes and batch < self._start.step):
            said.append(1)
            print("step", flush=True)
        if said and (resume or batch >= 9):
            os._exit(0)

    Checkpointer.on_train_batch_end = on_train_batch_end
    checkpoint = {"every_steps": 10}
    recipe = make_recipe(table, size=160, epochs=4, batch=16, policy="full", cache={"views": 0}, checkpoint=checkpoint)
    recipe.fit(out, resume=resume)


def main(part: str, kills: int, rounds: int, seed: int, images: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["KERAS_TRANSFER_CACHE"] = str(folder / "cache")
        if part in ("kills", "all"):
            measure_kills(folder, kills, seed)
        if part in ("cost", "all"):
            measure_cost(folder, rounds, images)
        if part in ("start", "all"):
            measure_start(folder, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["kills", "cost", "start", "all", "child"], nargs="?", default="all")
    parser.add_argument("paths", type=Path, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "child":
        run_child(*options.paths, resume=options.resume)
    else:
        main(options.part, options.kills, options.rounds, options.seed, options.images)
