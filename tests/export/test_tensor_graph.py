"""The graph of formats without a decoder: numbers only, float32, and nothing of the model changed by tracing it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.schema import HeadConfig
from keras_transfer.export.base import Served
from keras_transfer.export.tensor_graph import plain_operations, trace_tensors
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead
from keras_transfer.heads.coverage import Coverage

X = np.linspace(-6, 6, 49, dtype=np.float32)


def test_gelu_is_exact_without_erfc():
    expected = tf.nn.gelu(X).numpy()
    with plain_operations():
        function = tf.function(lambda x: keras.activations.gelu(x), input_signature=[tf.TensorSpec([None])])
        graph = function.get_concrete_function().graph
        approximate = keras.activations.gelu(X, approximate=True)
    kinds = {operation.type for operation in graph.get_operations()}
    assert "Erf" in kinds and "Erfc" not in kinds
    np.testing.assert_allclose(function(X), expected, atol=1e-6)
    np.testing.assert_allclose(approximate, keras.activations.gelu(X, approximate=True), atol=1e-6)


def test_silu_has_no_custom_gradient_and_a_grouped_convolution_is_not_compiled():
    layer = keras.layers.Conv2D(8, 3, groups=4, activation="silu")
    pixels = np.random.default_rng(0).normal(size=(2, 6, 6, 8)).astype("float32")
    expected = layer(pixels).numpy()
    with plain_operations():
        spec = tf.TensorSpec([None, 6, 6, 8])
        definition = tf.function(layer, input_signature=[spec]).get_concrete_function().graph.as_graph_def()
    assert not any("_gradient_op_type" in node.attr or "Call" in node.op for node in definition.node)
    assert not definition.library.function
    x = keras.ops.conv(pixels, layer.kernel) + layer.bias
    np.testing.assert_allclose(expected, x / (1 + np.exp(-x)), atol=1e-6)


def test_gelu_is_restored_after_an_export_that_failed():
    original = tf.nn.gelu
    with pytest.raises(RuntimeError), plain_operations():
        assert tf.nn.gelu is not original
        raise RuntimeError
    assert tf.nn.gelu is original


class _Reader:
    tensor_inputs = (tf.TensorSpec([None, 4], tf.float32, "x"),)

    def arrange(self, *tensors):
        return tensors[0]


CONFIG = HeadConfig(coverage=0.9)
HEADS = [
    pytest.param(
        ClassificationHead(("a", "b"), CONFIG, coverage=Coverage(0.9, 20, (0.2,))),
        {"probabilities", "score", "label_index", "in_set", "abstain"},
        id="class",
    ),
    pytest.param(
        MultilabelHead(("a", "b"), CONFIG, (0.5, 0.4), coverage=Coverage(0.9, 20, (0.2, 0.3))),
        {"probabilities", "present", "in_set", "uncertain", "abstain"},
        id="multilabel",
    ),
    pytest.param(
        NumberHead(("a", "b"), CONFIG, (5.0, 7.0), (1.0, 1.0), coverage=Coverage(0.9, 20, (1.0, 2.0))),
        {"values", "low", "high"},
        id="number",
    ),
]


@pytest.mark.parametrize(("head", "outputs"), HEADS)
def test_outputs_are_the_numeric_ones_in_float32_whatever_the_precision(head, outputs):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(2, dtype="mixed_bfloat16")
    model = keras.Model(inputs, keras.layers.Softmax(dtype="float32")(dense(inputs)))
    graph = trace_tensors(Served(model, head, _Reader(), None, None, {}))
    assert dense.compute_dtype == "bfloat16"
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    found = {name: value.numpy() for name, value in graph.function(x).items()}
    assert set(found) == outputs
    # By NumPy in double precision: bfloat16 would differ in the third digit.
    kernel, bias = (np.asarray(weight, np.float64) for weight in dense.get_weights())
    exponents = np.exp(x @ kernel + bias)
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[head.predictions_output], expected, atol=1e-6)
    if "label_index" in found:
        assert found["label_index"].dtype == np.int32
        assert found["label_index"].tolist() == expected.argmax(axis=1).tolist()
    kinds = {operation.type for operation in graph.concrete.graph.get_operations()}
    assert "ReadVariableOp" not in kinds
