"""A run that trackers record: two phases of one and two epochs, with fixed metrics."""

import os

import pytest

from keras_transfer.testing.trackers import _PNG
from keras_transfer.trackers.records import EpochEnded, PhaseStarted, ReportMade, RunEnded, RunStarted

# Tests report nothing to anybody.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}

COMMIT = "3f" * 20
RECIPE = {"task": "image_classification", "seed": 7, "data": {"source": "cells", "stratify": ["label"], "group": None}}
HEAD, FULL = PhaseStarted("head", 1, 2, 1, 0), PhaseStarted("full", 2, 2, 2, 5)
EPOCHS = (
    EpochEnded(HEAD, 1, 1, {"loss": 0.75, "val_loss": 0.875}, 0.5, {"strength": 2.0}),
    EpochEnded(FULL, 1, 2, {"loss": 0.5, "val_loss": 0.625}, 1.25),
    EpochEnded(FULL, 2, 3, {"loss": 0.25, "val_loss": 0.375}, 1.5),
)
TEST = ReportMade("test", {"n": 8, "accuracy": 0.875, "accuracy_interval": [0.5, 1.0], "gain": {"points": 0.125}}, 3)


class Play:
    """Plays the run, or a part of it, to a tracker."""

    epochs = EPOCHS

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def start(self, tracker, *, resumed=False):
        fingerprints = {"train": "aa11", "test": "bb22"}
        tracker.run_started(RunStarted(self.folder, RECIPE, {}, COMMIT, fingerprints, "accuracy", resumed))

    def train(self, tracker, epochs=EPOCHS):
        for epoch in epochs:
            if epoch.epoch == 1:
                tracker.phase_started(epoch.phase)
            tracker.epoch_ended(epoch)

    def end(self, tracker):
        (self.folder / "recipe.yaml").write_text("task: image_classification\nseed: 7\n")
        (self.folder / "metrics.json").write_text('{"test": {"accuracy": 0.875}}\n')
        (self.folder / "history.png").write_bytes(_PNG)
        (self.folder / "model.keras").write_bytes(b"large")
        tracker.report_made(TEST)
        tracker.run_ended(RunEnded(self.folder, 3))

    def whole(self, tracker):
        self.start(tracker)
        self.train(tracker)
        self.end(tracker)

    def resumed(self, make):
        """Interrupt the run in the last epoch, and resume it with a tracker of another process."""
        first, second = make(), make()
        self.start(first)
        self.train(first, EPOCHS[:2])
        state = first.get_state()
        first.run_failed(KeyboardInterrupt())
        second.set_state(state)
        self.start(second, resumed=True)
        self.train(second, EPOCHS[1:])
        self.end(second)


@pytest.fixture
def play(tmp_path):
    return Play(tmp_path / "mine")
