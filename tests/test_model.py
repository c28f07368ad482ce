"""Contract, backbone and head joined."""

import keras
import numpy as np
import pytest

from keras_transfer.backbones import BACKBONES
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.schema import ImageHeadConfig
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model

SIZE = 32
PIXELS = np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype("float32")


def build(**augmentation):
    backbone = BACKBONES["efficientnet_lite0"].load(image_size=SIZE)
    reader = ImageReader(
        image_size=SIZE,
        channels=3,
        resize="crop",
        augmentation=AugmentationConfig(**augmentation),
        seed=0,
        max_pixels=10**6,
    )
    return build_model(backbone, ClassificationHead(("a", "b", "c"), ImageHeadConfig()), flips=reader.flips)


def softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def test_raw_pixels_are_accepted_and_the_contract_is_applied_once():
    model = build()
    features = model.backbone.network(PIXELS / 127.5 - 1)
    expected = model.top(model.pooling(features))
    np.testing.assert_allclose(model.trainer(PIXELS), expected, atol=1e-4)
    np.testing.assert_allclose(model.predictor(PIXELS), softmax(model.trainer(PIXELS)), atol=1e-6)


def test_trainer_and_predictor_share_every_weight():
    model = build(vertical_flip=True, predict_flips=True)
    assert {id(weight) for weight in model.trainer.weights} == {id(weight) for weight in model.predictor.weights}


@pytest.mark.parametrize(
    ("flips", "axes"),
    [
        ({"horizontal_flip": True}, [(), (2,)]),
        ({"horizontal_flip": False, "vertical_flip": True}, [(), (1,)]),
        ({"vertical_flip": True}, [(), (1,), (2,), (1, 2)]),
    ],
)
def test_predictions_are_averaged_over_the_enabled_flips(flips, axes):
    model = build(**flips, predict_flips=True)
    expected = np.mean([softmax(model.trainer(np.flip(PIXELS, axis))) for axis in axes], axis=0)
    np.testing.assert_allclose(model.predictor(PIXELS), expected, atol=1e-6)
