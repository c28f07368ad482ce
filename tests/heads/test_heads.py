"""What goes on top of a backbone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.schema import HeadConfig, ImageHeadConfig
from keras_transfer.errors import ConfigError
from keras_transfer.heads import HEADS, ClassificationHead, MultilabelHead, NumberHead

FEATURES = np.arange(2 * 2 * 2 * 3, dtype="float32").reshape(2, 2, 2, 3)


def build(**config):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2, 2, 3))
    head = ClassificationHead(("a", "b", "c", "d"), ImageHeadConfig(**config))
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


def test_pooling_is_an_error_if_the_network_pools_itself():
    features = keras.Input((8,))
    assert ClassificationHead(("a", "b"), ImageHeadConfig()).pool(features).shape == (None, 8)
    with pytest.raises(ConfigError, match=r"head\.pooling: the backbone pools its features itself.* max\."):
        ClassificationHead(("a", "b"), ImageHeadConfig(pooling="max")).pool(features)


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
            ClassificationHead(("a", "b", "c", "d"), ImageHeadConfig()).final_layer()(model.output).dtype == "float32"
        )
    finally:
        keras.config.set_dtype_policy(before)


def test_the_loss_smooths_labels():
    head = ClassificationHead(("a", "b"), ImageHeadConfig())
    loss = head.loss(label_smoothing=0.2)
    logits, target = np.array([[2.0, 0.0]], "float32"), np.array([[1.0, 0.0]], "float32")
    log_p = logits - np.log(np.exp(logits).sum())
    assert float(loss(target, logits)) == pytest.approx(float(-(0.9 * log_p[0, 0] + 0.1 * log_p[0, 1])), rel=1e-5)


CLASSES = np.array([0, 1, 1, 0, 1])
MARKS = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], "float32")
VALUES = np.array([[100.0, 0.1], [300.0, 0.2], [150.0, 0.3], [50.0, 0.15], [400.0, 0.25]], "float32")
TARGETS = {"class": CLASSES, "multilabel": MARKS, "number": VALUES}
RAW = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")


def head_of(kind, **config):
    return HEADS[kind].fit(("a", "b"), HeadConfig(**config), TARGETS[kind])


@pytest.mark.parametrize(
    ("kind", "config"), [*((kind, {}) for kind in TARGETS), ("number", {"loss": "huber"})], ids=str
)
def test_epoch_metrics_match_the_report(kind, config):
    """Keras counts from raw outputs, the report from predictions."""
    head, targets = head_of(kind, **config), TARGETS[kind]
    figures = head.measure(RAW, targets)
    predicted = head.predictions(RAW)
    report = head.report("test", predicted, targets)
    assert set(figures) == {"loss", head.metric}
    assert figures["loss"] == pytest.approx(report.loss, rel=1e-5)
    expected = {"class": "accuracy", "multilabel": "macro_f1", "number": "mae"}[kind]
    assert figures[head.metric] == pytest.approx(getattr(report, expected), rel=1e-5)
    assert report.to_json()[head.figure.name] == pytest.approx(head.score_once(predicted, targets))


def test_numbers_are_predicted_in_their_own_units():
    head = head_of("number")
    encoded = head.encode(VALUES)
    np.testing.assert_allclose([encoded.mean(axis=0), encoded.std(axis=0)], [[0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(head.predictions(encoded), VALUES, rtol=1e-6)
    assert NumberHead.restore(head.names, head.config, head.facts) == head
    assert head.to_prediction("x", VALUES[0]).values == pytest.approx({"a": 100.0, "b": 0.1})
    # What may differ between machines is a share of the deviation, whatever the unit.
    assert head.allowance(1e-4) == pytest.approx(1e-4 * VALUES.std(axis=0), rel=0.2)


def test_huber_loss_is_linear_for_large_errors():
    near, far = (head_of("number", loss=loss) for loss in ("squared_error", "huber"))
    off = VALUES + 5 * VALUES.std(axis=0)
    assert near.row_losses(off, VALUES) == pytest.approx(np.full(5, 25.0))
    assert far.row_losses(off, VALUES) == pytest.approx(np.full(5, 4.5))
    assert near.is_solvable and not far.is_solvable


def test_labels_are_predicted_by_name_and_threshold():
    head = MultilabelHead(("a", "b"), HeadConfig(), (0.2, 0.9))
    predicted = np.array([[0.3, 0.8], [0.1, 0.9]], "float32")
    answer = {name: tensor.numpy().tolist() for name, tensor in head.serving_outputs(tf.constant(predicted)).items()}
    assert answer["present"] == [[True, False], [False, True]]
    assert answer["names"] == [[b"a", b"b"]] * 2
    assert str(head.to_prediction("x", predicted[0])) == "a 0.3000"
    assert str(head.to_prediction("x", np.zeros(2))) == "no label"
    assert head.is_tied(predicted, 1e-3).tolist() == [False, True]


def test_balanced_class_weights():
    weights = head_of("class").class_weights(np.array([0, 0, 0, 1]), "balanced")
    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_custom_class_weights():
    head = ClassificationHead(("cat", "dog", "owl"), HeadConfig())
    targets = np.array([2, 0, 0, 1])
    assert head.class_weights(targets, "none").tolist() == [1.0, 1.0, 1.0, 1.0]
    assert head.class_weights(targets, {"owl": 4.0, "cat": 0.5, "dog": 1.0}).tolist() == [4.0, 0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("weights", "needs"),
    [
        ({"cat": 1.0, "dog": 2.0}, ["no weight for 'owl'", "Give every class"]),
        ({"cat": 1.0, "dog": 2.0, "owl": 1.0, "cow": 3.0}, ["there is no class 'cow'", "Did you mean"]),
        ({"Cat": 1.0, "dog": 1.0}, ["no weight for 'cat', 'owl'", "there is no class 'Cat'. Did you mean cat?"]),
    ],
)
def test_class_weights_name_all_classes_and_no_others(weights, needs):
    head = ClassificationHead(("cat", "dog", "owl"), HeadConfig())
    with pytest.raises(ConfigError, match=r"training\.class_weights") as caught:
        head.class_weights(np.array([0, 1, 2]), weights)
    assert [need for need in needs if need not in str(caught.value)] == []
