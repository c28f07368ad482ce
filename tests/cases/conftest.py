"""Finished runs whose predictions plain NumPy can compute: nothing is trained, and nothing is read from a folder."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_transfer import TASKS, ClassificationHead, ImageClassification, Run, TextClassification
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.data.targets.classes import ClassTarget

SIDE = 16
CLASSES = ("bird", "cat", "dog")
TOKENS, SEPARATOR = 50, 60


class Letters:
    """A tokenizer: a token per character, and one between the texts of a pair."""

    columns = ("token_ids", "padding_mask")
    padding = {"token_ids": 0}  # noqa: RUF012
    resources = ()

    def encode(self, texts, length):
        ids = np.zeros((len(texts), length), np.int32)
        for row, segments in enumerate(texts):
            tokens = letters(segments)[:length]
            ids[row, : len(tokens)] = tokens
        return {"token_ids": ids}


def letters(segments):
    tokens = []
    for segment in segments:
        tokens += [SEPARATOR] * bool(tokens) + [ord(character) % TOKENS + 1 for character in segment]
    return tokens


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def make_run(recipe, model, head, reader=None):
    run = object.__new__(Run)
    run.folder = run.path = Path("stub")
    run.config, run.task, run.record = recipe.config, TASKS[recipe.config.task], {}
    run.target = ClassTarget(CLASSES)
    run.__dict__ |= {"model": model, "head": head}
    run.__dict__["reader"] = reader or run.task.restore_reader(run)
    return run


@pytest.fixture(scope="session")
def image_model():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Flatten()(layers.AveragePooling2D(4)(layers.Rescaling(1 / 255)(inputs)))
    outputs = layers.Dense(3, "softmax", kernel_initializer=keras.initializers.HeNormal(seed=1))(x)
    return keras.Model(inputs, outputs)


@pytest.fixture(scope="session")
def make_image_run(image_model):
    """``make_image_run(root=...)``: a run on images of 16 x 16 pixels in three classes."""

    def make(**data):
        recipe = ImageClassification({"source": "unused", "image_size": SIDE, **data})
        return make_run(recipe, image_model, ClassificationHead(CLASSES, recipe.config.head))

    return make


@pytest.fixture(scope="session")
def image_run(make_image_run):
    return make_image_run()


@pytest.fixture(scope="session")
def expected_image(image_model):
    """From ``uint8[16, 16, 3]`` to the probabilities that the model must give."""
    kernel, bias = image_model.layers[-1].get_weights()

    def compute(pixels):
        blocks = np.asarray(pixels, np.float64).reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)) / 255
        return softmax(blocks.reshape(-1) @ kernel + bias)

    return compute


@pytest.fixture(scope="session")
def text_model():
    ids, mask = (keras.Input((None,), dtype="int32", name=name) for name in Letters.columns)
    table = keras.initializers.RandomNormal(stddev=2.0, seed=1)
    embedded = layers.Embedding(64, 8, embeddings_initializer=table, name="table")(ids)
    weights = ops.expand_dims(ops.cast(mask, "float32"), -1)
    pooled = ops.sum(embedded * weights, axis=1) / ops.sum(weights, axis=1)
    outputs = layers.Dense(3, "softmax", kernel_initializer=keras.initializers.HeNormal(seed=2), name="read_out")(
        pooled
    )
    return keras.Model({"token_ids": ids, "padding_mask": mask}, outputs)


@pytest.fixture(scope="session")
def make_text_run(text_model):
    """``make_text_run(text_pair=...)``: a run on texts of at most 64 characters in three classes."""

    def make(**data):
        recipe = TextClassification({"source": "unused.csv", "text": "review", **data})
        reader = TextReader(Letters(), segments=1 + ("text_pair" in data), limit=64, pads_to_longest=True)
        return make_run(recipe, text_model, ClassificationHead(CLASSES, recipe.config.head), reader)

    return make


@pytest.fixture(scope="session")
def text_run(make_text_run):
    return make_text_run()


@pytest.fixture(scope="session")
def expected_text(text_model):
    """From a text, or a pair of texts, to the probabilities that the model must give."""
    (table,) = text_model.get_layer("table").get_weights()
    kernel, bias = text_model.get_layer("read_out").get_weights()

    def compute(*segments):
        tokens = letters(segments)[:64] or [0]
        return softmax(table[tokens].astype(np.float64).mean(axis=0) @ kernel + bias)

    return compute
