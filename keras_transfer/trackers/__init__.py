"""Trackers record runs: TensorBoard, MLflow, Weights & Biases, Trackio, and those of plugins.

None of their packages is imported before a run uses it.
"""

from keras_transfer.trackers.base import TRACKERS, Tracker, import_package, make_trackers
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.console import ConsoleTracker
from keras_transfer.trackers.git_commit import find_git_commit
from keras_transfer.trackers.history import HistoryTracker
from keras_transfer.trackers.logged import ARTIFACTS, list_epoch_metrics, list_parameters, list_report_metrics
from keras_transfer.trackers.mlflow import MlflowTracker
from keras_transfer.trackers.plot import PlotTracker
from keras_transfer.trackers.records import (
    EpochEnded,
    PhaseEnded,
    PhaseStarted,
    ReportMade,
    RunEnded,
    RunStarted,
    StepEnded,
)
from keras_transfer.trackers.tensorboard import TensorBoardTracker
from keras_transfer.trackers.trackio import TrackioTracker
from keras_transfer.trackers.wandb import WandbTracker

for _name, _tracker in (
    ("tensorboard", TensorBoardTracker),
    ("mlflow", MlflowTracker),
    ("wandb", WandbTracker),
    ("trackio", TrackioTracker),
):
    TRACKERS.add(_name, _tracker)

__all__ = [
    "ARTIFACTS",
    "TRACKERS",
    "ConsoleTracker",
    "EpochEnded",
    "HistoryTracker",
    "MlflowTracker",
    "PhaseEnded",
    "PhaseStarted",
    "PlotTracker",
    "ReportMade",
    "RunEnded",
    "RunStarted",
    "StepEnded",
    "TensorBoardTracker",
    "Tracker",
    "Trackers",
    "TrackioTracker",
    "WandbTracker",
    "find_git_commit",
    "import_package",
    "list_epoch_metrics",
    "list_parameters",
    "list_report_metrics",
    "make_trackers",
]
