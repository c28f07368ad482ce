"""Several batches per update: equal to one large batch, whatever is around it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.training import TrainingConfig
from keras_transfer.distribution.tf_strategies import Mirrored
from keras_transfer.training.accumulation import AccumulatingOptimizer, count_updates, expect_batches
from keras_transfer.training.lr_finder import sweep
from keras_transfer.training.optimizer import build_optimizer

ROWS, BATCH = 40, 4
CONFIG = TrainingConfig(learning_rate=0.05, weight_decay=0.1, clip_norm=0.3, ema=0.5, warmup=0.25)


def make_model(dtype="float32", *, embeds=False):
    """A norm and dense layers; instead of the first, an embedding may be there, whose gradients come as rows."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    if embeds:
        x = keras.layers.GlobalAveragePooling1D(dtype=dtype)(keras.layers.Embedding(11, 6, dtype=dtype)(inputs))
    else:
        x = keras.layers.Dense(6, dtype=dtype)(keras.ops.cast(inputs, "float32") / 10.0)
    x = keras.layers.Dense(5, activation="tanh", dtype=dtype)(keras.layers.LayerNormalization(dtype=dtype)(x))
    return keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))


def make_data():
    generator = np.random.default_rng(0)
    return generator.integers(0, 11, (ROWS, 4)), generator.normal(size=(ROWS, 2)).astype("float32")


def batches(*sizes):
    """Batches of these sizes, one after the other."""
    ends = np.cumsum(sizes)
    x, y = make_data()
    spec = (tf.TensorSpec((None, 4), tf.int64), tf.TensorSpec((None, 2), tf.float32))
    return tf.data.Dataset.from_generator(
        lambda: ((x[end - size : end], y[end - size : end]) for size, end in zip(sizes, ends, strict=True)),
        output_signature=spec,
    ).apply(tf.data.experimental.assert_cardinality(len(sizes)))


def staged(model, updates, config=CONFIG):
    return build_optimizer(config, rate=1.0, steps=updates, variables=model.trainable_variables)


def sgd(model, updates):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.5, updates)
    return keras.optimizers.SGD(schedule, momentum=0.9, global_clipnorm=0.2)


def train(model, optimizer, data, **options):
    model.compile(optimizer, "mse", jit_compile=False, **options)
    model.fit(data, shuffle=False, verbose=0)
    return model


def accumulate(optimizer, model, *, steps, of):
    accumulating = AccumulatingOptimizer(optimizer, steps=steps, batches=of)
    accumulating.build(model.trainable_variables)
    return accumulating


def weights(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def assert_alike(model, other, **tolerance):
    for one, two in zip(weights(model), weights(other), strict=True):
        np.testing.assert_allclose(one, two, **{"atol": 2e-6, **tolerance})


# Ten batches: the third update is for the last two. Keras takes the norm of an embedding's gradients before it adds the
# rows of one token, so that clipping depends on how a batch is divided.
@pytest.mark.parametrize(
    ("make", "embeds"),
    [
        pytest.param(staged, False, id="clipped and averaged"),
        pytest.param(
            functools.partial(staged, config=CONFIG.model_copy(update={"clip_norm": None})),
            True,
            id="rows",
            marks=pytest.mark.slow,
        ),
        pytest.param(sgd, False, id="another optimizer"),
    ],
)
def test_an_update_matches_one_large_batch(make, embeds):
    large, model = make_model(embeds=embeds), make_model(embeds=embeds)
    optimizer, inner = make(large, 3), make(model, count_updates(10, 4))
    train(large, optimizer, batches(16, 16, 8))
    train(model, accumulate(inner, model, steps=4, of=10), batches(*[4] * 10))
    assert int(inner.iterations) == int(optimizer.iterations) == 3
    assert_alike(model, large)
    assert np.abs(weights(make_model(embeds=embeds))[0] - weights(model)[0]).max() > 0.01


# After an update and two batches of the next one.
def test_an_interrupted_sum_continues_bit_for_bit():
    plain = CONFIG.model_copy(update={"ema": 0.0})  # whose averages fit puts in place when it ends

    def start():
        model = make_model()
        optimizer = accumulate(staged(model, 4, plain), model, steps=3, of=10)
        model.compile(optimizer, "mse", jit_compile=False)
        return model, [*model.weights, *optimizer.variables]

    data = batches(*[4] * 10)
    whole, _ = start()
    whole.fit(data, verbose=0)
    stopped, state = start()
    stopped.fit(data.take(5), verbose=0)
    resumed, restored = start()
    for one, other in zip(restored, state, strict=True):
        one.assign(other)
    resumed.fit(data.skip(5), verbose=0)
    for one, two in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_replicas_add_up_before_they_update():
    alone = make_model()
    train(alone, accumulate(staged(alone, 3), alone, steps=4, of=10), batches(*[4] * 10))
    devices = Mirrored(["CPU:0", "CPU:1"])
    with devices.scope():
        model = make_model()
        optimizer = accumulate(staged(model, 3), model, steps=4, of=10)
        model.compile(optimizer, "mse", jit_compile=False)
        model.fit(devices.feed(batches(*[3, 1] * 10)), epochs=1, steps_per_epoch=10, verbose=0)
        sums = [total.value.values for total in optimizer._sums]
    assert_alike(model, alone)
    assert int(keras.ops.convert_to_numpy(optimizer.iterations)) == 3
    assert all((one.numpy() == two.numpy()).all() for one, two in sums)


@pytest.mark.slow
def test_a_scaled_loss_is_accumulated_too():
    large, model = make_model("mixed_float16"), make_model("mixed_float16")
    config = CONFIG.model_copy(update={"ema": 0.0})
    scale = functools.partial(keras.optimizers.LossScaleOptimizer, initial_scale=256.0)
    train(large, scale(staged(large, 3, config)), batches(16, 16, 8))
    train(model, scale(accumulate(staged(model, 3, config), model, steps=4, of=10)), batches(*[4] * 10))
    assert int(model.optimizer.iterations) == 3
    assert_alike(model, large, atol=5e-3)
    # A batch that overflows does not count.
    model.optimizer.apply([keras.ops.full(one.shape, np.inf) for one in model.trainable_variables])
    assert int(model.optimizer.inner_optimizer._seen) == 10


def test_folds_of_fewer_batches_end_with_an_update():
    model = make_model()
    inner = staged(model, 2)
    optimizer = accumulate(inner, model, steps=4, of=8)
    model.compile(optimizer, "mse", jit_compile=False)
    data = batches(*[4] * 6)
    expect_batches(model.optimizer, data)
    model.fit(data, verbose=0)
    assert int(inner.iterations) == 2
    expect_batches(keras.optimizers.SGD(), data)


def test_a_search_for_a_rate_has_a_rate_per_update():
    model = make_model()
    optimizer = accumulate(staged(model, 100, CONFIG.model_copy(update={"ema": 0.0})), model, steps=3, of=300)
    model.compile(optimizer, "mse", jit_compile=False)
    x, y = make_data()
    data = tf.data.Dataset.from_tensor_slices((x, y, np.ones(ROWS, "float32"))).batch(BATCH)
    losses = sweep(model, data, every=3)
    assert int(optimizer.iterations) == len(losses)
    assert 30 < len(losses) <= 100


def test_the_configuration_recreates_the_same_optimizer():
    optimizer = AccumulatingOptimizer(keras.optimizers.SGD(0.3, momentum=0.5), steps=3, batches=7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert isinstance(again, AccumulatingOptimizer)
    assert (again.steps, again.batches) == (3, 7)
    assert again.inner_optimizer.get_config() == optimizer.inner_optimizer.get_config()
    assert float(again.learning_rate) == pytest.approx(0.3)


@pytest.mark.parametrize(("rows", "steps", "updates"), [(10, 4, 3), (8, 4, 2), (3, 4, 1), (5, 1, 5)])
def test_updates_are_counted(rows, steps, updates):
    assert count_updates(rows, steps) == updates
