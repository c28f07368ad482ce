"""EfficientNet-Lite0: the converted weights reproduce the outputs of the original network."""

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from keras_transfer.backbones import BACKBONES, SIGNED
from keras_transfer.backbones.images.efficientnet_lite0 import build_network, load_weights, weights_file
from keras_transfer.backbones.images.torch_tensors import read_tensors


def test_it_classifies_two_photographs():
    network = build_network(224, classes=1000)
    load_weights(network, weights_file())
    pixels = keras.Input((224, 224, 3))
    model = keras.Model(pixels, keras.layers.Softmax()(network(SIGNED(pixels))))
    images = [
        Image.fromarray(load_sample_image(name)).resize((224, 224), Image.Resampling.BICUBIC)
        for name in ("flower.jpg", "china.jpg")
    ]
    probabilities = keras.ops.convert_to_numpy(model(np.stack(images).astype("float32")))
    assert probabilities.argmax(axis=1).tolist() == [985, 442]  # daisy, bell cote
    assert probabilities.max(axis=1).tolist() == pytest.approx([0.1556, 0.2330], abs=1e-3)


def test_the_backbone_holds_the_weights_of_the_file():
    backbone = BACKBONES["efficientnet_lite0"].load(image_size=64)
    tensors = [value for value in read_tensors(weights_file()).values() if value.ndim]
    assert str(backbone.weights) == "pretrained"
    assert backbone.image_size == 64
    np.testing.assert_array_equal(backbone.network.weights[0], tensors[0].transpose(2, 3, 1, 0))
    # The classifier's kernel and bias come last in the file; the network ends before them.
    np.testing.assert_array_equal(backbone.network.weights[-1], tensors[len(backbone.network.weights) - 1])
    assert len(tensors) == len(backbone.network.weights) + 2


def test_the_weights_file_can_be_given_by_path():
    row = BACKBONES["efficientnet_lite0"]
    named = row.load(image_size=32, weights=str(weights_file()))
    for got, want in zip(named.network.get_weights(), row.load(image_size=32).network.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_it_is_available_and_needs_no_download():
    row = BACKBONES["efficientnet_lite0"]
    assert row.available
    assert row.package == "keras-transfer[samples]"
