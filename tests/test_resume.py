"""A run that is killed anywhere and resumed ends as one that never was: bit for bit."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

import keras_transfer.job
import keras_transfer.recipe
import keras_transfer.run
import keras_transfer.training
from keras_transfer import ImageClassification, RunInterrupted, TextClassification, TransferWarning
from keras_transfer.checkpoint import CheckpointStore
from keras_transfer.data.picture_reader import PictureReader
from keras_transfer.interruption import Interruption
from keras_transfer.job import Job
from keras_transfer.resume import Checkpointer, Checkpoints

STEPS = 6  # 21 training pictures, four a step

STEP = (Checkpointer, "on_train_batch_end")
"""Before the checkpoint that the step may be due for; steps that are passed over count too."""
SAVE = (Checkpoints, "save")
WRITE = (CheckpointStore, "write")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, make_pictures):
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", {"cat": 16, "dog": 16}, size=20)


@pytest.fixture
def recipe(pictures, pebble):
    def make(policy, **sections):
        training = {"epochs": 3, "batch_size": 4, **sections.pop("training", {})}
        checkpoint = {"every_steps": 2, **sections.pop("checkpoint", {})}
        return ImageClassification(
            {"source": str(pictures), "image_size": 16},
            backbone="pebble",
            policy=policy,
            training=training,
            checkpoint=checkpoint,
            deterministic=True,
            **{"export": {"formats": []}, **sections},
        )

    return make


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def metrics(folder):
    reports = json.loads((folder / "metrics.json").read_text())
    for report in reports.values():
        if report.get("gain"):
            report["gain"] = {key: value for key, value in report["gain"].items() if "seconds" not in key}
    return reports


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_same(resumed, unbroken):
    """All but the seconds, to the bit, and no file more or less."""
    assert history(resumed.folder) == history(unbroken.folder)
    for a, b in zip(resumed.model.weights, unbroken.model.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    assert metrics(resumed.folder) == metrics(unbroken.folder)
    assert files(resumed.folder) == files(unbroken.folder)
    for name in ("recipe.yaml", "data.json"):
        assert (resumed.folder / name).read_text() == (unbroken.folder / name).read_text()


KILLS = {
    # Each process ends at a call of something: in the middle of an epoch, at its end, in a checkpoint, after a phase.
    "full, mixed pictures, no cache": (
        "full",
        {"cache": {"views": 0}, "augmentation": {"mixup": 0.4, "rotation": 20}},
        [(*STEP, 4), (*STEP, STEPS + 5), (*WRITE, 2), (keras_transfer.recipe, "_save", 1)],
    ),
    "lp_ft": (
        {"name": "lp_ft", "stage_decay": 0.5},
        {"training": {"l2_sp": 0.01}},
        [(*SAVE, 1), (*STEP, 1), (*STEP, 2 * STEPS + 1), (Job, "judge", 1)],
    ),
    "gradual, averages, early stopping": (
        {"name": "gradual", "groups": 2, "group_epochs": 2},
        {"training": {"ema": 0.9, "early_stopping": {"patience": 1}, "learning_rate": 0.05}},
        [(*STEP, 7), (keras_transfer.job, "train_phase", 2), (*STEP, STEPS + 3), (*SAVE, 3)],
    ),
    "lora, no validation rows": (
        {"name": "lora", "rank": 2},
        {"training": {"keep": "last", "epochs": 2}, "data": {"validation": 0.0}},
        [(*STEP, 5), (*STEP, 7), (keras_transfer.recipe, "plot_history", 1)],
    ),
    "head on cached views": (
        {"name": "head", "head_solver": "sgd"},
        {"augmentation": {"rotation": 20}, "head": {"hidden": 4}},
        [(*STEP, 9), (*STEP, 2 * STEPS), (keras_transfer.run.json, "dumps", 4)],
    ),
}


@pytest.mark.parametrize("name", KILLS)
def test_killed_and_resumed_is_never_killed(recipe, pictures, tmp_path, killed, name):
    policy, sections, kills = KILLS[name]
    sections = dict(sections)
    own = {"source": str(pictures), "image_size": 16, **sections.pop("data", {})}

    def fit(folder, **options):
        made = recipe(policy, **sections)
        made = ImageClassification(own, **made.config.model_dump(exclude={"task", "data"}))
        return made.fit(tmp_path / folder, **options)

    unbroken = fit("unbroken")
    for number, kill in enumerate(kills):
        killed(lambda number=number: fit("resumed", resume=number > 0), *kill)
    assert (tmp_path / "resumed" / "checkpoints").is_dir()
    assert_same(fit("resumed", resume=True), unbroken)
