"""Recordings that are longer than what the network hears are evaluated whole, though features are of a part of them."""

import keras
import numpy as np
import pytest

from keras_transfer import Backbone
from keras_transfer.backbones.audio.spectrogram import on_spectrograms
from keras_transfer.config.schema import AudioClassificationConfig, AudioHeadConfig
from keras_transfer.data.examples.recordings import GivenRecordings, GivenSamples, Recordings
from keras_transfer.data.readers.recordings import AudioReader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.heads import ClassificationHead
from keras_transfer.job.job import Job
from keras_transfer.model import build_model
from keras_transfer.training.policies import Phase

RATE, T = 16_000, 4000
CLASSES = ("low", "high")


def make_split(name, lengths):
    """Noise whose colour and level change from window to window."""
    random = np.random.default_rng(len(name))
    sounds = []
    for row, length in enumerate(lengths):
        noise = random.normal(0, 0.1, length) * np.linspace(0.1, 2.0, length)
        sounds.append(np.float32(noise if row % 2 else np.cumsum(noise) / 10))
    names = tuple(f"{name} {row}" for row in range(len(lengths)))
    recordings = Recordings(GivenRecordings(names, tuple(GivenSamples(sound, RATE) for sound in sounds)))
    return Split(name, recordings, np.arange(len(lengths)) % 2, np.ones(len(lengths), np.float32)), sounds


@pytest.fixture(scope="module")
def parts():
    return {
        "train": make_split("train", [3000, 4000] * 6),
        "validation": make_split("validation", [4000, 3500, 2000]),
        "test": make_split("test", [9000, 3000, 16_000, 4001]),
    }


@pytest.fixture
def job(parts):
    pixels = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="one_conv")(pixels)
    backbone = on_spectrograms(Backbone.from_keras(keras.Model(pixels, features), input_range=(-1, 1)))
    config = AudioClassificationConfig.model_validate({"task": "audio_classification", "data": {"source": "sounds"}})
    reader, prepared = AudioReader.fit(
        [split for split, _ in parts.values()],
        sample_rate=RATE,
        seconds=T / RATE,
        shortest=backbone.shortest,
        longest=None,
        padding="silence",
        augmentation=config.augmentation,
        seed=0,
        max_seconds=60.0,
    )
    keras.utils.set_random_seed(1)
    model = build_model(backbone.for_samples(T), ClassificationHead(CLASSES, AudioHeadConfig()))
    splits = Splits(TARGETS["class"](CLASSES), *prepared)
    phases = (Phase("head", (), 0, 1.0, "frozen", solve=True),)
    return Job(None, config, splits, splits, {}, reader, model, phases)


def average(model, sounds):
    """The mean of the trainer's predictions over windows, by NumPy."""
    means = []
    for sound in sounds:
        count = max(-(-len(sound) // T), 1)
        starts = [round(place * (len(sound) - T) / (count - 1)) for place in range(count)] if count > 1 else [0]
        windows = np.stack([np.pad(part := sound[start : start + T], (0, T - len(part))) for start in starts])
        logits = keras.ops.convert_to_numpy(model.trainer(windows))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        means.append((odds / odds.sum(axis=1, keepdims=True)).mean(axis=0))
    return np.array(means)


def test_predictions_of_a_job_are_means_over_windows(job, parts):
    model = job.model
    model.top.set_weights([0.1 * np.random.default_rng(0).normal(size=w.shape) for w in model.top.get_weights()])
    stages = len(model.backbone.stages)
    for split in (job.splits.validation, job.splits.test):
        expected = average(model, parts[split.name][1])
        for frozen in (0, stages):
            np.testing.assert_allclose(job.batches.predict(frozen, split), expected, atol=1e-5)


def test_the_solved_head_is_evaluated_as_the_model_will_be(job, parts):
    before = [weight.copy() for weight in job.model.top.get_weights()]
    baseline = job.baseline
    for weight, same in zip(before, job.model.top.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)
    baseline.put_on(job.model)
    for name in ("validation", "test"):
        np.testing.assert_allclose(baseline.predicted[name], average(job.model, parts[name][1]), atol=1e-4)
