"""What a phase does to weights, and what it leaves when it goes wrong."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.backbones import BACKBONES, SIGNED, ImageBackboneRow
from keras_transfer.config.policies import POLICY_SECTIONS
from keras_transfer.config.schema import ImageHeadConfig
from keras_transfer.config.training import TrainingConfig
from keras_transfer.errors import TrainingError
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import TransferModel, build_model
from keras_transfer.networks.stages import Stage
from keras_transfer.trackers.built_in import HistoryTracker
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.records import PhaseStarted
from keras_transfer.training.callbacks import BestWeights, TrainedWeights
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts
from keras_transfer.training.monitors import Monitor, find_monitors
from keras_transfer.training.observers import Observers, UserCallbacks
from keras_transfer.training.phase import (
    Inputs,
    PlannedPhase,
    RunState,
    apply_phase,
    set_batch_norm_memory,
    set_trainable,
    summarize,
    train_phase,
)
from keras_transfer.training.policies import Phase, Scope, plan

SIZE, BATCH, STEPS = 32, 4, 2


@pytest.fixture(scope="module")
def model() -> TransferModel:
    keras.utils.set_random_seed(0)
    backbone = BACKBONES["efficientnet_lite0"].load(image_size=SIZE)
    return build_model(backbone, ClassificationHead(("a", "b"), ImageHeadConfig()))


def build_small(size):
    inputs = x = keras.Input((size, size, 3))
    for block in range(1, 5):
        x = keras.layers.Conv2D(6, 3, 2, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
    return keras.Model(inputs, x, name="small")


@pytest.fixture(scope="module")
def small() -> TransferModel:
    """A model whose training takes no time: one convolution and one BatchNorm in each stage."""
    keras.utils.set_random_seed(0)
    row = ImageBackboneRow(
        name="small",
        build=build_small,
        build_pretrained=build_small,
        contract=SIGNED,
        image_size=SIZE,
        minimum_size=8,
        parameters=0,
        stages=4,
        weights_source="none",
        weights_file=lambda: None,
    )
    return build_model(row.load(image_size=SIZE), ClassificationHead(("a", "b"), ImageHeadConfig()))


def batches(epochs, *, value=None):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (BATCH * STEPS * epochs, SIZE, SIZE, 3)).astype("float32")
    if value is not None:
        pixels[-1] = value
    targets = np.eye(2, dtype="float32")[rng.integers(0, 2, len(pixels))]
    return tf.data.Dataset.from_tensor_slices((pixels, targets, np.ones(len(pixels), "float32"))).batch(BATCH)


def train(model, phase, tmp_path, *, value=None, validation=None, custom=BUILT_IN, **settings):
    config = TrainingConfig(batch_size=BATCH, warmup=0.0, schedule="constant", **settings)
    best = BestWeights(find_monitors(config, model.head, custom).keep)
    return train_phase(
        model,
        PlannedPhase(phase, config, PhaseStarted(phase.name, 1, 1, phase.epochs, STEPS)),
        Inputs(model.trainer, batches(phase.epochs, value=value), validation),
        RunState(best, Observers(Trackers([HistoryTracker(tmp_path / "history.jsonl")])), custom=custom),
    )


def snapshot(model):
    return [{w.path: np.array(w) for w in stage.weights} for stage in model.backbone.stages]


def moved(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


@pytest.mark.parametrize(
    ("policy", "batch_norm"),
    [
        ("head", "frozen"),
        ("last_stages", "frozen"),
        ("full", "frozen"),
        ("head", "adapt"),
        ("last_stages", "adapt"),
        ("full", "adapt"),
    ],
)
def test_frozen_weights_are_bit_identical_and_the_others_have_moved(small, tmp_path, policy, batch_norm):
    keys = {"stages": 2, "batch_norm": batch_norm}
    section = POLICY_SECTIONS[policy]
    config = section(**{key: value for key, value in keys.items() if key in section.model_fields})
    (phase,) = plan(config, Scope(len(small.backbone.stages), 1, solves_head=False))
    before, head_before = snapshot(small), small.trainer.get_layer("head").get_layer("head_logits").get_weights()
    train(small, phase, tmp_path, learning_rate=1e-3)
    after, head_after = snapshot(small), small.trainer.get_layer("head").get_layer("head_logits").get_weights()

    assert all(not np.array_equal(a, b) for a, b in zip(head_before, head_after, strict=True))
    for stage, old, new in zip(small.backbone.stages, before, after, strict=True):
        if stage.index not in phase.stages:
            assert moved(old, new) == set(), f"{stage.name} was frozen"
            continue
        norms = {path for path in old if "_bn/" in path}
        assert moved(old, new) == (set(old) if batch_norm == "adapt" else set(old) - norms), stage.name


def test_the_summary_counts_what_keras_will_train(model):
    stages = model.backbone.stages
    phases = (Phase("a", (), 1, 1.0, "frozen"), Phase("b", (len(stages) - 1,), 1, 1.0, "adapt"))
    head, last = summarize(model, phases)
    assert head.trained == 1280 * 2 + 2
    # The last stage is a convolution from 320 to 1280 filters with a scale and an offset for each.
    assert last.trained == head.trained + 320 * 1280 + 2 * 1280
    assert last.stages == (stages[-1].name,)
    assert last.total == head.total == model.trainer.count_params()


def test_batch_norm_in_frozen_stages_ignores_the_batch_even_in_training(small):
    set_trainable(small.backbone.stages, Phase("head", (), 1, 1.0, "frozen"))
    pixels = np.random.default_rng(1).uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
    network = small.backbone.network
    alone = keras.ops.convert_to_numpy(network(pixels[:1] / 127.5 - 1, training=True))
    together = keras.ops.convert_to_numpy(network(pixels / 127.5 - 1, training=True))
    np.testing.assert_allclose(alone[0], together[0], atol=1e-4)


@pytest.mark.parametrize(("steps", "momentum"), [(40, 0.9), (200, 0.95), (5000, 0.99)])
def test_adapting_batch_norm_remembers_the_last_tenth_of_a_phase(steps, momentum):
    adapting, frozen = (keras.layers.BatchNormalization(momentum=0.99) for _ in range(2))
    stages = [Stage(0, "first", (frozen,), ()), Stage(1, "last", (adapting,), ())]
    set_trainable(stages, Phase("last_stages", (1,), 1, 1.0, "adapt"))
    set_batch_norm_memory(stages, steps)
    assert (adapting.momentum, frozen.momentum) == (pytest.approx(momentum), 0.99)
    batch = np.full((4, 3), 10.0, "float32")
    for _ in range(40):
        for layer in (adapting, frozen):
            layer(batch, training=True)
    np.testing.assert_allclose(adapting.moving_mean, 10.0 * (1 - momentum**40), rtol=1e-3)
    np.testing.assert_array_equal(frozen.moving_mean, 0.0)


def test_every_epoch_is_a_line_of_history(small, tmp_path):
    train(small, Phase("head", (), 2, 1.0, "frozen"), tmp_path, validation=batches(1).map(lambda x, y, w: (x, y)))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in lines] == [("head", 1), ("head", 2)]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(lines[0])


def test_a_loss_that_is_nan_names_the_step_and_restores_the_last_good_weights(small, tmp_path):
    phase = Phase("full", tuple(range(len(small.backbone.stages))), 2, 1.0, "frozen")
    before = small.trainer.get_weights()
    with pytest.raises(TrainingError, match=r"nan in epoch 2, step 2.*learning_rate"):
        train(small, phase, tmp_path, value=np.nan)
    after = small.trainer.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    # Epoch 1 was good: its weights are restored.
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    small.trainer.set_weights(before)


def test_the_best_weights_over_all_phases_are_restored():
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs))
    best = BestWeights(Monitor("val_loss", "min"))
    kernel = model.layers[-1].kernel
    weights = TrainedWeights([kernel])
    best.watch(weights)
    for epoch, loss in enumerate([0.5, 0.3, 0.9]):
        kernel.assign([[float(epoch)]])
        weights.take()
        best.on_epoch_end(epoch, {"val_loss": loss})
    best.on_train_end()
    assert float(np.array(kernel)[0, 0]) == 1.0
    # A second phase that only makes it worse ends with the weights of the first.
    weights = TrainedWeights([kernel])
    best.watch(weights)
    kernel.assign([[7.0]])
    weights.take()
    best.on_epoch_end(0, {"val_loss": 0.4})
    best.on_train_end()
    assert float(np.array(kernel)[0, 0]) == 1.0


def test_early_stopping_ends_a_phase(small, tmp_path):
    # At this rate nothing changes, so the second epoch does not better the first and is the last.
    phase = Phase("head", (), 6, 1e-30, "frozen")
    stop = {"metric": "val_loss", "patience": 1}
    train(small, phase, tmp_path, early_stopping=stop, validation=batches(1).map(lambda x, y, w: (x, y)))
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("weights", "batch_norm", "expected"),
    [
        ("all", "frozen", {"kernel"}),
        ("all", "adapt", {"kernel", "gamma", "beta", "moving_mean", "moving_variance"}),
        ("bias", "adapt", {"beta", "moving_mean", "moving_variance"}),
        ("batch_norm", "adapt", {"gamma", "beta", "moving_mean", "moving_variance"}),
    ],
)
def test_only_what_training_changes_is_copied(model, weights, batch_norm, expected):
    last = model.backbone.stages[-1]
    phase = Phase("last", (last.index,), 1, 1.0, batch_norm, weights=weights)
    applied = apply_phase(model, phase, config=TrainingConfig(), steps=STEPS)
    of_stage = {id(weight) for weight in last.weights}
    changing = [variable for variable in applied.changing if id(variable) in of_stage]
    assert {variable.name for variable in changing} == expected
    others = [variable.path for variable in applied.changing if id(variable) not in of_stage]
    assert sorted(path.split("/")[-1] for path in others) == ["bias", "kernel"]
    assert all("head_logits" in path for path in others)


def test_the_best_epoch_by_a_metric_is_restored_with_its_statistics(small, tmp_path):
    """Its value rises from epoch to epoch, and less is better: the first epoch it is, whatever the loss."""

    def high(y_true, y_pred):
        return keras.ops.sum(y_pred * 0.0, axis=-1) + counter

    counter = keras.Variable(0.0, trainable=False)
    high.direction = "min"
    held_out = batches(1).map(lambda x, y, w: (x, y))
    phase = Phase("last", (len(small.backbone.stages) - 1,), 3, 1.0, "adapt")
    before = small.trainer.get_weights()
    snapshots = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            snapshots.append(small.trainer.get_weights())
            counter.assign(float(epoch + 1))

    config = TrainingConfig(batch_size=BATCH, keep_metric="val_high", learning_rate=1e-2)
    custom = CustomParts(metrics=[high])
    best = BestWeights(find_monitors(config, small.head, custom).keep)
    train_phase(
        small,
        PlannedPhase(phase, config, PhaseStarted("last", 1, 1, 3, STEPS)),
        Inputs(small.trainer, batches(3), held_out),
        RunState(best, Observers(callbacks=UserCallbacks([Watch()])), custom=custom),
    )
    after = small.trainer.get_weights()
    for value, first in zip(after, snapshots[0], strict=True):
        np.testing.assert_array_equal(value, first)
    assert any(not np.array_equal(first, last) for first, last in zip(snapshots[0], snapshots[-1], strict=True))
    small.trainer.set_weights(before)


def test_an_optimizer_from_python_trains_at_the_phases_share_of_its_rate(small, tmp_path):
    given = keras.optimizers.SGD(1.0, clipnorm=1e-3)
    phase = Phase("head", (), 1, 0.25, "frozen")
    before = small.trainer.get_weights()
    optimizer = train(small, phase, tmp_path, keep="last", custom=CustomParts(optimizer=given))
    assert (type(optimizer), float(optimizer.learning_rate), given.built) == (keras.optimizers.SGD, 0.25, False)
    moved = [np.linalg.norm(a - b) for a, b in zip(before, small.trainer.get_weights(), strict=True)]
    # Each step moves at most 0.25 times the clipped norm, for each of the head's two weights.
    assert 1 <= sum(distance > 0 for distance in moved) <= 2  # the bias may move by less than float32 holds
    assert max(moved) <= STEPS * 0.25 * 1e-3 * 1.01
    small.trainer.set_weights(before)
