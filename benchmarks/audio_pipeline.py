"""Recordings per second: the input pipeline alone, with every augmentation, against the training step that it feeds."""

import argparse
import statistics
import time

import keras
import numpy as np

from keras_transfer.backbones.audio.load import load_audio_backbone
from keras_transfer.config.augmentation import AudioAugmentationConfig
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.config.schema import AudioHeadConfig
from keras_transfer.data.examples.recordings import GivenRecordings, GivenSamples, Recordings
from keras_transfer.data.readers.recordings import AudioReader
from keras_transfer.data.splits.splits import Split
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model

BATCH, ROWS, SECONDS, FILE_RATE = 32, 256, 5.0, 44_100
EVERYTHING = AudioAugmentationConfig(
    crop=True, gain=6.0, shift=0.1, noise=10.0, speed=0.1, time_mask=0.2, frequency_mask=0.2, mixup=0.2
)


def make_split() -> Split:
    """Recordings of 5 to 8 seconds, noise of many levels: what is in them takes no time."""
    random = np.random.default_rng(0)
    lengths = random.uniform(SECONDS, SECONDS + 3.0, ROWS)
    sounds = [random.normal(0.0, 0.1, int(length * FILE_RATE)).astype(np.float32) for length in lengths]
    names = tuple(f"recording {row}" for row in range(ROWS))
    recordings = Recordings(GivenRecordings(names, tuple(GivenSamples(sound, FILE_RATE) for sound in sounds)))
    return Split("train", recordings, np.arange(ROWS) % 2, np.ones(ROWS, np.float32))


def main(name: str, rounds: int, augmentation: AudioAugmentationConfig) -> None:
    backbone = load_audio_backbone(AudioBackboneConfig(name=name))
    started = time.perf_counter()
    reader, (rows,) = AudioReader.fit(
        [make_split()],
        sample_rate=backbone.sample_rate,
        seconds=SECONDS,
        shortest=backbone.shortest,
        longest=backbone.longest,
        padding="silence",
        augmentation=augmentation,
        seed=0,
        max_seconds=60.0,
    )
    print(f"decoded and resampled, once      {ROWS / (time.perf_counter() - started):7.0f} recordings/s")

    def pipeline_rate(epoch: int) -> float:
        targets = np.eye(2, dtype=np.float32)[rows.targets]
        batches = reader.training_batches(
            rows, targets, rows.weights, batch_size=BATCH, seed=0, epochs=range(epoch, epoch + 4)
        )
        iterator = iter(batches)
        next(iterator)
        started, count = time.perf_counter(), 0
        for samples, _, _ in iterator:
            count += len(samples)
        return count / (time.perf_counter() - started)

    model = build_model(backbone.for_samples(reader.samples), ClassificationHead(("a", "b"), AudioHeadConfig()))
    for layer in model.backbone.network.layers:  # the fastest step there is: frozen BatchNorm
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.trainer.compile(keras.optimizers.AdamW(1e-4), loss, jit_compile=False)
    x = np.random.default_rng(0).normal(0.0, 0.1, (BATCH, reader.samples)).astype("float32")
    y = np.eye(2, dtype="float32")[np.arange(BATCH) % 2]
    model.trainer.train_on_batch(x, y)

    def step_rate() -> float:
        started = time.perf_counter()
        for _ in range(5):
            model.trainer.train_on_batch(x, y)
        return 5 * BATCH / (time.perf_counter() - started)

    pairs = [(pipeline_rate(4 * number), step_rate()) for number in range(rounds)]
    pipeline, step = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"input pipeline alone             {pipeline:7.0f} recordings/s  (median of {rounds})")
    print(f"training step of {name:15s} {step:7.0f} recordings/s")
    print(f"ratio {pipeline / step:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="speech_embedding")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="without augmentation but crops")
    options = parser.parse_args()
    main(options.backbone, options.rounds, AudioAugmentationConfig() if options.plain else EVERYTHING)
