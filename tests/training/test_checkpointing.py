"""When checkpoints are taken, what they hold, and that training continues from them as if it had never stopped."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.schema import CheckpointConfig
from keras_transfer.distribution import Distribution
from keras_transfer.errors import CheckpointError, RunInterrupted
from keras_transfer.storage import checkpoint_store
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.training import checkpointing
from keras_transfer.training.callbacks import EarlyStopping
from keras_transfer.training.checkpointing import (
    CheckpointedPhase,
    Checkpointer,
    Checkpoints,
    Position,
    Stopwatch,
    Variables,
)
from keras_transfer.training.interruption import Interruption
from keras_transfer.training.monitors import Monitor

NEVER = {"every_steps": None, "every_seconds": None}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No test here is about a power failure."""
    monkeypatch.setattr(checkpoint_store, "sync", lambda path: None)


class Value:
    """A part whose state is one number."""

    def __init__(self, value):
        self.value = value

    def get_state(self):
        return self.value

    def set_state(self, state):
        self.value = int(state)


class Workers(Distribution):
    """This process and another one, which was asked to stop if ``asked`` is true."""

    processes, asked = 2, False

    def __init__(self, process):
        self.process = process

    def gather(self, value):
        return [value, self.asked if isinstance(value, bool) else value]


def take(folder, start=None, *, distribution=None, **config):
    return Checkpoints(
        CheckpointStore(folder),
        CheckpointConfig(**{**NEVER, **config}),
        record={"recipe": "mine"},
        interruption=Interruption(Path("run"), grace_seconds=1.0),
        start=start,
        **({"distribution": distribution} if distribution else {}),
    )


def test_variables_are_restored_bit_for_bit_or_not_at_all():
    kernel, count = keras.Variable([[0.1, -2.0]], dtype="float32"), keras.Variable(3, dtype="int32", trainable=False)
    part = Variables("weights", [kernel, count])
    state = part.get_state()
    kernel.assign([[9.0, 9.0]])
    count.assign(5)
    part.set_state(state)
    np.testing.assert_array_equal(kernel, np.float32([[0.1, -2.0]]))
    assert int(count) == 3
    # Another device may have another precision; but not other shapes, other kinds of numbers, or other variables.
    part.set_state([np.float16([[0.5, 4.0]]), np.int64(7)])
    assert (np.asarray(kernel).tolist(), int(count)) == ([[0.5, 4.0]], 7)
    zeros, one = np.zeros((1, 2), "float32"), np.int32(1)
    for other, different in (
        ([np.zeros((2, 1), "float32"), one], 1),
        ([zeros, np.float32(1)], 1),
        ([np.zeros(3, "float32"), np.zeros(1, "int32")], 2),
        ([zeros], 1),
        ([zeros, one, one, one], 2),
        ([one], 2),
    ):
        message = f"the run's weights: {different} of 2 variables .*Received: {len(other)}"
        with pytest.raises(CheckpointError, match=message):
            part.set_state(other)
    assert (np.asarray(kernel).tolist(), int(count)) == ([[0.5, 4.0]], 7)


def test_a_stopwatch_includes_the_time_of_earlier_processes(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    watch = Stopwatch()
    now[0] = 1007.5
    assert watch.get_state() == 7.5
    now[0] = 50.0  # another process, whose clock starts again
    resumed = Stopwatch()
    resumed.set_state(7.5)
    now[0] = 52.0
    assert resumed.seconds == 9.5


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 4])
def test_early_stopping_resumes_its_count(stop_after):
    losses = [1.0, 0.5, 0.6, 0.7, 0.8]  # the third epoch without an improvement is the fifth

    def make():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        stopping = EarlyStopping(Monitor("val_loss", "min"), patience=3)
        stopping.set_model(model)
        model.stop_training = False  # as fit sets it
        return model, stopping

    model, stopping = make()
    for epoch, loss in enumerate(losses[:stop_after]):
        stopping.on_epoch_end(epoch, {"val_loss": loss})
    assert not model.stop_training
    state = stopping.get_state()
    model, stopping = make()
    stopping.set_state(state)
    for epoch, loss in enumerate(losses[stop_after:], stop_after):
        assert not model.stop_training
        stopping.on_epoch_end(epoch, {"val_loss": loss})
    assert model.stop_training
    assert stopping.get_state() == {"best": 0.5, "best_epoch": 1, "wait": 3, "stopped_epoch": 4}


def test_early_stopping_watches_its_metric_in_its_direction():
    stopping = EarlyStopping(Monitor("val_f1", "max"), patience=2)
    stopping.set_model(SimpleNamespace(stop_training=False, history=None))
    for epoch, score in enumerate([0.5, 0.6, 0.55, 0.4]):
        assert not stopping.model.stop_training
        stopping.on_epoch_end(epoch, {"val_f1": score, "val_loss": float(epoch)})
    assert stopping.model.stop_training and stopping.best == pytest.approx(0.6)


def test_checkpoints_are_taken_every_n_steps_or_seconds(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    by_steps = take(tmp_path / "steps", every_steps=3)
    assert [by_steps.is_due() for _ in range(4)] == [False, False, True, True]
    by_steps.save(Position())
    now[0] += 1e6  # only steps count
    assert [by_steps.is_due() for _ in range(3)] == [False, False, True]

    by_seconds = take(tmp_path / "seconds", every_seconds=10.0)
    due = []
    for passed in (9.0, 1.0, 0.0):
        now[0] += passed
        due.append(by_seconds.is_due())
    by_seconds.save(Position())
    now[0] += 9.5
    assert [*due, by_seconds.is_due()] == [False, True, True, False]

    never = take(tmp_path / "never")
    now[0] += 1e6
    assert not any(never.is_due() for _ in range(100))
    never.interruption.asked = True
    assert never.is_due() and never.must_end()


def test_all_processes_stop_if_one_was_asked_to_and_only_the_chief_writes(tmp_path):
    for process, names in ((1, []), (0, ["checkpoint-000001"])):
        workers = Workers(process)
        checkpoints = take(tmp_path, distribution=workers, every_steps=1)
        checkpoints.save(Position())
        assert CheckpointStore(tmp_path).names() == names
        assert not checkpoints.must_end() and not checkpoints.interruption.asked
        workers.asked = True
        assert checkpoints.must_end() and checkpoints.interruption.asked


def test_a_checkpoint_contains_position_record_and_parts_and_the_first_is_taken_once(tmp_path):
    checkpoints = take(tmp_path)
    assert not checkpoints.resumes and checkpoints.position == Position(0, 0, 0)
    part = Value(4)
    checkpoints.add("part", part)
    checkpoints.hold("baseline", [1, 2])
    checkpoints.begin(Position(), optimizer=5)
    store = CheckpointStore(tmp_path)
    whole = {"position": {"phase": 0, "epoch": 0, "step": 0}, "run": {"recipe": "mine"}, "baseline": [1, 2]}
    assert store.read() == ("checkpoint-000001", {**whole, "part": 4, "optimizer": 5})
    part.value = 8
    checkpoints.begin(Position(1, 2, 3))
    assert store.names() == ["checkpoint-000001"]
    checkpoints.save(Position(1, 2, 3))
    name, state = store.read()
    assert (name, state["position"], state["part"]) == ("checkpoint-000002", {"phase": 1, "epoch": 2, "step": 3}, 8)
    assert checkpoints.state_of("part") is None  # there is none to continue from

    resumed = take(tmp_path, state)
    assert resumed.resumes and resumed.position == Position(1, 2, 3)
    restored = Value(0)
    resumed.add("part", restored)
    assert restored.value == 8 == resumed.state_of("part")


def test_missing_or_different_parts_of_a_checkpoint_are_refused(tmp_path):
    checkpoints = take(tmp_path, {"position": {"phase": 0, "epoch": 0, "step": 0}, "part": "four"})
    with pytest.raises(CheckpointError, match="The checkpoint lacks other: another version of keras-transfer wrote it"):
        checkpoints.add("other", Value(0))
    for restore in (checkpoints.add, checkpoints.restore):
        with pytest.raises(CheckpointError, match=r"damaged: part cannot be restored \(invalid literal"):
            restore("part", Value(0))
    with pytest.raises(CheckpointError, match=r"other cannot be restored \(it is missing\)"):
        checkpoints.state_of("other")


STEPS, EPOCHS = 6, 3
X = np.random.default_rng(0).normal(size=(STEPS * 4, 3)).astype("float32")
Y = X @ np.float32([[1.0], [-2.0], [0.5]]) + 0.3


class Killed(BaseException):
    """What nothing catches."""


class Kill(keras.callbacks.Callback):
    """Does something at the given call of one of the callback's methods."""

    def __init__(self, method, number, action):
        super().__init__()
        self.left, self.action = number, action
        setattr(self, method, self.count)

    def count(self, *_, **__):
        self.left -= 1
        if not self.left:
            self.action()


def fit(folder, *, start=None, kill=None, number=0, epochs=EPOCHS, left=None, every_steps=2, stop=None):
    """Train a phase of a small network: its weights, the logs of its epochs, and the checkpoints."""
    keras.utils.set_random_seed(1 + (start is not None))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(inputs)))
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"], run_eagerly=True)  # no graph to make each time
    model.optimizer.build(model.trainable_variables)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat()
    callbacks, first, skipped = [], 0, 0
    if folder:
        checkpoints = take(folder, start, every_steps=every_steps)
        checkpoints.add("weights", Variables("weights", model.variables))
        part = Value(0)
        phase = CheckpointedPhase(
            number, epochs, STEPS, model, [0, 1, 2, 3], tf.TensorSpec((None, 1)), {"part": part}, lambda: left.append(1)
        )
        checkpointer = Checkpointer(checkpoints, phase)
        first = checkpointer.begin()
        if start:
            skipped = checkpoints.position.epoch * STEPS + checkpoints.position.step
        count = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: setattr(part, "value", part.value + (not checkpointer.skips(step)))
        )
        action = (lambda: setattr(checkpoints.interruption, "asked", True)) if left is not None else raise_killed
        callbacks = [count, *([Kill(*kill, action)] if kill else []), checkpointer]
        if stop is not None:
            stopper = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == stop)
            )
            callbacks.insert(0, stopper)
    history = model.fit(
        data.skip(skipped),
        epochs=epochs,
        initial_epoch=first,
        steps_per_epoch=STEPS,
        validation_data=(X[:8], Y[:8]),
        validation_batch_size=4,
        callbacks=callbacks,
        verbose=0,
    )
    return [np.asarray(w) for w in model.weights], history.history, part.value if folder else None


def raise_killed():
    raise Killed


@pytest.fixture(scope="module")
def unbroken():
    """Weights and logs of the same training by Keras alone."""
    return fit(None)


@pytest.mark.parametrize(
    ("kill", "position", "taken"),
    [
        pytest.param(("on_train_batch_end", 1), (0, 0), 1, id="before the first step ends"),
        pytest.param(("on_train_batch_end", 5), (0, 4), 3, id="in an epoch"),
        pytest.param(("on_test_begin", 1), (0, 6), 4, id="before a validation", marks=pytest.mark.slow),
        pytest.param(("on_epoch_begin", 2), (1, 0), 5, id="between epochs"),
        pytest.param(
            ("on_train_batch_end", STEPS * EPOCHS), (2, 4), 11, id="before the last step ends", marks=pytest.mark.slow
        ),
    ],
)
def test_training_that_was_killed_continues_bit_for_bit(tmp_path, unbroken, kill, position, taken):
    with pytest.raises(Killed):
        fit(tmp_path, kill=kill)
    name, state = CheckpointStore(tmp_path).read()
    assert state["position"] == {"phase": 0, "epoch": position[0], "step": position[1]}
    assert name == f"checkpoint-{taken:06}"
    weights, logs, part = fit(tmp_path, start=state)
    for ours, theirs in zip(weights, unbroken[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Keras' history starts with the epoch that the process starts in, of which all steps count.
    assert logs == {name: values[position[0] :] for name, values in unbroken[1].items()}
    assert part == STEPS * EPOCHS
    last = CheckpointStore(tmp_path).read()[1]
    assert last["position"] == {"phase": 0, "epoch": EPOCHS, "step": 0}
    for ours, theirs in zip(last["weights"][:4], unbroken[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("kill", "position", "leaves"),
    [
        pytest.param(("on_train_batch_end", STEPS + 3), (1, 3), [], id="in an epoch"),
        pytest.param(("on_test_batch_begin", 3), (1, STEPS), [1], id="in a validation"),
    ],
)
def test_training_that_is_asked_to_stop_takes_a_checkpoint_at_once(tmp_path, unbroken, kill, position, leaves):
    left = []
    with pytest.raises(RunInterrupted):
        fit(tmp_path, kill=kill, left=left, every_steps=None)
    assert left == leaves
    state = CheckpointStore(tmp_path).read()[1]
    assert state["position"] == {"phase": 0, "epoch": position[0], "step": position[1]}
    weights, logs, _ = fit(tmp_path, start=state)
    for ours, theirs in zip(weights, unbroken[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert logs == {name: values[position[0] :] for name, values in unbroken[1].items()}


def test_the_last_checkpoint_of_a_phase_that_stops_early_is_at_its_end(tmp_path):
    """No checkpoint in between has another epoch to follow: a run resumed from it would train longer."""
    _, logs, _ = fit(tmp_path, stop=1, every_steps=None)
    assert len(logs["loss"]) == 2 < EPOCHS
    name, state = CheckpointStore(tmp_path).read()
    # The first, that of the first epoch, and that of the end.
    assert name == "checkpoint-000003"
    assert state["position"] == {"phase": 0, "epoch": EPOCHS, "step": 0}


def test_the_next_phase_starts_fresh_from_the_weights_of_the_last(tmp_path):
    fit(tmp_path, epochs=1)
    state = CheckpointStore(tmp_path).read()[1]
    assert state["position"] == {"phase": 0, "epoch": 1, "step": 0}
    with pytest.raises(Killed):  # which has not restored the optimizer or an epoch of the phase before
        fit(tmp_path, start=state, number=1, kill=("on_epoch_begin", 1))
    # Not the first checkpoint of the run: that of the phase before serves as well.
    assert CheckpointStore(tmp_path).read()[1]["position"] == state["position"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trained": [0, 1, 4]}, "Phase 1 trains 4 variables now, and trained 3 .*: 2 were frozen then, 1 are frozen"),
        ({"trained": "all"}, "trained cannot be restored .expected indices of variables"),
        ({"trained": [0, 1, 2, "3"]}, "trained cannot be restored .expected indices of variables"),
        ({"metrics": None}, "metrics cannot be restored .expected arrays"),
        ({"optimizer": []}, "does not fit the run's optimizer"),
        ({"part": "many"}, "part cannot be restored"),
    ],
)
def test_a_checkpoint_of_another_phase_is_refused(tmp_path, change, message):
    with pytest.raises(Killed):
        fit(tmp_path, kill=("on_train_batch_end", 3))
    state = CheckpointStore(tmp_path).read()[1]
    assert state["position"] == {"phase": 0, "epoch": 0, "step": 2}
    with pytest.raises(CheckpointError, match=message):
        fit(tmp_path, start={**state, **change})
