"""Schedules, rates per stage, what decays and towards what, and what outlives a phase."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.training import TrainingConfig
from keras_transfer.training import optimizer as optimizers
from keras_transfer.training.callbacks import Averages
from keras_transfer.training.optimizer import StagedAdamW, build_optimizer, build_schedule


def rates(config, steps=100, rate=1.0):
    schedule = build_schedule(config, rate=rate, steps=steps)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


def test_the_rate_rises_linearly_then_decays_to_zero_by_a_cosine():
    values = rates(TrainingConfig(learning_rate=0.01, warmup=0.1))
    np.testing.assert_allclose(values[:11], np.linspace(0, 0.01, 11), atol=1e-8)
    np.testing.assert_allclose(values[55], 0.005, rtol=1e-5)
    np.testing.assert_allclose(values[100], 0.0, atol=1e-8)


def test_constant_stays_at_the_peak_after_warm_up():
    values = rates(TrainingConfig(learning_rate=0.01, warmup=0.1, schedule="constant"))
    np.testing.assert_allclose(values[10:], 0.01, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_without_warm_up_the_first_step_has_the_peak(schedule):
    assert rates(TrainingConfig(learning_rate=0.01, warmup=0.0, schedule=schedule))[0] == pytest.approx(0.01)


def test_a_phase_scales_the_rate():
    config = TrainingConfig(learning_rate=0.01)
    np.testing.assert_allclose(rates(config, rate=0.3), 0.3 * rates(config), rtol=1e-5)


PLAIN = TrainingConfig(learning_rate=0.1, weight_decay=0.0, warmup=0.0, schedule="constant", clip_norm=None)


def configured(**changes):
    return PLAIN.model_copy(update=changes)


def make_variables(*values):
    return [keras.Variable(np.array(value, "float32")) for value in values]


def optimizer_for(variables, config=PLAIN, **options):
    return build_optimizer(config, rate=1.0, steps=10, variables=variables, **options)


def values_of(variables):
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def no_gradients(variables):
    return [np.zeros(variable.shape, "float32") for variable in variables]


def random_gradients(variables, steps, seed=0):
    generator = np.random.default_rng(seed)
    return [[generator.normal(size=variable.shape).astype("float32") for variable in variables] for _ in range(steps)]


def small_model():
    """An embedding, whose gradients are sparse, a norm and two dense layers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(11, 6)(inputs)
    x = keras.layers.LayerNormalization()(keras.layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(5, activation="tanh")(x)))


def small_data():
    generator = np.random.default_rng(0)
    return generator.integers(0, 11, (24, 4)), generator.normal(size=(24, 2)).astype("float32")


def fit(model, epochs=1, **options):
    model.fit(*small_data(), batch_size=4, epochs=epochs, shuffle=False, verbose=0, **options)


def test_each_variable_moves_at_its_own_rate():
    variables = make_variables([[1.0]], [[1.0]], [[1.0]])
    optimizer = optimizer_for(variables, factors=[0.0, 0.25, 1.0])
    optimizer.apply([np.full((1, 1), 3.0, "float32")] * 3)
    # Adam's first step is the learning rate, whatever the gradient.
    np.testing.assert_allclose(np.ravel(values_of(variables)), [1.0, 1.0 - 0.025, 1.0 - 0.1], rtol=1e-5)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)


def test_weight_decay_follows_the_rate_and_skips_biases_and_norms():
    model = small_model()
    for weight in model.trainable_variables:
        weight.assign(np.ones(weight.shape))
    factors = np.linspace(0.2, 1.0, len(model.trainable_variables)).tolist()
    optimizer = optimizer_for(model.trainable_variables, configured(weight_decay=0.5), factors=factors)
    optimizer.apply(no_gradients(model.trainable_variables))
    for weight, factor in zip(model.trainable_variables, factors, strict=True):
        rate = 0.1 * factor if weight.name in ("kernel", "embeddings") else 0.0
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), 1 - rate * 0.5, rtol=1e-6)


def test_gradients_are_clipped_by_the_norm_over_all_stages():
    gradients = [[[0.1], [0.2]], [[3.0], [4.0]], [[0.3], [12.0]]]
    ends = {}
    for name, clip_norm in (("clipped", 1.0), ("by hand", None), ("not", None)):
        variables = make_variables([0.0], [0.0])
        optimizer = optimizer_for(variables, configured(clip_norm=clip_norm), factors=[0.1, 1.0])
        for gradient in np.array(gradients, "float32"):
            scale = min(1.0, 1.0 / np.linalg.norm(gradient)) if name == "by hand" else 1.0
            optimizer.apply(list(gradient * np.float32(scale)))
        ends[name] = np.ravel(values_of(variables))
    np.testing.assert_allclose(ends["clipped"], ends["by hand"], rtol=1e-5)
    assert not np.allclose(ends["clipped"], ends["not"], rtol=1e-2)


def test_with_factors_of_one_it_matches_keras_adamw():
    config = TrainingConfig(learning_rate=0.05, weight_decay=0.3, clip_norm=0.2, warmup=0.25)
    ends = []
    for ours in (True, False):
        model = small_model()
        if ours:
            optimizer = build_optimizer(config, rate=0.5, steps=12, variables=model.trainable_variables)
        else:
            schedule = build_schedule(config, rate=0.5, steps=12)
            optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.3, global_clipnorm=0.2)
            optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if len(v.shape) <= 1])
        start = model.get_weights()
        model.compile(optimizer, "mse")
        fit(model, epochs=2)
        ends.append(model.get_weights())
    for ours, theirs, before in zip(*ends, start, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        assert not np.allclose(ours, before, atol=1e-3)


def test_l2_sp_pulls_pretrained_weights_to_their_start_and_new_ones_to_zero():
    variables = pretrained, bias, new = make_variables([[2.0]], [2.0], [[2.0]])
    config = configured(l2_sp=0.5, weight_decay=0.25)
    optimizer = optimizer_for(variables, config, factors=[0.2, 1.0, 1.0], new_variables=[new])
    for variable in variables:
        variable.assign(np.full(variable.shape, 3.0))
    optimizer.apply(no_gradients(variables))
    np.testing.assert_allclose(pretrained, [[3.0 - 0.1 * 0.2 * 0.5 * (3.0 - 2.0)]], rtol=1e-6)
    np.testing.assert_allclose(bias, [3.0])
    np.testing.assert_allclose(new, [[3.0 - 0.1 * 0.25 * 3.0]], rtol=1e-6)


def test_l2_sp_pulls_to_the_references_and_not_to_the_current_weights():
    variables = make_variables([[3.0]], [[3.0]])
    optimizer = optimizer_for(variables, configured(l2_sp=0.5))
    optimizer.references[0].assign([[1.0]])
    optimizer.apply(no_gradients(variables))
    np.testing.assert_allclose(np.ravel(values_of(variables)), [3.0 - 0.1 * 0.5 * (3.0 - 1.0), 3.0], rtol=1e-6)


def test_starting_values_and_averages_use_memory_only_if_enabled():
    kernel, bias = make_variables([[1.0]], [1.0])
    plain = len(optimizer_for([kernel, bias]).variables)
    assert len(optimizer_for([kernel, bias], configured(l2_sp=0.1)).variables) == plain + 1
    assert len(optimizer_for([kernel, bias], configured(l2_sp=0.1), new_variables=[kernel]).variables) == plain
    assert len(optimizer_for([kernel, bias], configured(ema=0.9)).variables) == plain + 2


def test_carried_over_weights_continue_and_released_ones_start_fresh():
    config = configured(weight_decay=0.1)
    old, released, alone, steady = make_variables([[1.0, 2.0]], [[3.0, 4.0]], [[3.0, 4.0]], [[1.0, 2.0]])
    gradients = random_gradients([old], 9)
    first, second, third = optimizer_for([old], config), *(optimizer_for([released, old], config) for _ in range(2))
    uninterrupted, fresh = optimizer_for([steady], config), optimizer_for([alone], config)
    for (gradient,) in gradients[:3]:
        first.apply([gradient])
    second.carry_over(first)
    for (gradient,) in gradients[3:6]:
        second.apply([gradient, gradient])
    third.carry_over(second)
    for (gradient,) in gradients[6:]:
        third.apply([gradient, gradient])
    for (gradient,) in gradients:
        uninterrupted.apply([gradient])
    for (gradient,) in gradients[3:]:
        fresh.apply([gradient])
    np.testing.assert_allclose(old, steady, rtol=1e-6)
    np.testing.assert_allclose(released, alone, rtol=1e-6)


def test_carried_over_weights_keep_their_start():
    (variable,) = make_variables([[1.0]])
    first = optimizer_for([variable], configured(l2_sp=0.5))
    variable.assign([[3.0]])
    second = optimizer_for([variable], configured(l2_sp=0.5))
    second.carry_over(first)
    second.apply(no_gradients([variable]))
    np.testing.assert_allclose(variable, [[3.0 - 0.1 * 0.5 * (3.0 - 1.0)]], rtol=1e-6)


def test_a_saved_and_loaded_optimizer_continues_identically(tmp_path):
    model = small_model()
    config = TrainingConfig(learning_rate=0.05, l2_sp=2.0, weight_decay=1.0, clip_norm=0.2)
    variables = model.trainable_variables
    options = {
        "rate": 1.0,
        "steps": 30,
        "variables": variables,
        "factors": np.linspace(0.0, 1.0, len(variables)).tolist(),
        "new_variables": model.layers[-1].trainable_variables,
    }
    first = build_optimizer(config, **options)
    model.compile(first, "mse")
    fit(model)
    second = build_optimizer(config, **options)
    second.carry_over(first)
    model.compile(second, "mse")
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, StagedAdamW)
    before = loaded.get_weights()
    fit(model)
    fit(loaded)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_array_equal(loaded.get_weights()[0], before[0])  # of factor 0
    assert not np.allclose(loaded.get_weights()[-1], before[-1], atol=1e-3)


def test_averages_are_those_of_the_weights_after_each_step():
    variables = make_variables([[1.0, -2.0]], [0.5])
    optimizer = optimizer_for(variables, configured(ema=0.8), factors=[0.3, 1.0])
    averages = Averages(optimizer)
    before = values_of(variables)
    averages.swap()
    for value, start in zip(values_of(variables), before, strict=True):
        np.testing.assert_array_equal(value, start)  # before the first step
    averages.swap()

    expected = None
    for gradients in random_gradients(variables, 6):
        optimizer.apply(gradients)
        now = values_of(variables)
        # Keras' average starts with the weights after the first step.
        expected = now if expected is None else [0.8 * a + 0.2 * b for a, b in zip(expected, now, strict=True)]
    averages.swap()
    for value, average in zip(values_of(variables), expected, strict=True):
        np.testing.assert_allclose(value, average, rtol=1e-6)
    averages.swap()
    for value, last in zip(values_of(variables), now, strict=True):
        np.testing.assert_array_equal(value, last)
    optimizer.finalize_variable_values(variables)
    for value, average in zip(values_of(variables), expected, strict=True):
        np.testing.assert_allclose(value, average, rtol=1e-6)


class StopAfterFirst(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


class WatchedAverages(Averages):
    def on_test_begin(self, logs=None):
        self.last = self.model.get_weights()
        super().on_test_begin(logs)
        self.averages = self.model.get_weights()

    def on_test_end(self, logs=None):
        super().on_test_end(logs)
        for value, last in zip(self.model.get_weights(), self.last, strict=True):
            np.testing.assert_array_equal(value, last)


def test_fit_ends_with_the_averages_if_it_stops_early():
    model = small_model()
    optimizer = optimizer_for(model.trainable_variables, configured(ema=0.9))
    model.compile(optimizer, "mse")
    swap = WatchedAverages(optimizer)
    fit(model, epochs=3, validation_data=small_data(), callbacks=[swap, StopAfterFirst()])
    assert not np.allclose(swap.averages[0], swap.last[0], atol=1e-3)
    for value, average in zip(model.get_weights(), swap.averages, strict=True):
        np.testing.assert_array_equal(value, average)


def test_it_trains_in_half_precision_with_a_loss_scale():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(2, dtype="mixed_float16") for _ in range(2))])
    variables = model.trainable_variables
    optimizer = optimizer_for(variables, configured(l2_sp=0.1, ema=0.9, clip_norm=1.0), factors=[0.0, 0.0, 1.0, 1.0])
    assert {reference.dtype for reference in optimizer.references if reference is not None} == {"float32"}
    before = model.get_weights()
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer), "mse")
    model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=3, verbose=0)
    for index, (value, start) in enumerate(zip(model.get_weights(), before, strict=True)):
        assert np.isfinite(value).all()
        assert np.array_equal(value, start) == (index < 2)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


@pytest.mark.parametrize("options", [{}, {"l2_sp": 0.1}, {"use_ema": True}], ids=str)
def test_the_kernel_matches_elementary_operations(monkeypatch, options):
    for name, value in (("_BETA_1", 0.8), ("_BETA_2", 0.99), ("_EPSILON", 1e-5)):
        monkeypatch.setattr(optimizers, name, value)

    def train(has_kernel):
        monkeypatch.setattr(optimizers, "_has_kernel", lambda variable: has_kernel)
        random = np.random.default_rng(0)
        variables = [keras.Variable(random.normal(size=shape).astype("float32")) for shape in ((5, 4), (4,))]
        optimizer = StagedAdamW(0.01, weight_decay=0.1, factors=(0.5, 1.0), global_clipnorm=1.0, **options)
        optimizer.build(variables)
        step = tf.function(lambda *gradients: optimizer.apply(gradients, variables))
        for _ in range(20):
            step(*(tf.constant(random.normal(size=x.shape).astype("float32")) for x in variables))
        return [keras.ops.convert_to_numpy(x) for x in [*variables, *optimizer.variables[2:]]]

    for ours, reference in zip(train(True), train(False), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["factors", "new"])
def test_values_per_variable_must_match_the_number_of_variables(name):
    with pytest.raises(ValueError, match=f"{name} must be one for each of the 1 variables. Received: 2"):
        StagedAdamW(0.1, **{name: [1, 1]}).build(make_variables([[1.0]]))


ON_JAX = """
import keras, numpy as np
from keras_transfer.training import optimizer as optimizers
from keras_transfer.config.training import TrainingConfig
from keras_transfer.training.optimizer import build_optimizer
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
config = TrainingConfig(learning_rate=0.05, l2_sp=0.1, ema=0.5)
first, second = (build_optimizer(config, rate=1.0, steps=8, variables=model.trainable_variables,
                                 factors=[0.0, 0.0, 1.0, 1.0]) for _ in range(2))
before = model.get_weights()
for optimizer in (first, second):
    model.compile(optimizer, "mse")
    model.fit(np.ones((8, 3)), np.ones((8, 2)), batch_size=2, verbose=0)
    second.carry_over(first)
assert keras.backend.backend() == "jax"
print([bool(np.array_equal(a, b)) for a, b in zip(before, model.get_weights())])
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_it_trains_on_jax():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    result = subprocess.run([sys.executable, "-c", ON_JAX], env=environment, capture_output=True, text=True)
    assert result.stdout == "[True, True, False, False]\n", result.stderr
