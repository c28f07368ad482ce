"""Schedules and what decays."""

import keras
import numpy as np
import pytest

from keras_transfer.config import TrainingConfig
from keras_transfer.optimizers import build_optimizer, build_schedule


def rates(config, steps=100, rate=1.0):
    schedule = build_schedule(config, rate=rate, steps=steps)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


def test_the_rate_rises_in_a_line_then_falls_as_a_cosine_to_zero():
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


def test_weight_decay_leaves_biases_and_norms_alone():
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(4, bias_initializer="ones")(inputs))
    model = keras.Model(inputs, x)
    before = {weight.path: np.array(weight) for weight in model.trainable_variables}
    config = TrainingConfig(learning_rate=0.1, weight_decay=0.5, warmup=0.0, schedule="constant")
    optimizer = build_optimizer(config, rate=1.0, steps=10, variables=model.trainable_variables)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros_like(weight) for weight in model.trainable_variables])
    for weight in model.trainable_variables:
        factor = 1 - 0.1 * 0.5 if weight.name == "kernel" else 1.0
        np.testing.assert_allclose(np.array(weight), before[weight.path] * factor, rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    variables = [keras.Variable(np.zeros(1, "float32")), keras.Variable(np.zeros(1, "float32"))]
    optimizer = build_optimizer(TrainingConfig(clip_norm=1.0), rate=1.0, steps=1, variables=variables)
    assert optimizer.global_clipnorm == 1.0
    assert build_optimizer(TrainingConfig(clip_norm=None), rate=1.0, steps=1, variables=[]).global_clipnorm is None
