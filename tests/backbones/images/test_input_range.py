import keras
import numpy as np
import pytest

from keras_transfer import Backbone, BackboneError
from keras_transfer.backbones.base import find_input_range


def model(*first):
    layers = [*first, keras.layers.Conv2D(4, 3, 2), keras.layers.Conv2D(4, 3, 2)]
    return keras.Sequential([keras.Input((16, 16, 3)), *layers], name="mine")


def adapted(low, high):
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(low, high, (8, 16, 16, 3)))
    return layer


STANDARD_DEVIATIONS = (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: keras.layers.Rescaling(1 / 255), (0, 255)),
        (lambda: keras.layers.Rescaling(1 / 127.5, -1.0), (0, 255)),
        (lambda: keras.layers.Rescaling([1 / (255 * x) for x in STANDARD_DEVIATIONS], [-2.1, -2.0, -1.8]), (0, 255)),
        (lambda: keras.layers.Rescaling(2.0, -1.0), (0, 1)),
        (lambda: keras.layers.Rescaling(255.0), (0, 1)),
        (lambda: adapted(0, 255), (0, 255)),
        (lambda: adapted(0, 1), (0, 1)),
        # What these take is anyone's guess.
        (lambda: keras.layers.Rescaling(1.0), None),
        (lambda: keras.layers.Rescaling(1e-6), None),
        (lambda: adapted(-1, 1), None),
        (lambda: keras.layers.ReLU(), None),
    ],
)
def test_the_input_range_is_inferred_from_the_first_layer(make, expected):
    assert find_input_range(model(make())) == expected


def test_a_layer_within_a_model_within_the_model():
    inner = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255)])
    assert find_input_range(model(inner)) == (0, 255)


def test_an_efficientnet_of_keras_takes_raw_pixels():
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert find_input_range(network) == (0, 255)


def test_a_bare_model_becomes_a_backbone_if_its_range_is_known():
    backbone = Backbone.from_keras(model(keras.layers.Rescaling(1 / 255)))
    pixels = np.array([0.0, 51.0, 255.0], np.float32).reshape(1, 1, 1, 3)
    assert np.ravel(backbone.prepare(pixels)) == pytest.approx([0, 51, 255])
    with pytest.raises(
        BackboneError, match=r"that mine takes is not known.*from_keras\(model, input_range=\(0, 255\)\)"
    ):
        Backbone.from_keras(model())
