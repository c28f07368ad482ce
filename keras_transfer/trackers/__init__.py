"""Trackers record runs: TensorBoard, MLflow, Weights & Biases, Trackio, and those of plugins.

None of their packages is imported before a run uses it.
"""

from keras_transfer.trackers.base import TRACKERS
from keras_transfer.trackers.mlflow import MlflowTracker
from keras_transfer.trackers.tensorboard import TensorBoardTracker
from keras_transfer.trackers.trackio import TrackioTracker
from keras_transfer.trackers.wandb import WandbTracker

__all__ = ["TRACKERS"]

for _name, _tracker in (
    ("tensorboard", TensorBoardTracker),
    ("mlflow", MlflowTracker),
    ("wandb", WandbTracker),
    ("trackio", TrackioTracker),
):
    TRACKERS.add(_name, _tracker)
