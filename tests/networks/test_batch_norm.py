import keras
import numpy as np
import pytest

from keras_transfer.networks.batch_norm import (
    FusedBatchNormalization,
    fold_batch_norm,
    fuse_batch_norm,
    plain_batch_norm,
)

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
def test_training_matches_keras(options, trainable):
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


def test_half_precision_is_about_as_accurate_as_in_keras():
    x = RANDOM.normal(2.0, 3.0, (8, 6, 5, 3)).astype("float32")
    layers = [keras.layers.BatchNormalization(dtype=dtype) for dtype in ("float32", "mixed_bfloat16", "mixed_bfloat16")]
    layers[2].build(x.shape)
    layers[2].__class__ = FusedBatchNormalization
    exact, plain, fused = (keras.ops.convert_to_numpy(layer(x, training=True)).astype("float32") for layer in layers)
    assert np.abs(fused - exact).max() <= 1.5 * np.abs(plain - exact).max()
    assert layers[2](x).dtype == "bfloat16"


def test_unsupported_cases_fall_back_to_keras():
    inputs = keras.Input((4, 3))
    flat = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    expected = flat(np.ones((2, 4, 3), "float32"), training=True)
    fuse_batch_norm(flat)
    np.testing.assert_array_equal(flat(np.ones((2, 4, 3), "float32"), training=True), expected)
    channels_first = keras.Model(inputs, keras.layers.BatchNormalization(axis=1)(inputs))
    fuse_batch_norm(channels_first)
    assert type(channels_first.layers[-1]) is keras.layers.BatchNormalization


def test_the_class_of_keras_is_restored_for_saving(tmp_path):
    _, model = pair()
    with plain_batch_norm(model):
        model.save(tmp_path / "model.keras")
    assert {type(layer) for layer in norms(model)} == {FusedBatchNormalization}
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {type(layer) for layer in norms(loaded)} == {keras.layers.BatchNormalization}
    x = RANDOM.normal(size=(2, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-6)


def convolved(x, convolution, **options):
    x = convolution(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(**options)(x))


def convolutions():
    return [
        keras.layers.Conv2D(6, 3, strides=2, padding="same"),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
        keras.layers.Conv2D(6, 3, dilation_rate=2, groups=3),
        keras.layers.DepthwiseConv2D(3, padding="same"),
    ]


def randomize(model):
    for weight in model.weights:
        values = RANDOM.uniform(0.5, 1.5, weight.shape)
        weight.assign(values if "variance" in weight.path else values * RANDOM.choice([-1, 1], weight.shape))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def check_folded(model, *, left):
    """Predictions stay the same, also when weights change afterwards; ``left`` BatchNorm layers remain."""
    randomize(model)
    fuse_batch_norm(model)
    folded = fold_batch_norm(model)
    assert kinds(folded).count("FusedBatchNormalization") == left
    x = RANDOM.normal(2.0, 3.0, (2, 16, 15, 3)).astype("float32")
    for _ in range(2):
        for expected, got in zip(
            keras.tree.flatten(model(x, training=False)), keras.tree.flatten(folded(x)), strict=True
        ):
            expected = keras.ops.convert_to_numpy(expected)
            assert expected.std() > 0.1
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        randomize(model)
    assert {id(x) for x in folded.variables} == {id(x) for x in model.variables}


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}], ids=str)
@pytest.mark.parametrize("number", range(4))
def test_batch_norm_is_folded_into_the_convolution_before_it(number, options):
    pixels = keras.Input((16, 15, 3))
    check_folded(keras.Model(pixels, convolved(pixels, convolutions()[number], **options)), left=0)


def test_layers_that_cannot_be_folded_are_left_unchanged():
    pixels = keras.Input((16, 15, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same")
    once = convolved(pixels, shared)
    twice = convolved(once, shared)
    active = convolved(twice, keras.layers.Conv2D(4, 3, activation="relu"))
    between = convolved(active, keras.layers.Conv2D(4, 3))
    between = keras.layers.BatchNormalization()(between)
    half = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")(between)
    half = keras.layers.BatchNormalization()(half)
    # The activation, the ReLU and half precision each leave one layer.
    check_folded(keras.Model(pixels, [half, twice]), left=3)


def test_a_convolution_with_another_consumer_is_not_lost():
    pixels = keras.Input((16, 15, 3))
    x = keras.layers.Conv2D(4, 3)(pixels)
    normalized = keras.layers.BatchNormalization()(x)
    check_folded(keras.Model(pixels, [keras.layers.Add()([x, normalized]), normalized]), left=0)


def test_an_adapter_is_folded_with_its_convolution():
    pixels = keras.Input((16, 15, 3))
    model = keras.Model(pixels, convolved(pixels, keras.layers.Conv2D(6, 3)))
    model.layers[1].enable_lora(2)
    check_folded(model, left=0)


def test_a_network_without_batch_norm_is_returned_unchanged():
    pixels = keras.Input((16, 15, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels))
    assert fold_batch_norm(model) is model
