"""The contract of every family of speech networks in KerasHub. Each is built small, saved as a preset and loaded."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer.backbones.audio.hub import find_speech_families, find_speech_source, list_speech_presets
from keras_transfer.backbones.audio.load import load_audio_backbone
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.stages import submodel

RATE = 16_000
SAMPLES = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)

# name: (converter, settings of the backbone, positions of a second, the longest recording in seconds)
FAMILIES = {
    "whisper": (
        keras_hub.layers.WhisperAudioConverter(num_mels=20, max_audio_length=1),
        {
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 8,
            "intermediate_dim": 16,
            "num_mels": 20,
            "max_encoder_sequence_length": 200,
        },
        50,
        2,
    ),
    "moonshine": (
        keras_hub.layers.MoonshineAudioConverter(do_normalize=True),
        {
            "filter_dim": 8,
            "encoder_num_layers": 2,
            "decoder_num_layers": 1,
            "hidden_dim": 8,
            "intermediate_dim": 16,
            "encoder_num_heads": 2,
            "decoder_num_heads": 2,
        },
        40,
        64,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def forget_networks():
    yield
    keras.backend.clear_session()


def test_all_families_are_covered():
    assert set(find_speech_families()) == set(FAMILIES)
    assert {*list_speech_presets().values()} == set(FAMILIES)
    assert list_speech_presets()["moonshine_tiny_en"] == "moonshine"
    assert find_speech_source("hub:whisper_tiny_en") == "whisper_tiny_en"
    assert find_speech_source("hub:resnet_18_imagenet") is None


def save(family, folder):
    converter, settings, _, _ = FAMILIES[family]
    network = find_speech_families()[family](vocabulary_size=11, **settings)
    network.save_to_preset(folder)
    converter.save_to_preset(folder)
    return network, converter


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family, tmp_path):
    network, converter = save(family, tmp_path / "preset")
    *_, positions, seconds = FAMILIES[family]
    backbone = load_audio_backbone(AudioBackboneConfig(name=str(tmp_path / "preset")))
    assert (backbone.sample_rate, backbone.longest) == (RATE, seconds * RATE)
    backbone = backbone.for_samples(RATE)
    assert backbone.network.output_shape == (None, positions, 8)

    # What KerasHub's own converter and network give.
    prepared = np.asarray(converter(SAMPLES))
    inputs = backbone.inputs()
    taken = backbone.prepare(inputs)
    model = keras.Model(inputs, [taken, backbone.network(taken)])
    ours, states = map(keras.ops.convert_to_numpy, model(SAMPLES))
    np.testing.assert_allclose(ours, prepared, atol=1e-4)
    whole = {
        name: np.ones((2, prepared.shape[1] if "encoder" in name else 1), np.int32)
        for name in network.input
        if name not in ("encoder_features", "encoder_input_values")
    }
    whole[backbone.network.input.name] = prepared
    expected = keras.ops.convert_to_numpy(network(whole)["encoder_sequence_output"])
    np.testing.assert_allclose(states, expected, atol=1e-4)

    alive = prepared
    for index, stage in enumerate(backbone.stages):
        assert stage.weights
        alive = submodel(backbone.network, backbone.stages, index, index + 1)(alive)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(alive), expected, atol=1e-4)

    write_keras_file(backbone.network, tmp_path / "network.keras")
    loaded = read_keras_file(tmp_path / "network.keras", BackboneError)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(prepared)), expected, atol=1e-4)


@pytest.mark.slow
def test_weights_of_a_file_and_random_ones(tmp_path):
    save("whisper", tmp_path / "preset")
    config = AudioBackboneConfig(name=f"hub:{tmp_path / 'preset'}")
    pretrained = load_audio_backbone(config)
    random = load_audio_backbone(config, weights=Weights.RANDOM)
    differ = [
        not np.array_equal(a, b)
        for a, b in zip(pretrained.network.get_weights(), random.network.get_weights(), strict=True)
    ]
    assert sum(differ) > len(differ) / 3
    assert random.describe() == pretrained.describe()
    pretrained.network.save_weights(tmp_path / "own.weights.h5")
    loaded = load_audio_backbone(config, weights=Weights.parse(tmp_path / "own.weights.h5"))
    for one, same in zip(pretrained.network.get_weights(), loaded.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        pytest.param(
            lambda f: (f / "audio_converter.json").unlink(), {}, "does not define its audio preprocessing", id="parts"
        ),
        pytest.param(
            lambda f: (f / "model.weights.h5").write_bytes(b"\x89HDF damaged"), {}, "Use a complete copy", id="damaged"
        ),
        pytest.param(lambda f: None, {"image_size": 64}, "takes recordings. Received: 64", id="image size"),
    ],
)
def test_bad_folders(change, settings, reason, tmp_path):
    save("whisper", tmp_path)
    change(tmp_path)
    with pytest.raises(BackboneError, match=reason):
        load_audio_backbone(AudioBackboneConfig(name=str(tmp_path)), **settings)


def test_a_preset_that_cannot_be_downloaded_is_named_with_what_to_do(monkeypatch):
    def refuse(*_):
        raise OSError("no network")

    monkeypatch.setattr(keras_hub.layers.AudioConverter, "from_preset", refuse)
    with pytest.raises(BackboneError, match=r"kagglehub.model_download\('keras/moonshine/Keras/moonshine_tiny_en/1'\)"):
        load_audio_backbone(AudioBackboneConfig(name="hub:moonshine_tiny_en"))
