"""What is put in the place of private methods of Keras, and taken out again."""

import sys

import keras
import pytest
import tensorflow as tf

from keras_transfer import TransferWarning
from keras_transfer.distribution import keras_patches as module
from keras_transfer.distribution.mirrored import Mirrored


def methods():
    trainer = sys.modules[keras.Model.make_train_function.__module__]
    names = ("train_step", "make_predict_function", "predict", "_maybe_symbolic_build")
    optimizer = (keras.optimizers.Optimizer._clip_gradients, keras.optimizers.Optimizer._all_reduce_sum_gradients)
    return [*(getattr(keras.Model, name) for name in names), *optimizer, trainer.reduce_per_replica]


def test_this_is_the_keras_whose_private_methods_these_are():
    assert keras.__version__.startswith(f"{module.KNOWN_KERAS}."), "compare mended_keras.py with this version"


def test_everything_is_put_back():
    before = methods()
    with pytest.raises(ZeroDivisionError), Mirrored(["CPU:0", "CPU:1"]).scope():
        assert [a is b for a, b in zip(before, methods(), strict=True)] == [False] * len(before)
        raise ZeroDivisionError
    assert [a is b for a, b in zip(before, methods(), strict=True)] == [True] * len(before)


def test_another_keras_is_told(monkeypatch):
    monkeypatch.setattr(module.keras, "__version__", "3.99.0")
    strategy = tf.distribute.get_strategy()
    with pytest.warns(TransferWarning, match=r"replaces private methods of Keras 3\.15, and this is 3\.99\.0"):
        with module.mended_keras(strategy, processes=1):
            pass


def test_both_devices_keep_the_same_statistics_and_predict_in_order():
    devices = Mirrored(["CPU:0", "CPU:1"])
    x = tf.random.stateless_normal([7, 3], (0, 1))
    with devices.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
        model.compile("sgd", "mse", jit_compile=False)
        slices = tf.data.Dataset.from_tensor_slices([0, 4]).map(
            lambda i: (x[i : i + 4 - i // 4], tf.zeros([4 - i // 4, 2]))
        )
        model.fit(devices.feed(slices), epochs=1, steps_per_epoch=1, verbose=0)
        predicted = model.predict_on_batch(x)
        mean = model.layers[0].moving_mean.value.values
        means = (x[:4].numpy().mean(axis=0) + x[4:].numpy().mean(axis=0)) / 2 * 0.01
    assert mean[0].numpy() == pytest.approx(means, abs=1e-6)
    assert (mean[0].numpy() == mean[1].numpy()).all()
    assert predicted == pytest.approx(model(x).numpy(), abs=1e-5)
