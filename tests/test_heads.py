"""What goes on top of a backbone."""

import keras
import numpy as np
import pytest

from keras_transfer.config import PictureHeadConfig
from keras_transfer.heads import ClassificationHead

FEATURES = np.arange(2 * 2 * 2 * 3, dtype="float32").reshape(2, 2, 2, 3)


def build(**config):
    inputs = keras.Input((2, 2, 3))
    head = ClassificationHead(("a", "b", "c", "d"), PictureHeadConfig(**config))
    return keras.Model(inputs, head.read_out(head.pool(inputs)))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("average", FEATURES.mean((1, 2))),
        ("max", FEATURES.max((1, 2))),
        ("both", np.concatenate([FEATURES.mean((1, 2)), FEATURES.max((1, 2))], axis=1)),
    ],
)
def test_pooling(pooling, expected):
    model = build(pooling=pooling, dropout=0.0)
    kernel, bias = model.get_layer("head_logits").get_weights()
    np.testing.assert_allclose(model.predict(FEATURES, verbose=0), expected @ kernel + bias, rtol=1e-5)


def test_a_hidden_layer_has_its_width():
    assert build(hidden=7).get_layer("head_logits").kernel.shape == (7, 4)


def test_logits_and_probabilities_are_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(hidden=7)
        assert model.get_layer("head_hidden").compute_dtype == "bfloat16"
        assert model.output.dtype == "float32"
        assert (
            ClassificationHead(("a", "b", "c", "d"), PictureHeadConfig()).final_layer()(model.output).dtype == "float32"
        )
    finally:
        keras.config.set_dtype_policy(before)


def test_the_loss_smooths_labels():
    head = ClassificationHead(("a", "b"), PictureHeadConfig())
    loss = head.loss(label_smoothing=0.2)
    logits, target = np.array([[2.0, 0.0]], "float32"), np.array([[1.0, 0.0]], "float32")
    log_p = logits - np.log(np.exp(logits).sum())
    assert float(loss(target, logits)) == pytest.approx(float(-(0.9 * log_p[0, 0] + 0.1 * log_p[0, 1])), rel=1e-5)
