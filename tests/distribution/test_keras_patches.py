"""Keras under a strategy: patched for a while, restored afterwards."""

import keras
import pytest
import tensorflow as tf

from keras_transfer import TransferWarning
from keras_transfer.distribution import keras_patches as module
from keras_transfer.distribution.tf_strategies import Mirrored
from keras_transfer.networks.keras_internals import owner_and_name

PLACES = ("train_step", "make_predict_function", "predict", "build_before_fit", "reduce_logs")
PLACES += ("scale_loss", "clip_gradients", "sum_gradients")


def methods():
    return [getattr(*owner_and_name(place)) for place in PLACES]


def test_everything_is_restored():
    before = methods()
    with pytest.raises(ZeroDivisionError), Mirrored(["CPU:0", "CPU:1"]).scope():
        assert [a is b for a, b in zip(before, methods(), strict=True)] == [False] * len(before)
        raise ZeroDivisionError
    assert [a is b for a, b in zip(before, methods(), strict=True)] == [True] * len(before)


def test_another_keras_version_gives_a_warning(monkeypatch):
    monkeypatch.setattr(module.keras, "__version__", "3.99.0")
    strategy = tf.distribute.get_strategy()
    with pytest.warns(TransferWarning, match=r"replaces private methods of Keras 3\.15\. Received: Keras 3\.99\.0"):
        with module.patched_keras(strategy, processes=1):
            pass


def test_both_devices_have_the_same_statistics_and_predict_in_order():
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
