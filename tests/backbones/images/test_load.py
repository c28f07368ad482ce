"""Backbones besides the rows of ``BACKBONES``, by name or as objects: KerasHub presets and custom models."""

import shutil

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer import Backbone, BackboneError, ImageClassification, Run
from keras_transfer.backbones import SIGNED

SIZE = 32


def own_model(size=SIZE, **options):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((size, size, 3))
    x = inputs
    for block in range(1, 6):
        x = keras.layers.Conv2D(8, 3, 2 if block < 3 else 1, padding="same", name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
    return keras.Model(inputs, x, name="mine", **options)


def recipe(images, backbone, **sections):
    return ImageClassification(
        {"source": str(images), "image_size": SIZE},
        backbone=backbone,
        policy={"name": "last_stages", "stages": 2},
        training={"epochs": 1, "batch_size": 8},
        **sections,
    )


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (-1, 1)])
def test_the_range_becomes_the_contract(low, high):
    backbone = Backbone.from_keras(own_model(), input_range=(low, high))
    assert (backbone.name, backbone.image_size, len(backbone.stages)) == ("mine", SIZE, 5)
    pixels = np.array([0.0, 51.0, 255.0], np.float32).reshape(1, 1, 1, 3)
    assert np.ravel(backbone.prepare(pixels)) == pytest.approx([low, low + (high - low) / 5, high], abs=1e-5)
    if (low, high) == (-1, 1):
        assert np.ravel(SIGNED(pixels)) == pytest.approx(np.ravel(backbone.prepare(pixels)), abs=1e-5)


@pytest.mark.slow
def test_a_recipe_trains_a_copy_and_the_run_is_self_contained(images, tmp_path):
    model = own_model()
    before = model.get_weights()
    given = Backbone.from_keras(model, input_range=(0, 1))
    run = recipe(images, given).fit(tmp_path / "run")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    # Three of five stages are frozen: they are the user's own.
    kept = {weight.path.split("/")[-2] + weight.name: weight.numpy() for weight in run.model.weights}
    own = {weight.path.split("/")[-2] + weight.name: weight.numpy() for weight in model.weights}
    same = {name for name in own if np.array_equal(own[name], kept[name])}
    assert {"block1_convkernel", "block3_convkernel"} <= same and "block5_convkernel" not in same
    assert len(Run(tmp_path / "run").predict(sorted(images.glob("*/*"))[:3])) == 3
    assert (tmp_path / "run/export/saved_model/1/saved_model.pb").is_file()
    with pytest.raises(BackboneError, match="mine was passed from Python"):
        ImageClassification.from_file(tmp_path / "run" / "recipe.yaml").prepare()


def test_a_file_gives_the_same_backbone_as_the_model(images, tmp_path):
    own_model().save(tmp_path / "mine.keras")
    name = {"name": str(tmp_path / "mine.keras"), "input_range": [-1, 1]}
    job = recipe(images, name).prepare()
    assert job.model.backbone.contract == Backbone.from_keras(own_model(), input_range=(-1, 1)).contract
    for mine, theirs in zip(job.model.backbone.network.weights, own_model().weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    random = recipe(images, {**name, "weights": "none"}).prepare().model.backbone.network
    assert not np.array_equal(random.weights[0], own_model().weights[0])


def test_a_model_for_any_size_uses_the_size_of_the_recipe(images, tmp_path):
    own_model(None).save(tmp_path / "mine.keras")
    name = {"name": str(tmp_path / "mine.keras"), "input_range": [0, 255]}
    assert recipe(images, name).prepare().model.backbone.image_size == SIZE
    with pytest.raises(BackboneError, match=r"takes images of any size\. Set data\.image_size"):
        ImageClassification(str(images), backbone=name).prepare()


def test_the_cache_distinguishes_models_of_the_same_name():
    def other(activation):
        inputs = keras.Input((SIZE, SIZE, 3))
        outputs = keras.layers.Conv2D(4, 3, activation=activation, name="conv")(inputs)
        return Backbone.from_keras(keras.Model(inputs, outputs, name="mine"), input_range=(0, 1)).describe()

    assert other("relu") != other("gelu")


@pytest.mark.parametrize("pooling", ["average", "max", "both"])
def test_tokens_are_pooled(images, pooling):
    inputs = keras.Input((SIZE, SIZE, 3))
    tokens = keras.layers.Reshape((-1, 6))(keras.layers.Conv2D(6, 8, 8)(inputs))
    backbone = Backbone.from_keras(keras.Model(inputs, tokens), input_range=(0, 1))
    model = ImageClassification(str(images), backbone=backbone, head={"pooling": pooling}).prepare().model
    x = np.random.default_rng(0).uniform(0, 1, (2, 16, 6)).astype("float32")
    expected = {"average": [x.mean(1)], "max": [x.max(1)], "both": [x.mean(1), x.max(1)]}[pooling]
    np.testing.assert_allclose(model.pooling(x), np.concatenate(expected, axis=1), atol=1e-5)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A small ViT with its preprocessing, as KerasHub saves one."""
    keras.utils.set_random_seed(0)
    body = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=(8, 8), num_layers=5, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    converter = keras_hub.layers.ViTImageConverter(image_size=(SIZE, SIZE), scale=1 / 127.5, offset=-1.0)
    folder = tmp_path_factory.mktemp("presets") / "preset"
    for part in (body, converter):
        part.save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="module")
def unusable(tmp_path_factory, preset):
    """A folder of files and presets that lack something."""
    folder = tmp_path_factory.mktemp("unusable")
    own_model().save(folder / "mine.keras")
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Lambda(lambda x: x)]).save(folder / "lambda.keras")
    (folder / "empty").mkdir()
    for name, missing in (("bare", "image_converter.json"), ("weightless", "model.weights.h5")):
        shutil.copytree(preset, folder / name, ignore=shutil.ignore_patterns(missing))
    return folder


@pytest.mark.slow
def test_a_preset_of_kerashub_trains_and_is_exported(command, images, preset, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("task: image_classification\ndata: {source: x}\n", encoding="utf-8")
    overrides = [f"data.source={images}", f"backbone.name=hub:{preset}", "training.batch_size=8"]
    overrides += ["policy.name=last_stages", "policy.stages=2", "training.epochs=1"]
    result = command("run", recipe, *overrides, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert f"SavedModel: {tmp_path / 'run'}" in result.stdout
    # Blocks are stages.
    assert "transformer_block_5" in result.stdout and "transformer_block_4" in result.stdout
    assert Run(tmp_path / "run").config.backbone.name == str(preset)


def test_backbones_lists_presets_for_images(command):
    rows = __import__("json").loads(command("backbones", "--json").stdout)
    row = next(row for row in rows if row["name"] == "hub:vit_base_patch16_224_imagenet")
    assert (row["modality"], row["family"]) == ("image", "vit")
    assert ".keras files of your own" in command("backbones").stdout


def test_a_model_of_another_kind():
    two = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    models = {
        "Take the part without its top": [
            keras.Model(two, keras.layers.Add()(two)),
            keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]),
        ],
        "Images are square": [keras.Sequential([keras.Input((SIZE, 48, 3)), keras.layers.Conv2D(2, 3)])],
    }
    for message, given in models.items():
        for model in given:
            with pytest.raises(BackboneError, match=message):
                Backbone.from_keras(model, input_range=(0, 1))
    with pytest.raises(BackboneError, match=r"Received: image_size=48"):
        Backbone.from_keras(own_model(), input_range=(0, 1), image_size=48)
    with pytest.raises(BackboneError, match=r"expected \(value of black, value of white\)"):
        Backbone.from_keras(own_model(), input_range=(1, 0))


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def test_a_model_without_a_graph():
    with pytest.raises(BackboneError, match=r"keras\.Model\(inputs, outputs\)"):
        Backbone.from_keras(Subclassed(), input_range=(0, 1))


@pytest.mark.parametrize(
    ("backbone", "needs"),
    [
        ({"name": "absent.keras", "input_range": [0, 1]}, ["no model file absent.keras"]),
        ({"name": "FILE"}, ["backbone.input_range", "[0, 255]"]),
        (
            {"name": "efficientnet_lite0", "input_range": [0, 1]},
            ["efficientnet_lite0 has an input range of its own", "Leave it out"],
        ),
        ({"name": "LAMBDA", "input_range": [0, 1]}, ["a Lambda layer", "could run arbitrary code"]),
        ({"name": "hub:vit_base_patch16_224_imagenot"}, ["Did you mean", "vit_base_patch16_224_imagenet"]),
        ({"name": "hub:bert_tiny_en_uncased"}, ["cannot classify images", "BertBackbone", "vit"]),
        ({"name": "hub:nonsense"}, ["no preset of KerasHub or folder named 'nonsense'", "keras-transfer backbones"]),
        ({"name": "EMPTY"}, ["is not a KerasHub preset", "save_to_preset()"]),
        ({"name": "BARE"}, ["image_converter.json", "preprocessor's save_to_preset()"]),
        ({"name": "WEIGHTLESS"}, ["cannot be loaded", "Use a complete copy of the folder"]),
    ],
)
def test_an_unusable_backbone_is_refused(images, unusable, backbone, needs):
    places = {"FILE": "mine.keras", "LAMBDA": "lambda.keras"}
    places |= {name.upper(): name for name in ("empty", "bare", "weightless")}
    name = backbone["name"]
    section = {**backbone, "name": str(unusable / places[name]) if name in places else name}
    with pytest.raises(BackboneError) as caught:
        recipe(images, section).prepare()
    assert [need for need in needs if need not in str(caught.value)] == []
