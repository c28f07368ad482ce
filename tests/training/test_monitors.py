"""Which metric decides, and which way is better."""

import keras
import numpy as np
import pytest

from keras_transfer.config.schema import HeadConfig
from keras_transfer.config.training import TrainingConfig
from keras_transfer.errors import ConfigError
from keras_transfer.heads import HEADS
from keras_transfer.training.custom_parts import CustomParts
from keras_transfer.training.monitors import Monitor, Monitors, find_monitors

TARGETS = {"class": np.array([0, 1]), "multilabel": np.eye(2, dtype="float32"), "number": np.eye(2, dtype="float32")}


def monitors(kind, *, custom=None, **training):
    head = HEADS[kind].fit(("a", "b"), HeadConfig(), TARGETS[kind])
    return find_monitors(TrainingConfig(**training), head, custom or CustomParts())


@pytest.mark.parametrize(
    ("kind", "metric", "mode"),
    [
        ("class", "val_loss", "min"),
        ("class", "accuracy", "max"),
        ("class", "val_macro_f1", "max"),
        ("multilabel", "val_mean_average_precision", "max"),
        ("number", "val_rmse", "min"),
        ("number", "val_r2", "max"),
    ],
)
def test_the_direction_is_the_metrics_own(kind, metric, mode):
    found = monitors(kind, keep_metric=metric, early_stopping={"metric": metric})
    assert found == Monitors(Monitor(metric, mode), Monitor(metric, mode))
    assert set(found.metric_names) == {metric.removeprefix("val_")}


def test_by_default_the_calibrated_validation_loss_decides():
    for kind in ("class", "multilabel"):
        assert monitors(kind) == Monitors(Monitor("val_calibrated_loss", "min"))
    assert monitors("number", early_stopping={}) == Monitors(Monitor("val_loss", "min"), Monitor("val_loss", "min"))
    # A custom loss is monitored itself, to be minimized.
    custom = CustomParts(loss=keras.losses.CategoricalFocalCrossentropy(from_logits=True))
    assert monitors("class", custom=custom) == Monitors(Monitor("val_loss", "min"))
    assert monitors("class", keep="last").metric_names == ()


@pytest.mark.parametrize(
    ("kind", "training", "needs"),
    [
        ("class", {"keep_metric": "val_f1"}, ["training.keep_metric", "'f1'", "Did you mean val_macro_f1", "auroc"]),
        ("class", {"early_stopping": {"metric": "acuracy"}}, ["early_stopping.metric", "Did you mean accuracy"]),
        ("number", {"early_stopping": {"metric": "val_accuracy"}}, ["'accuracy'", "Metrics: loss, mae, rmse, r2"]),
        ("multilabel", {"keep_metric": "mae"}, ["'mae'", "mean_average_precision"]),
    ],
)
def test_a_metric_that_the_head_does_not_have(kind, training, needs):
    with pytest.raises(ConfigError) as caught:
        monitors(kind, **training)
    assert [need for need in needs if need not in str(caught.value)] == []


class Gain(keras.metrics.Mean):
    direction = "max"


def test_a_metric_from_python_defines_its_own_direction():
    def off(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)

    parts = CustomParts(metrics=[Gain(name="gain"), keras.metrics.Recall(name="recall"), off])
    assert monitors("class", custom=parts, keep_metric="val_gain").keep == Monitor("val_gain", "max")
    assert monitors("class", custom=parts, keep_metric="val_recall").keep == Monitor("val_recall", "max")
    with pytest.raises(ConfigError, match=r"whether a higher off is better is unknown.*direction"):
        monitors("class", custom=parts, keep_metric="val_off")
    off.direction = "min"
    assert monitors("class", custom=parts, keep_metric="val_off").keep == Monitor("val_off", "min")


@pytest.mark.parametrize(("mode", "better"), [("min", 0.3), ("max", 0.7)])
def test_only_finite_values_are_better(mode, better):
    monitor = Monitor("x", mode)
    assert monitor.is_better(0.5, None)
    assert monitor.is_better(better, 0.5)
    assert not monitor.is_better(0.5, 0.5)
    for value in (np.nan, np.inf, -np.inf):
        assert not monitor.is_better(value, 0.5)
        assert not monitor.is_better(value, None)
