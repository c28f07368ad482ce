"""EfficientNet B0 to B7: one function for ImageNet's weights, however they are had."""

import keras
import numpy as np
import pytest

from keras_transfer.backbones import BACKBONES

MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")
PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")


def normalization(network):
    return next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))


@pytest.fixture(scope="module", params=[".h5", pytest.param(".keras", marks=pytest.mark.slow)])
def file(request, tmp_path_factory):
    """Weights of the form that ImageNet's have: the mean and the variance in the Normalization layer."""
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    layer = normalization(network)
    layer.set_weights([MEAN, STD**2, layer.get_weights()[2]])
    layer.finalize_state()
    path = tmp_path_factory.mktemp("weights") / f"efficientnetb0_notop{request.param}"
    network.save(path)
    return path


def theirs(file, replace_get_file):
    """What Keras builds for ``weights="imagenet"`` when the download gives our file."""
    keras_file = file
    if file.suffix == ".keras":
        keras_file = file.with_suffix(".weights.h5")
        keras.saving.load_model(file).save_weights(keras_file)
    replace_get_file(lambda *args, **kwargs: str(keras_file))
    return keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("way", ["pretrained", pytest.param("file", marks=pytest.mark.slow)])
def test_the_missing_factor_is_inserted(file, way, replace_get_file):
    want = theirs(file, replace_get_file)
    backbone = BACKBONES["efficientnet_b0"].load(
        image_size=32, weights="pretrained" if way == "pretrained" else str(file)
    )
    np.testing.assert_allclose(normalization(backbone.network).get_weights()[1], STD**3, rtol=1e-5)
    first = keras.Model(backbone.network.input, backbone.network.get_layer("stem_conv_pad").output)
    theirs_first = keras.Model(want.input, want.get_layer("stem_conv_pad").output)
    np.testing.assert_allclose(first(PIXELS), theirs_first(PIXELS), rtol=1e-5, atol=1e-5)
    plain = keras.ops.convert_to_numpy(want(PIXELS))
    np.testing.assert_allclose(backbone.network(PIXELS), plain, rtol=1e-3, atol=1e-3 * np.abs(plain).max())
    assert [type(layer) for layer in backbone.network.layers] == [
        type(layer) for layer in BACKBONES["efficientnet_b0"].build(32).layers
    ]


@pytest.mark.slow
def test_the_factor_is_inserted_once(file, tmp_path):
    once = BACKBONES["efficientnet_b0"].load(image_size=32, weights=str(file)).network
    once.save_weights(tmp_path / "once.weights.h5")
    twice = BACKBONES["efficientnet_b0"].load(image_size=32, weights=str(tmp_path / "once.weights.h5")).network
    np.testing.assert_array_equal(twice(PIXELS), once(PIXELS))


@pytest.mark.slow
def test_a_network_trained_from_scratch_is_unchanged(tmp_path):
    scratch = BACKBONES["efficientnet_b0"].build(32)
    scratch.save_weights(tmp_path / "scratch.weights.h5")
    again = BACKBONES["efficientnet_b0"].load(image_size=32, weights=str(tmp_path / "scratch.weights.h5")).network
    np.testing.assert_array_equal(again(PIXELS), scratch(PIXELS))
