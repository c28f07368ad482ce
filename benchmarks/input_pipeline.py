"""Images a second: the input pipeline alone, with every augmentation on, against the training step that it feeds."""

import argparse
import statistics
import time

import keras
import numpy as np

from keras_transfer.backbones import BACKBONES
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.config.schema import ImageHeadConfig
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model

SIZE, BATCH = 224, 32
EVERYTHING = AugmentationConfig(
    vertical_flip=True,
    quarter_turns=True,
    rotation=10,
    crop=0.2,
    zoom=0.1,
    shift=0.1,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    randaugment=5,
    erase=0.25,
    mixup=0.2,
    cutmix=1.0,
)


def main(rounds: int) -> None:
    rows = load_splits(ImageDataConfig(source="solar_cells"), seed=0).train
    reader = ImageReader(image_size=SIZE, channels=3, resize="crop", augmentation=EVERYTHING, seed=0, max_pixels=10**8)

    def pipeline_rate(epoch: int) -> float:
        batches = reader.training_batches(
            rows,
            np.eye(2, dtype=np.float32)[rows.targets],
            rows.weights,
            batch_size=BATCH,
            seed=0,
            epochs=range(epoch, epoch + 1),
        )
        iterator = iter(batches)
        next(iterator)
        started, count = time.perf_counter(), 0
        for pixels, _, _ in iterator:
            count += len(pixels)
        return count / (time.perf_counter() - started)

    model = build_model(
        BACKBONES["efficientnet_lite0"].load(image_size=SIZE),
        ClassificationHead(("a", "b"), ImageHeadConfig()),
    )
    for layer in model.backbone.network.layers:  # the fastest step there is: frozen BatchNorm
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.trainer.compile(keras.optimizers.AdamW(1e-4), loss, jit_compile=False)
    x = np.random.default_rng(0).uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype("float32")
    y = np.eye(2, dtype="float32")[np.arange(BATCH) % 2]
    model.trainer.train_on_batch(x, y)

    def step_rate() -> float:
        started = time.perf_counter()
        for _ in range(5):
            model.trainer.train_on_batch(x, y)
        return 5 * BATCH / (time.perf_counter() - started)

    pairs = [(pipeline_rate(epoch), step_rate()) for epoch in range(rounds)]
    pipeline, step = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"input pipeline alone   {pipeline:7.0f} images/s  (median of {rounds})")
    print(f"training step alone    {step:7.0f} images/s")
    print(f"ratio {pipeline / step:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
