"""Networks for images of other than three channels."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_transfer import Backbone, BackboneError, DataError, ImageClassification, Run
from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.base import CAFFE, TORCH, InputContract
from keras_transfer.backbones.images.channels import with_channels

SIZE = 32


def own_model(channels=3, *, normalization=None):
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((SIZE, SIZE, channels))
    if normalization is not None:
        x = keras.layers.Normalization(**normalization, name="normalization")(x)
    stem = [keras.layers.Conv2D(8, 3, 2, padding="same", name="stem_conv"), keras.layers.ReLU()]
    x = keras.Sequential(stem, name="stem")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="block1_conv")(x)
    return keras.Model(inputs, x, name="mine")


def own_backbone(**options):
    return Backbone.from_keras(own_model(**options), input_range=(-1, 1))


def features(backbone, pixels):
    return keras.ops.convert_to_numpy(backbone.network(backbone.prepare(pixels), training=False))


def grey(channels):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 1)).astype("float32")
    return np.repeat(pixels, channels, axis=-1)


@pytest.mark.parametrize("channels", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_grey_images_have_the_features_of_their_copies_in_three_channels(channels):
    for backbone in (BACKBONES["efficientnet_lite0"].load(image_size=SIZE), own_backbone()):
        adapted = with_channels(backbone, channels)
        assert (adapted.channels, len(adapted.stages)) == (channels, len(backbone.stages))
        expected = features(backbone, grey(3))
        np.testing.assert_allclose(features(adapted, grey(channels)), expected, atol=1e-5 * np.abs(expected).max())


def test_colour_weights_are_unchanged_and_further_channels_start_as_their_mean():
    backbone = BACKBONES["efficientnet_lite0"].load(image_size=SIZE)
    adapted = with_channels(backbone, 5)
    stem, *rest = (weight.numpy() for weight in adapted.network.weights)
    own, *others = (weight.numpy() for weight in backbone.network.weights)
    np.testing.assert_array_equal(stem[:, :, :3], own)
    for channel in (3, 4):
        np.testing.assert_allclose(stem[:, :, channel], own.mean(axis=2), atol=1e-7)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(rest, others, strict=True))
    # If the further channels are black in the network's units, only the colours matter.
    pixels = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 5)).astype("float32")
    pixels[..., 3:] = 127.5
    np.testing.assert_allclose(features(adapted, pixels), features(backbone, pixels[..., :3]), atol=1e-4)


def test_means_and_variances_of_channels_are_extended():
    settings = {"mean": [10.0, 20.0, 60.0], "variance": [4.0, 9.0, 2.0]}
    config = with_channels(own_backbone(normalization=settings), 4).network.get_layer("normalization").get_config()
    assert np.ravel(config["mean"]).tolist() == [10.0, 20.0, 60.0, 30.0]
    assert np.ravel(config["variance"]).tolist() == [4.0, 9.0, 2.0, 5.0]

    adapted = own_backbone(normalization={})
    layer = adapted.network.get_layer("normalization")
    layer.set_weights([np.array([1.0, 2.0, 6.0]), np.array([4.0, 9.0, 2.0]), np.array(0)])
    mean, variance, _ = with_channels(adapted, 1).network.get_layer("normalization").get_weights()
    assert (mean.tolist(), variance.tolist()) == ([3.0], [5.0])


@pytest.mark.parametrize("contract", [TORCH, CAFFE, InputContract(2.0, (1.0, 2.0, 3.0))])
def test_contracts_of_each_channel_are_extended(contract):
    backbone = BACKBONES["efficientnet_lite0"].load(image_size=SIZE, weights="none")
    pixels = np.random.default_rng(0).uniform(0, 255, (1, SIZE, SIZE, 5)).astype("float32")
    five = with_channels(type(backbone)(**{**vars(backbone), "contract": contract}), 5)
    prepared = keras.ops.convert_to_numpy(five.prepare(pixels))
    np.testing.assert_allclose(prepared[..., :3], contract(pixels[..., :3]), rtol=1e-5)
    scale, offset = (np.mean(np.broadcast_to(value, 3)) for value in (contract.scale, contract.offset))
    np.testing.assert_allclose(prepared[..., 3:], pixels[..., 3:] * scale + offset, rtol=1e-4, atol=1e-4)


def waves(channels, count=24):
    """Noise, brighter in the last channel for one class."""
    random = np.random.default_rng(1)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 150, (count, SIZE, SIZE, channels))
    pixels[..., -1] += 100 * labels[:, None, None]
    return pixels.astype(np.uint8), np.array(["dim", "bright"])[labels]


def recipe(source, channels, **sections):
    return ImageClassification(
        {"source": source, "image_size": SIZE, "channels": channels, "leaks": "off"},
        **{"training": {"epochs": 1, "batch_size": 8}, "cache": {"views": 0}, "backbone": own_backbone(), **sections},
    )


@pytest.mark.slow
def test_arrays_of_many_channels_are_learned_served_and_started_from(tmp_path):
    pixels, labels = waves(6)
    own_model().save(tmp_path / "mine.keras")
    backbone = {"name": str(tmp_path / "mine.keras"), "input_range": [-1.0, 1.0]}
    training = {"epochs": 1, "batch_size": 8, "keep": "last"}  # the solved head is right on all rows
    run = recipe((pixels, labels), 6, backbone=backbone, policy="lp_ft", training=training).fit(tmp_path / "run")
    assert run.model.input_shape == (None, SIZE, SIZE, 6)
    assert Run(run.folder).evaluate(data=(pixels, labels)).accuracy == 1.0
    np.save(tmp_path / "one.npy", pixels[1])
    (said,) = run.predict([tmp_path / "one.npy"])
    assert said.label == "bright"
    # The export was verified on raw files in NumPy's format.
    assert (run.folder / "export/saved_model/1/saved_model.pb").is_file()
    assert {file.read_bytes()[:6] for file in (run.folder / "samples").iterdir()} == {b"\x93NUMPY"}

    following = recipe((pixels, labels), 6, backbone={**backbone, "weights": str(run.folder)}).prepare()
    loaded, trained = following.model.backbone.network.weights, run.model.get_layer("mine").weights
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(loaded, trained, strict=True))
    fresh = recipe((pixels, labels), 6, backbone=backbone).prepare().model.backbone.network.weights
    assert not np.array_equal(loaded[0], fresh[0])


def test_alpha_is_the_fourth_channel_and_is_composed_on_white_for_one():
    pixels, labels = waves(4)
    alpha = pixels[..., 3:] / 255
    grey = (pixels[..., :3] * alpha + 255 * (1 - alpha)) @ [[0.2989], [0.5870], [0.1140]]
    for channels, expected in ((4, pixels), (1, grey)):
        job = recipe((pixels, labels), channels).prepare()
        rows = [int(name.removeprefix("row ")) - 1 for name in job.splits.train.examples.names]
        (shown,) = job.reader.evaluation_batches(job.splits.train, batch_size=len(rows)).map(lambda batch, *_: batch)
        np.testing.assert_allclose(shown, expected[rows], atol=0.1)


def test_a_model_for_other_channels_is_not_adapted():
    backbone = own_backbone(channels=5)
    assert with_channels(backbone, 5) is backbone
    with pytest.raises(BackboneError, match=r"takes images of 5 channels\. Received: data\.channels=3"):
        recipe(waves(3), 3, backbone=backbone).prepare()


def test_a_network_that_divides_its_channels_cannot_be_adapted():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    split = keras.layers.Conv2D(6, 3, groups=3)(inputs)
    backbone = Backbone.from_keras(keras.Model(inputs, split, name="grouped"), input_range=(0, 1))
    with pytest.raises(BackboneError, match=r"grouped cannot be built for images of 4 channels.*data\.channels=3"):
        with_channels(backbone, 4)


def test_images_with_other_channels_are_named(tmp_path):
    pixels, labels = waves(6)
    with pytest.raises(DataError, match=r"24 of 24 images cannot be read[\s\S]*6 channels; data\.channels is 5"):
        recipe((pixels, labels), 5).prepare()
    with pytest.raises(DataError, match=r"6 channels; data\.channels is 3"):
        recipe((pixels, labels), 3).prepare()
    with pytest.raises(DataError, match=r"3 channels; data\.channels is 4"):
        recipe((pixels[..., :3], labels), 4).prepare()


@pytest.mark.parametrize(
    ("spoil", "needs"),
    [
        (lambda content: content[:-5], "cut off"),
        (lambda content: content[:6] + b"\x02" + content[7:], "uint8[height, width, channels]"),
        (lambda content: content.replace(b"|u1", b"<f4"), "float32"),
        (lambda content: content.replace(b"False", b"True "), "uint8[height, width, channels]"),
        (lambda content: content[:9], "EOF"),
    ],
)
def test_files_that_are_not_images_are_named(tmp_path, spoil, needs):
    pixels, labels = waves(6, count=16)
    rows = []
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        np.save(tmp_path / f"{number}.npy", image)
        rows.append({"path": f"{number}.npy", "label": label})
    (tmp_path / "3.npy").write_bytes(spoil((tmp_path / "3.npy").read_bytes()))
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(DataError) as raised:
        recipe(str(tmp_path / "table.csv"), 6).prepare()
    assert f"{tmp_path / '3.npy'}: " in str(raised.value) and needs in str(raised.value)
