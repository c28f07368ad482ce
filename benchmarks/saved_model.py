"""Milliseconds per image that a SavedModel takes: files of 640 x 480 pixels, and pixels that are decoded already."""

import argparse
import io
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image


def draw_jpeg(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    noise = Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8))
    with io.BytesIO() as file:
        noise.resize((640, 480)).save(file, "JPEG", quality=90)
        return file.getvalue()


def measure(signature: Any, inputs: dict[str, tf.Tensor], images: int, rounds: int) -> str:
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        signature(**inputs)["probabilities"].numpy()
        times.append(1000 * (time.perf_counter() - started) / images)
    times = times[1:]
    return f"median {statistics.median(times):.2f} ms per image (min {min(times):.2f}, max {max(times):.2f})"


def main(model: str, rounds: int) -> None:
    signatures = tf.saved_model.load(model).signatures
    size = signatures["serve_tensor"].structured_input_signature[1]["pixels"].shape[1]
    for batch in (1, 32):
        files = {"image_bytes": tf.constant([draw_jpeg(seed) for seed in range(batch)])}
        pixels = {"pixels": tf.zeros([batch, size, size, 3])}
        print(f"batch of {batch:>2}, files:  {measure(signatures['serving_default'], files, batch, rounds)}")
        print(f"batch of {batch:>2}, pixels: {measure(signatures['serve_tensor'], pixels, batch, rounds)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="RUN/export/saved_model/1 of a classifier of images with three channels")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    main(arguments.model, arguments.rounds)
