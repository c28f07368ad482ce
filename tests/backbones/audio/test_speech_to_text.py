"""Networks that write transcripts: equal to KerasHub's, cut anywhere, saved and loaded."""

from dataclasses import dataclass

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer import BackboneError
from keras_transfer.backbones.audio.speech_to_text import load_speech_to_text
from keras_transfer.config import AudioBackboneConfig
from keras_transfer.heads.base import Head
from keras_transfer.model import build_model
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file

RATE = 16_000
FAMILIES = ["whisper", "moonshine"]


@pytest.fixture(autouse=True)
def forget_networks():
    yield
    keras.backend.clear_session()


@dataclass(frozen=True)
class Logits(Head):
    """As little of a head as can be."""

    embedding: keras.layers.Layer

    def pool(self, features):
        return keras.layers.Identity()(features)

    def read_out(self, pooled):
        return self.embedding(pooled, reverse=True)

    def final_layer(self):
        return keras.layers.Softmax()

    describe_pooling = encode = loss = epoch_metrics = is_solvable = None


def load(folder, **options):
    backbone = load_speech_to_text(AudioBackboneConfig(name=str(folder)), **options)
    return backbone.for_samples(RATE)


def draw(backbone):
    random = np.random.default_rng(0)
    tokens = random.integers(0, backbone.tokenizer.vocabulary_size, (2, 7)).astype(np.int32)
    samples = random.normal(0, 0.1, (2, RATE)).astype(np.float32)
    return {"samples": keras.ops.convert_to_tensor(samples), "token_ids": keras.ops.convert_to_tensor(tokens)}


@pytest.mark.parametrize("family", FAMILIES)
def test_network_is_that_of_keras_hub_wherever_it_is_cut(family, speech_preset, tmp_path):
    folder = speech_preset(family)
    backbone = load(folder)
    model = build_model(backbone, Logits(("text",), embedding=backbone.token_embedding))
    inputs = draw(backbone)

    whole = keras_hub.models.Backbone.from_preset(str(folder))
    prepared = np.asarray(keras_hub.layers.AudioConverter.from_preset(str(folder))(inputs["samples"]))
    if family == "whisper":
        prepared = prepared[:, :100]  # of 2 s
    padded = keras.ops.pad(inputs["token_ids"], ((0, 0), (0, 3)), constant_values=backbone.tokenizer.end)
    # What pads a transcript is masked there, and not here.
    taken = {"decoder_token_ids": padded, "decoder_padding_mask": np.arange(10)[None] < [[7], [7]]}
    if family == "whisper":
        taken["encoder_features"] = prepared
    else:
        taken |= {"encoder_input_values": prepared, "encoder_padding_mask": np.ones((2, RATE), bool)}
    states = whole(keras.tree.map_structure(keras.ops.convert_to_tensor, taken))["decoder_sequence_output"]
    expected = keras.ops.convert_to_numpy(whole.token_embedding(states, reverse=True))[:, :7]
    logits = keras.ops.convert_to_numpy(model.trainer({**inputs, "token_ids": padded}))[:, :7]
    np.testing.assert_allclose(logits, expected, atol=2e-4)
    assert np.abs(expected).max() > 0.01

    count = len(backbone.stages)
    assert {name: (part.start, part.stop) for name, part in backbone.parts.items()} == {
        "encoder": (0, backbone.parts["decoder"].start),
        "decoder": (backbone.parts["encoder"].stop, count),
    }
    alive = [len(stage.outputs) for stage in backbone.stages]
    assert alive == [2 if index in backbone.parts["decoder"] and index < count - 1 else 1 for index in range(count)]
    expected = keras.ops.convert_to_numpy(model.trainer(inputs))
    for stage in range(1, count + 1):
        boundary = keras.tree.flatten(model.frozen_part(stage)(inputs))
        assert [x.shape[1:] for x in boundary] == [
            tuple(7 if size is None else size for size in x.shape[1:]) for x in model.boundary(stage)
        ]
        boundary += [inputs[name] for name in model.extra_inputs(stage)]
        found = model.tail(stage)(boundary if len(boundary) > 1 else boundary[0])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-5)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(model.freeze(stage)(inputs)), expected, atol=1e-5)

    write_keras_file(backbone.network, tmp_path / "network.keras")
    loaded = read_keras_file(tmp_path / "network.keras", BackboneError)
    again = backbone.with_network(loaded)
    assert [stage.name for stage in again.stages] == [stage.name for stage in backbone.stages]
    found = again.token_embedding(loaded(again.prepare(inputs)), reverse=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-5)
