"""The encoders of KerasHub's networks for speech: equal to the whole, cut to a length, saved and loaded."""

import keras_hub
import numpy as np
import pytest

from keras_transfer.backbones.audio.speech_network import take_encoder
from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.stages import find_stages

RANDOM = np.random.default_rng(0)


def make_whisper():
    return keras_hub.models.WhisperBackbone(
        vocabulary_size=3, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, num_mels=5
    )


def make_moonshine():
    return keras_hub.models.MoonshineBackbone(
        vocabulary_size=3,
        filter_dim=8,
        encoder_num_layers=2,
        decoder_num_layers=1,
        hidden_dim=8,
        intermediate_dim=16,
        encoder_num_heads=2,
        decoder_num_heads=2,
    )


@pytest.mark.slow  # tests/contract/test_speech_families.py compares the same of presets
@pytest.mark.parametrize(
    ("make", "length", "positions"),
    [
        # Whisper has a position for two frames, an odd one included.
        pytest.param(make_whisper, 51, 26, id="whisper"),
        # Windows of 127, 7 and 3 at steps of 64, 3 and 2: 249, 81 and 40 of 16,000 samples.
        pytest.param(make_moonshine, 16_000, 40, id="moonshine"),
    ],
)
def test_encoder_equals_the_whole_network_and_reloads(make, length, positions, tmp_path):
    backbone = make()
    network = take_encoder(backbone, length, name="encoder")
    x = RANDOM.normal(size=(2, length, network.input_shape[-1])).astype(np.float32)
    inputs = {
        name: np.ones((2, length if "encoder" in name else 1), np.int32)
        for name in backbone.input
        if name not in ("encoder_features", "encoder_input_values")
    }
    inputs[network.input.name] = x
    expected = np.asarray(backbone(inputs)["encoder_sequence_output"])
    states = np.asarray(network(x))
    assert states.shape == (2, positions, 8)
    np.testing.assert_allclose(states, expected, atol=1e-5)

    stages = find_stages(network)
    assert sum("layer" in stage.name or "block" in stage.name or stage.name == "encoder" for stage in stages) >= 2
    assert all(len(stage.outputs) == 1 for stage in stages)
    assert not any("decoder" in weight.path for weight in network.weights)

    write_keras_file(network, tmp_path / "network.keras")
    loaded = read_keras_file(tmp_path / "network.keras", BackboneError)
    np.testing.assert_array_equal(np.asarray(loaded(x)), states)
    assert [stage.name for stage in find_stages(loaded)] == [stage.name for stage in stages]
