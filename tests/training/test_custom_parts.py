"""Loss, metrics and optimizer from Python."""

import keras
import numpy as np
import pytest

from keras_transfer.config.schema import HeadConfig
from keras_transfer.config.training import TrainingConfig
from keras_transfer.errors import CheckpointError, ConfigError
from keras_transfer.heads import HEADS
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts, copy_optimizer
from keras_transfer.training.policies import Phase

PHASE = Phase("full", (0,), 1, 1.0, "adapt")
VALUES = np.array([[100.0], [300.0], [150.0], [50.0]], "float32")


def head_of(kind, targets):
    return HEADS[kind].fit(("a", "b", "c") if kind == "class" else ("a",), HeadConfig(), targets)


CLASSES = head_of("class", np.array([0, 1, 2]))


def check(parts, *, head=CLASSES, policy="full", phases=(PHASE,), **training):
    parts.check(head, TrainingConfig(**training), policy=policy, phases=phases)


@pytest.mark.parametrize(
    ("parts", "options", "needs"),
    [
        ({"loss": keras.losses.CategoricalCrossentropy()}, {}, ["from_logits=True"]),
        ({"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, {}, ["one-hot"]),
        ({"loss": "mse"}, {}, ["loss: expected", "'mse'"]),
        ({"loss": keras.losses.Dice()}, {"label_smoothing": 0.1}, ["training.label_smoothing"]),
        ({"loss": keras.losses.Dice()}, {"phases": [Phase("h", (), 1, 1.0, "frozen", solve=True)]}, ["Use sgd"]),
        ({"metrics": [keras.metrics.AUC(from_logits=True, name="x")]}, {}, ["x is given probabilities"]),
        ({"metrics": [keras.metrics.SparseCategoricalAccuracy()]}, {}, ["Use CategoricalAccuracy"]),
        ({"metrics": [keras.metrics.Recall(name="accuracy")]}, {}, ["the name accuracy is taken"]),
        ({"metrics": [keras.metrics.Recall(name="x"), keras.metrics.AUC(name="x")]}, {}, ["the name x is taken"]),
        ({"metrics": ["accuracy"]}, {}, ["metrics: expected", "'accuracy'"]),
        ({"optimizer": "adam"}, {}, ["optimizer: expected", "'adam'"]),
        ({"optimizer": keras.optimizers.Adam()}, {"learning_rate": 1e-4}, ["training.learning_rate: it belongs to"]),
        ({"optimizer": keras.optimizers.Adam()}, {"ema": 0.9, "l2_sp": 0.1}, ["training.ema", "training.l2_sp"]),
        (
            {"optimizer": keras.optimizers.Adam()},
            {"phases": [Phase("full", (0,), 1, 1.0, "adapt", stage_decay=0.5)]},
            ["policy.stage_decay"],
        ),
        ({"optimizer": keras.optimizers.Adam()}, {"policy": "auto"}, ["policy.name: auto"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_parts_that_do_not_fit_the_recipe_are_refused(parts, options, needs):
    with pytest.raises(ConfigError, match="Parts given from Python") as caught:
        check(CustomParts(**parts), **options)
    assert [need for need in needs if need not in str(caught.value)] == []


def test_parts_that_fit():
    check(BUILT_IN, policy="auto", learning_rate=1e-4)
    parts = CustomParts(
        keras.losses.CategoricalFocalCrossentropy(from_logits=True), [keras.metrics.AUC()], keras.optimizers.Lion(1e-4)
    )
    check(parts)
    assert parts.names == ("loss", "metrics", "optimizer")
    assert (BUILT_IN.names, BUILT_IN.allows_solved_head, parts.allows_solved_head) == ((), True, False)


def test_an_optimizer_is_copied_at_a_share_of_its_rate_and_is_unchanged():
    given = keras.optimizers.SGD(0.1, momentum=0.5, clipnorm=2.0)
    copy = copy_optimizer(given, rate=0.3)
    assert (float(given.learning_rate), given.built) == (pytest.approx(0.1), False)
    assert (float(copy.learning_rate), copy.momentum, copy.clipnorm) == (pytest.approx(0.03), 0.5, 2.0)


def test_a_schedule_is_scaled_and_can_be_saved():
    given = keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01]))
    copy = copy_optimizer(copy_optimizer(given, rate=0.5), rate=0.5)
    variable = keras.Variable([1.0])
    copy.build([variable])
    moved = []
    for _ in range(4):
        before = float(variable[0])
        copy.apply([keras.ops.ones(1)])
        moved.append(before - float(variable[0]))
    np.testing.assert_allclose(moved, [0.025, 0.025, 0.025, 0.0025], rtol=1e-4)


def test_metrics_receive_predictions_in_the_units_of_the_data():
    head = head_of("number", VALUES)
    raw = head.encode(VALUES) + np.float32(0.5)
    off = keras.metrics.MeanAbsoluteError(name="off")
    *_, metric = CustomParts(metrics=[off]).make_metrics(head)
    metric.update_state(head.encode(VALUES), raw)
    assert float(metric.result()) == pytest.approx(0.5 * VALUES.std(), rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert float(off.result()) == 0.0  # each phase has its own


def test_a_function_is_a_metric_of_probabilities():
    def surprise(y_true, y_pred):
        return -keras.ops.log(keras.ops.sum(y_true * y_pred, axis=-1))

    own, metric = CustomParts(metrics=[surprise]).make_metrics(CLASSES)
    logits, targets = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "float32"), np.eye(3, dtype="float32")[[0, 2]]
    metric.update_state(targets, logits)
    rows = np.log(np.exp(logits).sum(axis=1)) - [2.0, 0.0]
    assert (own.name, metric.name) == ("accuracy", "surprise")
    assert float(metric.result()) == pytest.approx(rows.mean(), rel=1e-5)


def test_a_run_is_resumed_with_the_parts_that_it_was_started_with():
    def parts(rate):
        return CustomParts(keras.losses.Dice(), [keras.metrics.AUC(name="x")], keras.optimizers.SGD(rate))

    state = parts(0.1).get_state()
    parts(0.1).set_state(state)
    with pytest.raises(CheckpointError, match=r"optimizer: .*0.1.* then, .*0.2.* now"):
        parts(0.2).set_state(state)
    with pytest.raises(CheckpointError, match=r"loss: .*Dice"):
        BUILT_IN.set_state(state)
