"""Backbones for images on spectrograms of recordings."""

import keras
import numpy as np
import pytest
from scipy.signal.windows import hann

from keras_transfer import Backbone, BackboneError, backbones
from keras_transfer.backbones import CAFFE, RAW, SIGNED, ImageBackbone
from keras_transfer.backbones.audio.load import load_audio_backbone, load_audio_copy
from keras_transfer.backbones.audio.spectrogram import fewest_samples, on_spectrograms, plan_frames
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.config.weights import Weights
from keras_transfer.networks.log_mel import mel_filters
from keras_transfer.networks.stages import find_stages

SIZE = 32


def network(size=SIZE, channels=3, bias=0.0):
    pixels = keras.Input((size, size, channels))
    x = keras.layers.Conv2D(4, 3, name="one_conv", bias_initializer=keras.initializers.Constant(bias))(pixels)
    return keras.Model(pixels, keras.layers.Conv2D(4, 3, name="two_conv")(x))


def backbone(contract=SIGNED, size=SIZE, channels=3):
    model = network(size, channels)
    return ImageBackbone(
        name="small",
        network=model,
        stages=find_stages(model),
        weights=Weights.RANDOM,
        contract=contract,
        image_size=size,
        channels=channels,
    )


def see(audio, samples):
    inputs = audio.inputs()
    return keras.ops.convert_to_numpy(keras.Model(inputs, audio.prepare(inputs))(np.atleast_2d(samples)))


def recording(samples, seed=0):
    seconds = np.arange(samples) / 16_000
    chirp = 0.2 * np.sin(2 * np.pi * (500 + 2000 * seconds / seconds[-1]) * seconds)
    return (chirp + np.random.default_rng(seed).normal(0, 1e-3, samples)).astype(np.float32)


def test_the_image_matches_the_definition():
    samples = recording(9_000)
    audio = on_spectrograms(backbone(SIGNED)).for_samples(9_000)
    # 32 windows of two hops cover 33 hops; what is left over is cut at both ends.
    hop, transform = 9_000 // 33, 1024
    window, used = 2 * hop, 31 * hop + 2 * hop
    cut = samples[(9_000 - used) // 2 :][:used].astype(np.float64) * 4 / window
    pieces = np.stack([cut[k * hop : k * hop + window] for k in range(32)]) * hann(window, sym=False)
    filters = mel_filters(16_000, SIZE, lowest=0, highest=8000, norm="mean")(transform)
    power = np.abs(np.fft.rfft(pieces, transform)) ** 2 @ filters
    decibels = 10 * np.log10(np.maximum(power, 1e-14)).T[::-1]
    pixels = np.clip((decibels - decibels.max() + 80) / 80, 0, 1) * 255
    np.testing.assert_allclose(see(audio, samples)[0], np.stack([pixels / 127.5 - 1] * 3, axis=-1), atol=2e-3)


def test_a_tone_is_a_line_that_rises_with_its_pitch_and_silence_is_black():
    audio = on_spectrograms(backbone(CAFFE)).for_samples(16_000)
    seconds = np.arange(16_000) / 16_000
    tones = [0.5 * np.sin(2 * np.pi * pitch * seconds) for pitch in (300, 1000, 3000)]
    images = see(audio, np.stack([*tones, 1e-2 * tones[0], np.zeros(16_000)]).astype(np.float32))
    blue = images[..., 0] + 103.939  # as CAFFE's contract has it
    rows = blue.mean(axis=2).argmax(axis=1)
    assert rows[0] > rows[1] > rows[2] > 0
    # A recording that is 40 dB softer is the same image.
    np.testing.assert_allclose(blue[3], blue[0], atol=1.0)
    np.testing.assert_allclose(blue[4], 0, atol=1e-4)


@pytest.mark.parametrize("name", ["RAW", "SIGNED", "TORCH", "CAFFE"])
def test_the_contract_of_the_backbone_is_applied_to_the_image(name):
    contract = getattr(backbones, name)
    samples = recording(16_000)
    image, prepared = (see(on_spectrograms(backbone(c)).for_samples(16_000), samples) for c in (RAW, contract))
    assert 0 <= image.min() < 60 and image.max() == 255
    inputs = keras.Input(image.shape[1:])
    expected = keras.Model(inputs, keras.layers.Identity()(contract(inputs)))(image)
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_presets_of_keras_hub_for_images_take_recordings(name, tmp_path):
    import keras_hub

    settings = {
        "vit": dict(image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16),
        "resnet": dict(
            image_shape=(None, None, 3),
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
        ),
    }
    family = {"vit": keras_hub.models.ViTBackbone, "resnet": keras_hub.models.ResNetBackbone}[name]
    converter = {"vit": keras_hub.layers.ViTImageConverter, "resnet": keras_hub.layers.ResNetImageConverter}[name]
    family(**settings[name]).save_to_preset(str(tmp_path))
    converter(image_size=(32, 32), scale=1 / 255).save_to_preset(str(tmp_path))
    audio = load_audio_backbone(AudioBackboneConfig(name=str(tmp_path))).for_samples(16_000)
    inputs = audio.inputs()
    outputs = keras.Model(inputs, audio.network(audio.prepare(inputs)))(recording(16_000)[None])
    assert np.isfinite(outputs).all() and np.ptp(outputs) > 0 and len(audio.stages) > 1


@pytest.mark.parametrize("width", [32, 224])
@pytest.mark.parametrize("seconds", [0.3, 1, 5, 14, 60])
def test_columns_cover_the_recording(seconds, width):
    samples = max(int(16_000 * seconds), fewest_samples(width))
    frames = plan_frames(samples, width)
    assert (frames.samples - frames.window) // frames.hop + 1 == width * frames.averaged
    assert frames.window == max(400, 2 * frames.hop) and 1 <= frames.hop <= 512
    # Less than one hop per column would be left over for a longer one.
    assert 0 <= samples - frames.samples < width * frames.averaged + 1


def test_long_recordings_average_several_frames_for_a_column():
    audio = on_spectrograms(backbone()).for_samples(60 * 16_000)
    assert see(audio, recording(60 * 16_000)).shape == (1, SIZE, SIZE, 3)
    assert audio.longest is None


def test_a_backbone_for_images_is_named_as_in_recipes_for_images():
    audio = load_audio_backbone(AudioBackboneConfig(name="efficientnet_lite0"), image_size=64)
    assert (audio.name, audio.sample_rate, audio.samples) == ("efficientnet_lite0", 16_000, 80_000)
    assert audio.network.input_shape == (None, 64, 64, 3) and str(audio.weights) == "pretrained"
    other = audio.for_samples(20_000)
    assert other.network is audio.network and other.describe() != audio.describe()
    with pytest.raises(BackboneError, match=r"takes recordings of 0\.088 s or more"):
        audio.for_samples(1400)


def test_the_range_of_a_keras_file_must_be_given_if_it_is_unknown(tmp_path):
    network().save(tmp_path / "mine.keras")
    with pytest.raises(BackboneError, match="input_range"):
        load_audio_backbone(AudioBackboneConfig(name=str(tmp_path / "mine.keras")))
    config = AudioBackboneConfig(name=str(tmp_path / "mine.keras"), input_range=(-1.0, 1.0))
    assert load_audio_backbone(config).network.output_shape == (None, 28, 28, 4)


def test_backbones_of_other_inputs_are_refused():
    with pytest.raises(BackboneError, match="minilm is for text input, and this recipe has audio input"):
        load_audio_backbone(AudioBackboneConfig(name="minilm"))
    with pytest.raises(BackboneError, match="speech_embedding takes recordings"):
        load_audio_backbone(AudioBackboneConfig(), image_size=64)


def test_models_from_python_are_copied():
    model = network(channels=1, bias=0.5)
    audio = load_audio_copy(Backbone.from_keras(model, input_range=(0, 1)), Weights.PRETRAINED)
    assert see(audio, recording(80_000)).shape == (1, SIZE, SIZE, 1)
    assert audio.network is not model and np.allclose(audio.network.get_weights()[1], 0.5)
    again = load_audio_copy(audio, Weights.RANDOM)
    assert again.network is not audio.network and again.samples == audio.samples
    assert not np.allclose(again.network.get_weights()[0], audio.network.get_weights()[0])
