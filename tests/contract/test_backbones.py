"""The contract of every registered backbone. Networks are built with random weights, at the smallest size."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_transfer.backbones import BACKBONES, RAW
from keras_transfer.backbones.images.applications import APPLICATIONS
from keras_transfer.networks.stages import submodel

# The default tests build a few kinds of network; what is expected of pixels is tested for all of them.
FAST = {"efficientnet_lite0", "mobilenet_v3_small"}
NAMES = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
    for name in BACKBONES
    if BACKBONES[name].modality == "image"
]


@pytest.fixture
def forget_networks():
    """Of some, one takes half a gigabyte. To look for what can be forgotten takes a second or two."""
    yield
    keras.backend.clear_session()


def _load_as_pretrained(name, size, monkeypatch, replace_get_file):
    """Load with ``weights="pretrained"``, keep the random weights, and return the files that Keras requests."""
    asked = []
    replace_get_file(lambda fname, *a, **k: asked.append(fname) or fname)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *a, **k: None)
    return BACKBONES[name].load(image_size=size), asked


def _preprocessing_layers(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _preprocessing_layers(layer)
        elif isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            yield type(layer).__name__
        elif isinstance(layer, keras.layers.Conv2D):
            return


def test_every_network_of_keras_applications_has_a_row():
    classes = {name for name, value in vars(keras.applications).items() if inspect.isfunction(value)}
    assert {application.class_name for application in APPLICATIONS.values()} == classes
    assert set(APPLICATIONS) <= set(BACKBONES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("forget_networks")
def test_backbone(name, monkeypatch, replace_get_file):
    row = BACKBONES[name]
    backbone, asked = _load_as_pretrained(name, row.minimum_size, monkeypatch, replace_get_file)
    network, stages = backbone.network, backbone.stages

    assert network.count_params() == row.parameters
    assert len(stages) == row.stages
    if name in APPLICATIONS:
        assert asked == [APPLICATIONS[name].file_name(row.minimum_size)]

    kinds = list(_preprocessing_layers(network))
    # EfficientNet's Normalization starts with a Rescaling; none may be there twice.
    assert len(set(kinds)) == len(kinds)
    assert bool(kinds) == (row.contract == RAW), "pixels must be prepared once, inside or outside"

    assert 5 <= len(stages) <= 25
    assert [stage.index for stage in stages] == list(range(len(stages)))
    assert len({stage.name for stage in stages}) == len(stages)
    assert all(stage.weights for stage in stages), "a stage without weights"
    in_stages = [id(weight) for stage in stages for weight in stage.weights]
    assert len(in_stages) == len(set(in_stages)), "a weight lies in two stages"
    assert set(in_stages) == {id(weight) for weight in network.weights}, "a weight lies in no stage"
    assert sum(stage.parameters for stage in stages) == row.parameters

    pixels = np.random.default_rng(0).uniform(0, 255, (1, row.minimum_size, row.minimum_size, 3)).astype("float32")
    whole = keras.ops.convert_to_numpy(network(pixels))
    assert whole.ndim == 4 and np.ptp(whole) > 0
    alive = pixels
    for index in range(len(stages)):
        alive = submodel(network, stages, index, index + 1)(alive)
    assert np.abs(keras.ops.convert_to_numpy(alive) - whole).max() == 0.0


@pytest.mark.parametrize("name", [name for name in APPLICATIONS if APPLICATIONS[name].contract != RAW])
def test_contract_matches_preprocess_input(name):
    make = getattr(keras.applications, APPLICATIONS[name].class_name)
    theirs = inspect.getmodule(inspect.unwrap(make)).preprocess_input
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    inputs = keras.Input((8, 8, 3))
    ours = keras.Model(inputs, BACKBONES[name].contract(inputs))(pixels)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours), theirs(pixels.copy()), atol=2e-5)


@pytest.mark.parametrize("name", [name for name in APPLICATIONS if APPLICATIONS[name].contract == RAW])
def test_keras_does_not_preprocess_pixels_for_a_network_that_takes_them_raw(name):
    make = getattr(keras.applications, APPLICATIONS[name].class_name)
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    module = inspect.getmodule(inspect.unwrap(make))
    np.testing.assert_array_equal(module.preprocess_input(pixels.copy()), pixels)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet", 128),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("mobilenet", 200), ("mobilenet_v2", 96), ("mobilenet_v2", 224))
        ),
    ],
)
def test_file_of_a_network_with_weights_for_several_sizes(name, size, monkeypatch, replace_get_file):
    _, asked = _load_as_pretrained(name, size, monkeypatch, replace_get_file)
    assert asked == [APPLICATIONS[name].file_name(size)]


def test_available_is_whether_the_file_exists(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_transfer.backbones.images.applications._KERAS_HOME", Path(tmp_path))
    assert not BACKBONES["resnet50"].available
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / APPLICATIONS["resnet50"].file_name(224)).touch()
    assert BACKBONES["resnet50"].available
    assert BACKBONES["resnet50"].weights_file().parent == tmp_path / "models"
