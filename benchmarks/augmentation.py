"""Images a second: random changes and mixing of examples, against the layers of Keras that do the same.

Both change the same batches of 32 images of 224 pixels in a tf.data pipeline, which makes nothing else; rounds
alternate. "resumes" tells whether the third batch comes out the same where a pipeline begins with it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation.augment import augment, draw, is_identity
from keras_transfer.data.augmentation.mixing import mix

SIZE, BATCH, CLASSES, STEPS = 224, 32, 10, 8
LAYERS = {
    "randaugment": (5, lambda: keras.layers.RandAugment(factor=0.5, seed=0)),
    "erase": (1.0, lambda: keras.layers.RandomErasing(factor=(1.0, 1.0), fill_value=127.0, seed=0)),
    "mixup": (0.2, lambda: keras.layers.MixUp(alpha=0.2, seed=0)),
    "cutmix": (1.0, lambda: keras.layers.CutMix(factor=(1.0, 1.0), seed=0)),
}
Step = Callable[[Any], Any]


def batch() -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]
    return tf.constant(pixels), tf.constant(targets), tf.ones(BATCH)


def ours(option: str) -> Step:
    pixels, targets, weights = batch()
    config = AugmentationConfig(horizontal_flip=False, **{option: LAYERS[option][0]})
    changes = not is_identity(config)

    def step(number: Any) -> Any:
        examples = number * BATCH + tf.range(BATCH, dtype=tf.int64)
        draws = tf.map_fn(lambda row: draw(0, tf.constant(0, tf.int64), row), examples, fn_output_signature=tf.float32)
        changed = augment(pixels, draws, config) if changes else pixels
        return mix(changed, targets, weights, draws, config)[0]

    return step


def of_keras(option: str) -> Step:
    pixels, targets, _ = batch()
    layer = LAYERS[option][1]()

    def step(number: Any) -> Any:
        del number  # there is nowhere to put it
        return layer({"images": pixels, "labels": targets}, training=True)["images"]

    return step


def stream(step: Step, first: int, count: int) -> Any:
    return tf.data.Dataset.range(first, first + count).map(step, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def rate(step: Step) -> float:
    batches = iter(stream(step, 0, STEPS + 1))
    next(batches)
    started = time.perf_counter()
    for pixels in batches:
        pixels.numpy()
    return STEPS * BATCH / (time.perf_counter() - started)


def resumes(make: Callable[[str], Step], option: str) -> bool:
    third = list(stream(make(option), 0, 3))[2].numpy()
    return np.array_equal(third, next(iter(stream(make(option), 2, 1))).numpy())


def main(rounds: int) -> None:
    print(f"{'':<12} {'keras_transfer':>14} {'keras.layers':>14} {'ratio':>6}   resumes: ours, Keras'")
    for option in LAYERS:
        steps = ours(option), of_keras(option)
        pairs = [tuple(rate(step) for step in steps) for _ in range(rounds)]
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        exact = ["yes" if resumes(make, option) else "no" for make in (ours, of_keras)]
        print(f"{option:<12} {mine:12.0f}/s {theirs:12.0f}/s {mine / theirs:6.2f}   {', '.join(exact)}", flush=True)
    print(f"medians of {rounds} rounds of {STEPS} batches")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
