import keras
import numpy as np
import pytest

from keras_transfer.batch_norm import FusedBatchNormalization, fuse_batch_norm, plain_batch_norm

RANDOM = np.random.default_rng(0)


def network(**options):
    pixels = keras.Input((6, 5, 3))
    x = keras.layers.Conv2D(4, 3)(pixels)
    inner = keras.Input(x.shape[1:])
    nested = keras.Model(inner, keras.layers.BatchNormalization(momentum=0.7, **options)(inner), name="nested")
    x = keras.layers.BatchNormalization(momentum=0.7)(nested(x))
    return keras.Model(pixels, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))


def pair(**options):
    keras.utils.set_random_seed(0)
    plain, fused = network(**options), network(**options)
    values = [RANDOM.uniform(0.5, 1.5, weight.shape) for weight in plain.get_weights()]
    plain.set_weights(values)
    fused.set_weights(values)
    fuse_batch_norm(fused)
    return plain, fused


def norms(model):
    inside = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    return [layer for part in (model, inside) for layer in part.layers if "batch_norm" in layer.name]


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}], ids=str)
@pytest.mark.parametrize("trainable", [True, False])
def test_training_is_that_of_keras(options, trainable):
    plain, fused = pair(**options)
    x = RANDOM.normal(2.0, 3.0, (8, 6, 5, 3)).astype("float32")
    y = RANDOM.normal(size=(8, 2)).astype("float32")
    for model in (plain, fused):
        for layer in norms(model):
            layer.trainable = trainable
        model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
        model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    assert {type(layer) for layer in norms(fused)} == {FusedBatchNormalization}
    for a, b in zip(plain.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fused.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_half_precision_is_no_worse_than_that_of_keras():
    x = RANDOM.normal(2.0, 3.0, (8, 6, 5, 3)).astype("float32")
    layers = [keras.layers.BatchNormalization(dtype=dtype) for dtype in ("float32", "mixed_bfloat16", "mixed_bfloat16")]
    layers[2].build(x.shape)
    layers[2].__class__ = FusedBatchNormalization
    exact, plain, fused = (keras.ops.convert_to_numpy(layer(x, training=True)).astype("float32") for layer in layers)
    assert np.abs(fused - exact).max() <= 1.5 * np.abs(plain - exact).max()
    assert layers[2](x).dtype == "bfloat16"


def test_what_the_kernel_cannot_do_is_left_to_keras():
    inputs = keras.Input((4, 3))
    flat = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    expected = flat(np.ones((2, 4, 3), "float32"), training=True)
    fuse_batch_norm(flat)
    np.testing.assert_array_equal(flat(np.ones((2, 4, 3), "float32"), training=True), expected)
    channels_first = keras.Model(inputs, keras.layers.BatchNormalization(axis=1)(inputs))
    fuse_batch_norm(channels_first)
    assert type(channels_first.layers[-1]) is keras.layers.BatchNormalization


def test_keras_own_class_is_back_for_saving(tmp_path):
    _, model = pair()
    with plain_batch_norm(model):
        model.save(tmp_path / "model.keras")
    assert {type(layer) for layer in norms(model)} == {FusedBatchNormalization}
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {type(layer) for layer in norms(loaded)} == {keras.layers.BatchNormalization}
    x = RANDOM.normal(size=(2, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-6)
