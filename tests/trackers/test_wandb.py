"""What a run did is in the files that `wandb sync` uploads."""

import json
import struct
import time

import pytest

from keras_transfer.testing import check_tracker
from keras_transfer.trackers.wandb import WandbTracker

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)


def blocks(data):
    """The records of a W&B file: LevelDB's log format behind seven bytes."""
    offset, record = 7, b""
    while offset + 7 <= len(data):
        room = 2**15 - offset % 2**15
        if room < 7:
            offset += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        record += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


def read(file):
    """All records of a run. W&B's own process may write the last ones just after the run was finished."""
    from wandb.proto.wandb_internal_pb2 import Record

    deadline = time.monotonic() + 30
    while True:
        found = [Record.FromString(block) for block in blocks(file.read_bytes())]
        if (found and found[-1].WhichOneof("record_type") == "exit") or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def records(folder, kind):
    """All records of a kind in the files of a run, oldest first."""
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        yield from (getattr(record, kind) for record in read(file) if record.WhichOneof("record_type") == kind)


def values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def rows(folder):
    found = [values(record.item) for record in records(folder, "history")]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in found]


ROWS = [
    {
        "epoch": 1,
        "loss": 0.75,
        "val_loss": 0.875,
        "strength": 2.0,
        "seconds": 0.5,
        "phase": 1.0,
        "phase_1_head/loss": 0.75,
        "phase_1_head/val_loss": 0.875,
        "phase_1_head/strength": 2.0,
    },
    {
        "epoch": 2,
        "loss": 0.5,
        "val_loss": 0.625,
        "seconds": 1.25,
        "phase": 2.0,
        "phase_2_full/loss": 0.5,
        "phase_2_full/val_loss": 0.625,
    },
    {
        "epoch": 3,
        "loss": 0.25,
        "val_loss": 0.375,
        "seconds": 1.5,
        "phase": 2.0,
        "phase_2_full/loss": 0.25,
        "phase_2_full/val_loss": 0.375,
    },
]


def test_metrics_parameters_and_files_are_in_the_offline_run(play):
    play.whole(WandbTracker(project="cells", mode="offline"))
    assert rows(play.folder) == ROWS
    (run,) = records(play.folder, "run")
    assert (run.project, run.display_name) == ("cells", "mine")
    config = {key: value for key, value in values(run.config.update).items() if not key.startswith("_")}
    assert config == {
        "task": "image_classification",
        "seed": 7,
        "data.source": "cells",
        "data.stratify": '["label"]',
        "data.group": "null",
        "git_commit": "3f" * 20,
        "fingerprint.train": "aa11",
        "fingerprint.test": "bb22",
    }
    summary = {}
    for record in records(play.folder, "summary"):
        summary |= values(record.update)
    assert (summary["test/accuracy"], summary["test/gain.points"], summary["loss"]) == (0.875, 0.125, 0.25)
    (folder,) = play.folder.glob("wandb/offline-run-*/files")
    assert not any(file.is_symlink() for file in folder.iterdir())
    saved = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name in ("recipe.yaml", "metrics.json", "history.png"):
        assert saved[name] == (play.folder / name).read_bytes()
    assert "model.keras" not in saved


def test_a_resumed_run_continues_its_run(play):
    play.resumed(lambda: WandbTracker(mode="offline"))
    first, second = records(play.folder, "run")
    assert first.run_id == second.run_id
    assert rows(play.folder) == [*ROWS[:2], *ROWS[1:]]  # W&B shows the last row of an epoch


def test_a_failed_run_is_marked(play):
    tracker = WandbTracker(mode="offline")
    play.start(tracker)
    tracker.run_failed(ValueError("the loss is NaN"))
    assert [record.exit_code for record in records(play.folder, "exit")] == [1]


def test_a_run_of_the_user_stays_active(play, tmp_path):
    own = wandb.init(mode="offline", dir=str(tmp_path))
    play.whole(WandbTracker(mode="offline"))
    own.log({"mine": 1})
    own.finish()
    assert [row.get("mine") for row in rows(tmp_path)] == [1]


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_it_satisfies_the_contract(mode):
    check_tracker(WandbTracker(mode=mode))
