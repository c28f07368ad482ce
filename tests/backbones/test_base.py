"""The input contract, and weights from files and run folders."""

import keras
import numpy as np
import pytest

from keras_transfer.backbones import BACKBONES, CAFFE, RAW, SIGNED, TORCH, InputContract

PIXELS = np.array([[[[0, 127.5, 255]]]], "float32")


def apply(contract, pixels=PIXELS):
    inputs = keras.Input(pixels.shape[1:], dtype=str(pixels.dtype))
    return keras.ops.convert_to_numpy(keras.Model(inputs, contract(inputs))(pixels)).ravel()


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (SIGNED, [-1, 0, 1]),
        (TORCH, [-0.485 / 0.229, 0.044 / 0.224, 0.594 / 0.225]),
        (CAFFE, [255 - 103.939, 127.5 - 116.779, -123.68]),
        (InputContract(2.0, (1.0, 2.0, 3.0)), [1, 257, 513]),
        (InputContract(channel_order="bgr"), [255, 127.5, 0]),
    ],
)
def test_contract(contract, expected):
    np.testing.assert_allclose(apply(contract), expected, rtol=1e-4, atol=1e-5)


def test_an_identity_contract_adds_no_layer():
    inputs = keras.Input((4, 4, 3))
    assert RAW(inputs) is inputs


def test_a_contract_accepts_integers_and_returns_float32_under_any_policy():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((1, 1, 3), dtype="uint8")
        assert SIGNED(inputs).dtype == "float32"
        np.testing.assert_allclose(apply(CAFFE, np.array([[[[10, 20, 30]]]], "uint8"))[0], 30 - 103.939, rtol=1e-6)
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_model_with_a_contract_can_be_saved(tmp_path):
    inputs = keras.Input((1, 1, 3))
    model = keras.Model(inputs, CAFFE(inputs))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(PIXELS), model(PIXELS))


def saved(network, path, kind, name=""):
    """Save a network as ``kind`` and return the path to name as ``weights``."""
    if kind == "run folder":
        inputs = keras.Input(network.input_shape[1:])
        x = keras.layers.GlobalAveragePooling2D()(network(SIGNED(inputs)))
        keras.Model(inputs, keras.layers.Dense(3)(x)).save(path / "model.keras")
        (path / "data.json").write_text("{}")
        recipe = f"task: image_classification\ndata: {{source: x}}\nbackbone: {{name: {name}}}\n"
        (path / "recipe.yaml").write_text(recipe)
        return path
    file = path / f"weights{kind}"
    if kind == ".weights.h5":
        network.save_weights(file)
    else:
        network.save(file)
    return file


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("kind", [".weights.h5", pytest.param(".h5", marks=pytest.mark.slow), ".keras", "run folder"])
@pytest.mark.parametrize("name", [pytest.param("mobilenet_v3_small", marks=pytest.mark.slow), "efficientnet_lite0"])
def test_weights_from_a_file(tmp_path, name, kind):
    row = BACKBONES[name]
    network = row.build(64)
    random = np.random.default_rng(0)
    network.set_weights([random.uniform(0.5, 1, x.shape).astype("float32") for x in network.get_weights()])
    wanted = network.get_weights()
    backbone = row.load(image_size=48, weights=str(saved(network, tmp_path, kind, name)))
    assert backbone.network.input_shape == (None, 48, 48, 3)
    assert backbone.weights.path.is_relative_to(tmp_path)
    for got, want in zip(backbone.network.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnext_tiny", "resnet50_v2"])
def test_networks_with_custom_layers_can_be_reloaded_from_a_keras_file(tmp_path, name):
    network = BACKBONES[name].build(32)
    file = saved(network, tmp_path, ".keras")
    backbone = BACKBONES[name].load(image_size=32, weights=str(file))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(backbone.network(pixels), network(pixels))


def test_the_size_that_a_backbone_was_trained_at_is_the_default():
    backbone = BACKBONES["mobilenet"].load(weights="none")
    assert backbone.image_size == 224
    assert backbone.network.input_shape == (None, 224, 224, 3)
    assert backbone.name == "mobilenet" and str(backbone.weights) == "none"
