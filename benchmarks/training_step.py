"""What the toolkit adds to a training step: the `full` policy against bare model.fit of the same network.

Both train every layer at 224 pixels on the same 192 images. The peer gets them decoded, in memory; the toolkit
streams them from files, with its callbacks and schedule. Rounds alternate; the ratio is of the medians.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_transfer.backbones import BACKBONES
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.config.schema import ImageHeadConfig
from keras_transfer.config.training import TrainingConfig
from keras_transfer.data.readers.base import steps_per_epoch
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model
from keras_transfer.trackers.built_in import ConsoleTracker, HistoryTracker
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.records import PhaseStarted
from keras_transfer.training.callbacks import BestWeights
from keras_transfer.training.observers import Observers, PhaseTracking
from keras_transfer.training.phase import Inputs, PlannedPhase, RunState, train_phase
from keras_transfer.training.policies import Phase

ROWS, BATCH, SIZE = 192, 32, 224


def main(rounds: int, batch_norm: str) -> None:
    splits = load_splits(ImageDataConfig(source="solar_cells", test=0.25), seed=0)
    rows = splits.train.select(range(ROWS))
    reader = ImageReader(
        image_size=SIZE, channels=3, resize="crop", augmentation=AugmentationConfig(), seed=0, max_pixels=10**8
    )
    labels = np.eye(2, dtype=np.float32)[rows.targets]
    batches = reader.evaluation_batches(rows, labels, batch_size=BATCH)
    parts = [(pixels.numpy(), targets.numpy()) for pixels, targets in batches]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))

    ours = build_model(
        BACKBONES["efficientnet_lite0"].load(image_size=SIZE),
        ClassificationHead(("a", "b"), ImageHeadConfig()),
    )
    # Loading gives a network with Keras' own BatchNorm layers; build_model makes faster ones of them.
    plain = BACKBONES["efficientnet_lite0"].load(image_size=SIZE)
    inputs = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(plain.network(plain.contract(inputs)))
    peer = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.2)(pooled)))
    stages = tuple(range(len(ours.backbone.stages)))
    training = TrainingConfig(batch_size=BATCH, keep="last")
    history = Path(tempfile.mkdtemp()) / "history.jsonl"

    steps = steps_per_epoch(len(rows), BATCH)

    def train_ours() -> None:
        stream = reader.training_batches(rows, labels, rows.weights, batch_size=BATCH, seed=0, epochs=range(2))
        phase = Phase("full", stages, 2, 1.0, batch_norm)
        train_phase(
            ours,
            PlannedPhase(phase, training, PhaseStarted("full", 1, 1, 2, steps)),
            Inputs(ours.trainer, stream, None),
            RunState(BestWeights(), Observers(Trackers([HistoryTracker(history), ConsoleTracker()]))),
        )

    def train_peer() -> None:
        clock = PhaseTracking(Trackers([HistoryTracker(history)]), PhaseStarted("peer", 1, 1, 2, steps))
        peer.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[clock])

    if batch_norm == "frozen":
        for layer in peer.get_layer("efficientnet_lite0").layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    peer.compile(
        keras.optimizers.AdamW(1e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )

    # The first epoch of a fit traces its graph: the second is what counts.
    def step_seconds(train: Callable[[], None]) -> float:
        train()
        return json.loads(history.read_text().splitlines()[-1])["seconds"] / steps

    times: dict[str, list[float]] = {"keras_transfer": [], "model.fit": []}
    for _ in range(rounds):
        times["keras_transfer"].append(step_seconds(train_ours))
        times["model.fit"].append(step_seconds(train_peer))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:<16} step {medians[name]:.3f} s  (min {min(values):.3f}, max {max(values):.3f})")
    print(f"ratio {medians['keras_transfer'] / medians['model.fit']:.3f}  (BatchNorm {batch_norm}, {rounds} rounds)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-norm", choices=["adapt", "frozen"], default="adapt")
    main(**vars(parser.parse_args()))
