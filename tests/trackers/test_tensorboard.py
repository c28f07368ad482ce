"""TensorBoard's own reader finds in the event files what a run did."""

import pytest

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from keras_transfer.testing import check_tracker
from keras_transfer.trackers.tensorboard import TensorBoardTracker


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events):
    """Of each scalar: its values by step."""
    tags = events.Tags()["tensors"]
    kinds = {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in tags}
    return {
        tag: {event.step: make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
        for tag in tags
        if kinds[tag] == "scalars"
    }


def text(events, tag):
    return events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()


SCALARS = {
    "loss": {1: 0.75, 2: 0.5, 3: 0.25},
    "val_loss": {1: 0.875, 2: 0.625, 3: 0.375},
    "strength": {1: 2.0},
    "seconds": {1: 0.5, 2: 1.25, 3: 1.5},
    "phase": {1: 1.0, 2: 2.0, 3: 2.0},
    "phase_1_head/loss": {1: 0.75},
    "phase_1_head/val_loss": {1: 0.875},
    "phase_1_head/strength": {1: 2.0},
    "phase_2_full/loss": {2: 0.5, 3: 0.25},
    "phase_2_full/val_loss": {2: 0.625, 3: 0.375},
    "test/n": {3: 8.0},
    "test/accuracy": {3: 0.875},
    "test/gain.points": {3: 0.125},
}


def test_metrics_parameters_and_files_are_in_the_event_file(play):
    play.whole(TensorBoardTracker())
    events = read(play.folder / "tensorboard")
    assert scalars(events) == SCALARS
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}
    assert values == {
        "task": "image_classification",
        "seed": 7.0,
        "data.source": "cells",
        "data.stratify": '["label"]',
        "data.group": "null",
        "git_commit": "3f" * 20,
        "fingerprint.train": "aa11",
        "fingerprint.test": "bb22",
    }
    assert text(events, "recipe.yaml") == "    task: image_classification\n    seed: 7"
    assert text(events, "metrics.json") == '    {"test": {"accuracy": 0.875}}'
    (image,) = events.Tensors("history.png")
    assert image.tensor_proto.string_val[:2] == [b"1", b"1"]  # width and height, then the PNG


def test_a_folder_of_several_runs_has_a_sub_folder_for_each(play, tmp_path):
    play.whole(TensorBoardTracker(folder=str(tmp_path / "logs")))
    assert scalars(read(tmp_path / "logs" / "mine")) == SCALARS
    assert not (play.folder / "tensorboard").exists()


def test_a_resumed_run_continues_in_the_same_folder(play):
    play.resumed(TensorBoardTracker)
    assert scalars(read(play.folder / "tensorboard")) == SCALARS


def test_it_satisfies_the_contract(tmp_path):
    check_tracker(TensorBoardTracker(folder=str(tmp_path)))
