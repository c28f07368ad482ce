"""What a run did is in Trackio's local database."""

import json
import sqlite3

import pytest

from keras_transfer.testing import check_tracker
from keras_transfer.trackers.trackio import TrackioTracker

trackio = pytest.importorskip("trackio")
# Trackio requires a version of Pillow below 13: only `make test-slow` installs it.
pytestmark = pytest.mark.slow


@pytest.fixture
def database(tmp_path, monkeypatch):
    """Trackio reads its folder from the environment when it is imported, and stores it in several modules."""
    import trackio.cas
    import trackio.sqlite_storage
    import trackio.utils

    for module in (trackio, trackio.cas, trackio.sqlite_storage, trackio.utils):
        for name, folder in (("TRACKIO_DIR", "trackio"), ("ARTIFACTS_DIR", "trackio/artifacts")):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, tmp_path / folder)
    return lambda query: _query(tmp_path / "trackio" / "keras-transfer.db", query)


def _query(file, query):
    with sqlite3.connect(file) as connection:
        return connection.execute(query).fetchall()


def steps(database):
    return [(step, json.loads(values)) for step, values in database("SELECT step, metrics FROM metrics ORDER BY id")]


STEPS = [
    (
        1,
        {
            "loss": 0.75,
            "val_loss": 0.875,
            "strength": 2.0,
            "seconds": 0.5,
            "phase": 1.0,
            "phase_1_head/loss": 0.75,
            "phase_1_head/val_loss": 0.875,
            "phase_1_head/strength": 2.0,
        },
    ),
    (
        2,
        {
            "loss": 0.5,
            "val_loss": 0.625,
            "seconds": 1.25,
            "phase": 2.0,
            "phase_2_full/loss": 0.5,
            "phase_2_full/val_loss": 0.625,
        },
    ),
    (
        3,
        {
            "loss": 0.25,
            "val_loss": 0.375,
            "seconds": 1.5,
            "phase": 2.0,
            "phase_2_full/loss": 0.25,
            "phase_2_full/val_loss": 0.375,
        },
    ),
    (3, {"test/n": 8.0, "test/accuracy": 0.875, "test/gain.points": 0.125}),
]


def test_metrics_parameters_and_files_are_in_the_database(play, database):
    play.whole(TrackioTracker())
    assert steps(database) == STEPS
    ((name, config),) = database("SELECT run_name, config FROM configs")
    values = {key: value for key, value in json.loads(config).items() if not key.startswith("_")}
    assert name == "mine"
    assert values == {
        "task": "image_classification",
        "seed": 7,
        "data.source": "cells",
        "data.stratify": '["label"]',
        "data.group": "null",
        "git_commit": "3f" * 20,
        "fingerprint.train": "aa11",
        "fingerprint.test": "bb22",
    }
    ((manifest, producer),) = database("SELECT manifest, producer_run_name FROM artifact_versions")
    sizes = {entry["path"]: entry["size"] for entry in json.loads(manifest)}
    names = ("recipe.yaml", "metrics.json", "history.png")
    assert (producer, sizes) == ("mine", {name: (play.folder / name).stat().st_size for name in names})


def test_a_resumed_run_continues_its_run(play, database):
    play.resumed(TrackioTracker)
    assert steps(database) == [*STEPS[:2], *STEPS[1:]]
    assert len(database("SELECT DISTINCT run_id FROM metrics")) == 1


def test_it_satisfies_the_contract(database):
    check_tracker(TrackioTracker())
