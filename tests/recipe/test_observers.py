"""Callbacks and trackers that a user brings along: from Python, from a recipe file and from the command line."""

import json
import os
import signal

import keras
import numpy as np
import pytest

from keras_transfer import (
    CheckpointError,
    ConfigError,
    ImageClassification,
    Recipe,
    RunInterrupted,
    TrainingError,
    TransferWarning,
)
from keras_transfer.config.recipe_file import write_recipe
from keras_transfer.trackers import TRACKERS
from keras_transfer.trackers.base import Tracker
from keras_transfer.training.checkpointing import Checkpointer
from keras_transfer.training.observers import UserCallbacks

STEPS = 6  # 21 training images, four per step
HEAD = {"name": "head", "head_solver": "sgd"}
TWO_PHASES = {"name": "lp_ft", "head_solver": "sgd", "head_epochs": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory, make_images):
    return make_images(tmp_path_factory.mktemp("data") / "images", {"cat": 16, "dog": 16}, size=20)


@pytest.fixture(scope="module")
def recipe(images, pebble):
    def make(policy=HEAD, *, trackers=(), epochs=2, **sections):
        return ImageClassification(
            {"source": str(images), "image_size": 16},
            backbone="pebble",
            policy=policy,
            training={"epochs": epochs, "batch_size": 4, **sections.pop("training", {})},
            checkpoint={"every_steps": 2},
            trackers=list(trackers),
            deterministic=True,
            export={"formats": []},
            report=False,
            **sections,
        )

    return make


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


class Nudge(keras.callbacks.Callback):
    """Counts every call over the run and, as a callback may, changes weights by what it has counted."""

    HOOKS = ("train_begin", "train_end", "epoch_begin", "epoch_end", "train_batch_begin", "train_batch_end")
    HOOKS += ("test_begin", "test_end", "test_batch_begin", "test_batch_end")

    def __init__(self):
        super().__init__()
        self.counts = dict.fromkeys(self.HOOKS, 0)
        self.sums = np.zeros(2, "float32")

    def get_state(self):
        return {"counts": dict(self.counts), "sums": self.sums.copy()}

    def set_state(self, state):
        self.counts, self.sums = dict(state["counts"]), np.array(state["sums"])

    def on_train_batch_end(self, batch, logs=None):
        self.counts["train_batch_end"] += 1
        self.sums += [logs["loss"], batch]
        bias = self.model.trainable_variables[-1]
        bias.assign(bias + 0.001 * self.counts["train_batch_end"])

    def on_epoch_end(self, epoch, logs=None):
        self.counts["epoch_end"] += 1
        logs["nudges"] = float(self.counts["train_batch_end"])


def _count(hook):
    def count(self, *_):
        self.counts[hook] += 1

    return count


for _hook in Nudge.HOOKS:
    if f"on_{_hook}" not in vars(Nudge):
        setattr(Nudge, f"on_{_hook}", _count(_hook))


class Log(Tracker):
    """Remembers every record."""

    def __init__(self):
        super().__init__()
        self.records, self.steps, self.state = [], 0, None

    def step_ended(self, step):
        self.steps += 1

    def get_state(self):
        return {"epochs": self.count("EpochEnded")}

    def set_state(self, state):
        self.state = state

    def names(self):
        return [type(record).__name__ for record in self.records]

    def count(self, name):
        return self.names().count(name)

    def of(self, name):
        return [record for record in self.records if type(record).__name__ == name]


def _record(self, record):
    self.records.append(record)


for _method in ("run_started", "phase_started", "epoch_ended", "phase_ended", "report_made", "run_ended", "run_failed"):
    setattr(Log, _method, _record)


def fit(recipe, folder, **options):
    nudge, log = Nudge(), Log()
    run = recipe.fit(folder, callbacks=[keras.callbacks.Callback(), nudge], trackers=[log], **options)
    return run, nudge, log


@pytest.fixture(scope="module")
def unbroken(recipe, tmp_path_factory):
    """A run of two phases, two epochs each, with what its callback counted and what its tracker received."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(folder / "cache"))
        return fit(recipe(TWO_PHASES), folder / "run")


STEP, TEST = (Checkpointer, "on_train_batch_end"), (UserCallbacks, "on_test_begin")


@pytest.mark.slow
def test_a_stateful_callback_and_a_tracker_are_resumed_bit_for_bit(recipe, unbroken, tmp_path, killed):
    made, (expected_run, expected, _) = recipe(TWO_PHASES), unbroken
    kills = [
        (*STEP, 3),  # in the middle of an epoch
        (*TEST, 1),  # the second process: before a validation
        (*STEP, 2 * STEPS + 1),  # the third, which passes over the steps before that: in the first of another phase
        (*STEP, STEPS + 1),  # the fourth: behind a whole epoch
    ]
    for number, kill in enumerate(kills):
        killed(lambda n=number: fit(made, tmp_path / "run", resume=n > 0), *kill)
    run, nudge, log = fit(made, tmp_path / "run", resume=True)
    assert expected.counts["train_batch_end"] == 4 * STEPS
    assert nudge.counts == expected.counts
    np.testing.assert_array_equal(nudge.sums, expected.sums)
    for a, b in zip(run.model.weights, expected_run.model.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    assert history(run.folder) == history(expected_run.folder)
    assert [line["nudges"] for line in history(run.folder)] == [n * STEPS for n in range(1, 5)]
    assert log.state == {"epochs": 1}  # of the fourth process, which started with the third epoch
    assert log.of("RunStarted")[0].resumed
    assert [(e.phase.number, e.epoch, e.run_epoch) for e in log.of("EpochEnded")] == [(2, 2, 4)]
    assert log.steps == STEPS


@pytest.mark.slow
def test_a_validation_that_is_interrupted_counts_once(recipe, unbroken, tmp_path, monkeypatch):
    original, calls = Nudge.on_test_batch_end, []

    def told_to_stop(self, batch, logs=None):
        original(self, batch, logs)
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Nudge, "on_test_batch_end", told_to_stop)
    with pytest.raises(RunInterrupted):
        fit(recipe(TWO_PHASES), tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    _, nudge, _ = fit(recipe(TWO_PHASES), tmp_path / "run", resume=True)
    assert nudge.counts == unbroken[1].counts


@pytest.mark.slow
def test_a_run_must_be_resumed_with_the_callbacks_that_it_had(recipe, tmp_path, killed):
    made = recipe()
    killed(lambda: fit(made, tmp_path / "run"), *STEP, STEPS + 2)
    with pytest.raises(CheckpointError) as raised:
        made.fit(tmp_path / "run", resume=True, callbacks=[Nudge()])
    assert str(raised.value) == (
        "The run was started with callbacks=[1-Callback, 2-Nudge]. Received: [1-Nudge]. "
        "Resume it with the same callbacks, or choose another --out."
    )
    with pytest.raises(CheckpointError, match=r"callbacks=\[1-Callback, 2-Nudge\]\. Received: \[\]"):
        made.fit(tmp_path / "run", resume=True)
    fit(made, tmp_path / "run", resume=True)


@pytest.mark.slow
def test_early_stopping_and_history_see_what_a_callback_measures(recipe, tmp_path):
    class Measure(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["learning_rate"] = 0.5

    run = recipe(epochs=1).fit(tmp_path / "run", callbacks=[Measure()])
    assert [line["learning_rate"] for line in history(run.folder)] == [0.5]


@pytest.mark.slow
def test_a_solved_head_calls_no_callback(recipe, tmp_path):
    nudge = Nudge()
    recipe("head").fit(tmp_path / "run", callbacks=[nudge])
    assert set(nudge.counts.values()) == {0}


def test_what_is_not_a_callback_is_refused_before_anything_is_written(recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"callbacks: expected instances of keras\.callbacks\.Callback"):
        recipe().fit(tmp_path / "run", callbacks=[Tracker()])
    with pytest.raises(ConfigError, match=r"trackers: expected Tracker objects or names"):
        recipe().fit(tmp_path / "run", trackers=[keras.callbacks.Callback()])
    assert not (tmp_path / "run").exists()


def test_a_state_that_a_checkpoint_cannot_store_is_named(recipe, tmp_path):
    class Odd(keras.callbacks.Callback):
        def get_state(self):
            return {"seen": {1, 2}}

        def set_state(self, state):
            pass

    with pytest.raises(ConfigError, match=r"callbacks: get_state of 1-Odd: it\['seen'\] is of type set\. Expected"):
        recipe().fit(tmp_path / "run", callbacks=[Odd()])


def test_a_tracker_receives_a_run_from_start_to_end(unbroken):
    run, _, log = unbroken
    phase = ["PhaseStarted", "EpochEnded", "EpochEnded", "PhaseEnded"]
    assert log.names() == ["RunStarted", *phase, *phase, "ReportMade", "ReportMade", "RunEnded"]
    (start,), phases, epochs = log.of("RunStarted"), log.of("PhaseStarted"), log.of("EpochEnded")
    data = json.loads((run.folder / "data.json").read_text())
    assert start.folder == run.folder
    assert start.recipe == run.config.model_dump(mode="json")
    assert start.fingerprints == {name: split["fingerprint"] for name, split in data["splits"].items()}
    assert start.environment == json.loads((run.folder / "environment.json").read_text())
    assert (start.metric, start.resumed) == ("accuracy", False)
    assert [(p.number, p.count, p.epochs, p.steps) for p in phases] == [(1, 2, 2, STEPS), (2, 2, 2, STEPS)]
    assert [(e.phase.number, e.epoch, e.run_epoch) for e in epochs] == [(1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)]
    rounded = [{name: round(value, 6) for name, value in epoch.metrics.items()} for epoch in epochs]
    lines = [{k: v for k, v in line.items() if k not in ("phase", "epoch")} for line in history(run.folder)]
    assert rounded == lines
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rounded[0])
    assert log.steps == 4 * STEPS
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert {report.split: json.loads(json.dumps(report.metrics)) for report in log.of("ReportMade")} == metrics
    names = {file.name for file in log.of("RunEnded")[0].files}
    assert {"recipe.yaml", "metrics.json", "history.jsonl", "history.png", "model.keras"} <= names


@pytest.mark.slow
def test_a_solved_head_is_a_phase_of_one_epoch(recipe, tmp_path):
    log = Log()
    run = recipe("head").fit(tmp_path / "run", trackers=[log])
    (phase,), (epoch,) = log.of("PhaseStarted"), log.of("EpochEnded")
    assert (phase.name, phase.steps, epoch.epoch, epoch.run_epoch) == ("head", 0, 1, 1)
    (line,) = history(run.folder)
    assert line["strength"] == round(epoch.details["strength"], 6)
    assert log.steps == 0


def test_a_failed_run_is_reported_with_its_error(recipe, tmp_path):
    log = Log()
    with pytest.raises(TrainingError):
        recipe("full", training={"learning_rate": 1e30, "warmup": 0.0}).fit(tmp_path / "run", trackers=[log])
    assert isinstance(log.records[-1], TrainingError)
    assert "RunEnded" not in log.names()


class Flaky(Log):
    def epoch_ended(self, epoch):
        super().epoch_ended(epoch)
        raise ConnectionError("no route to the server")


def test_a_tracker_that_fails_warns_once_and_the_run_completes(recipe, tmp_path):
    flaky = Flaky()
    with pytest.warns(TransferWarning) as warned:
        run = recipe().fit(tmp_path / "run", trackers=[flaky])
    assert [str(w.message) for w in warned if "Flaky" in str(w.message)] == [
        "Tracker Flaky failed in epoch_ended: ConnectionError: no route to the server. The run continues without it."
    ]
    assert flaky.names() == ["RunStarted", "PhaseStarted", "EpochEnded"]
    assert len(history(run.folder)) == 2
    assert (run.folder / "history.png").is_file()


def test_trackers_do_not_change_weights(recipe, tmp_path):
    pytest.importorskip("tensorboard")
    plain = recipe(epochs=1).fit(tmp_path / "plain")
    tracked = recipe(epochs=1, trackers=["tensorboard"]).fit(tmp_path / "tracked")
    for a, b in zip(plain.model.weights, tracked.model.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


def read_scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: {event.step: make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


@pytest.mark.slow
def test_a_recipe_file_names_trackers_with_settings(recipe, tmp_path, command):
    pytest.importorskip("tensorboard")
    file, out, logs = tmp_path / "own.yaml", tmp_path / "mine", tmp_path / "logs"
    write_recipe(recipe(trackers=[{"name": "tensorboard", "folder": str(logs)}]).config, file)
    result = command("run", file, "--out", out)
    assert result.exit_code == 0, result.output
    scalars = read_scalars(logs / "mine")
    assert [pytest.approx(value, abs=1e-6) for value in scalars["val_loss"].values()] == [
        line["val_loss"] for line in history(out)
    ]
    metrics = json.loads((out / "metrics.json").read_text())
    assert scalars["test/accuracy"] == {2: pytest.approx(metrics["test"]["accuracy"])}
    assert Recipe.from_file(out / "recipe.yaml").config.trackers[0].settings == {"folder": str(logs)}


@pytest.mark.slow
def test_a_run_may_be_resumed_with_other_trackers(recipe, tmp_path, killed, monkeypatch):
    monkeypatch.setattr(TRACKERS, "_values", {**TRACKERS._values, "log": Log})
    killed(lambda: recipe(trackers=["log"]).fit(tmp_path / "run"), *STEP, STEPS + 2)
    run = recipe().fit(tmp_path / "run", resume=True)
    assert len(history(run.folder)) == 2
