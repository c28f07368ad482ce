"""The head policy on ELPV against bare prediction, which no training can beat, and against the Keras guide's way.

The guide (keras.io/guides/transfer_learning) trains a new layer on a frozen backbone inside `fit`; here for 12 epochs,
on images decoded beforehand. All run in this process, on an empty cache, with import and building of networks left
out; the second run of the recipe is a process of its own, start-up included, on the cache that the first one left.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from peer_keras import read

from keras_transfer import ImageClassification
from keras_transfer.backbones.images.efficientnet_lite0 import build_network, load_weights, weights_file
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import load_splits

SIZE, BATCH = 224, 32
DATA = {"source": "solar_cells", "validation": 0.0, "test": 0.25, "stratify": ["probability", "cell_type"]}


def run_recipe(seed: int, folder: Path) -> tuple[float, float]:
    recipe = ImageClassification(
        DATA, policy="head", seed=seed, training={"keep": "last"}, export={"formats": []}, head={"dropout": 0.0}
    )
    started = time.perf_counter()
    run = recipe.fit(folder)
    return time.perf_counter() - started, run.reports["test"].accuracy


def run_again(folder: Path) -> float:
    recipe = folder.parent / "recipe.yaml"
    recipe.write_bytes((folder / "recipe.yaml").read_bytes())
    command = ["keras_transfer.cli", "run", str(recipe), "--out", str(folder.parent / "again")]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def backbone() -> tuple[keras.Model, keras.Model]:
    """A frozen network from pixels to pooled features, and the same with a new layer on top."""
    network = build_network(SIZE)
    load_weights(network, weights_file())
    network.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = network(keras.layers.Rescaling(1 / 127.5, -1)(inputs), training=False)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, pooled), keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(pooled))


def main(seed: int, rounds: int, epochs: int) -> None:
    splits = load_splits(ImageDataConfig(**DATA), seed=seed)
    (x_train, y_train), (x_test, y_test) = read(splits.train), read(splits.test)
    x = np.concatenate([x_train, x_test])
    firsts, agains, predicts = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["KERAS_TRANSFER_CACHE"] = f"{folder}/cache"
            seconds, accuracy = run_recipe(seed, Path(folder, "first"))
            firsts.append(seconds)
            agains.append(run_again(Path(folder, "first")))
        features, _ = backbone()
        started = time.perf_counter()
        features.predict(x, batch_size=BATCH, verbose=0)
        predicts.append(time.perf_counter() - started)
    _, guide = backbone()
    guide.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    started = time.perf_counter()
    guide.fit(x_train, y_train, batch_size=BATCH, epochs=epochs, verbose=0)
    guide_seconds = time.perf_counter() - started
    guide_accuracy = float((guide.predict(x_test, verbose=0).argmax(1) == y_test).mean())

    first, again = statistics.median(firsts), statistics.median(agains)
    predict = min(predicts)  # a limit; now and then tf.data makes Keras' predict end late (see data/reader.py)
    print(f"{'':<46}{'seconds':>9}{'accuracy':>10}")
    print(f"{'head policy, first run':<46}{first:>9.1f}{accuracy:>10.4f}")
    print(f"{'head policy, second run, as a whole process':<46}{again:>9.1f}")
    print(f"{f'bare predict over the {len(x):,} images, fastest':<46}{predict:>9.1f}")
    print(f"{f'the Keras guide, {epochs} epochs of fit':<46}{guide_seconds:>9.1f}{guide_accuracy:>10.4f}")
    print(f"first run / bare predict: {first / predict:.2f}; the guide / first run: {guide_seconds / first:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    main(**vars(parser.parse_args()))
