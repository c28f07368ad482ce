"""Contract checks for plugins: there is one for each kind, which the project's own entries pass, too."""

from keras_transfer.testing.backbones import check_backbone
from keras_transfer.testing.exporters import check_exporter
from keras_transfer.testing.heads import check_head
from keras_transfer.testing.policies import check_policy
from keras_transfer.testing.sources import check_sample, check_source
from keras_transfer.testing.tasks import check_task
from keras_transfer.testing.trackers import check_tracker

__all__ = [
    "check_backbone",
    "check_exporter",
    "check_head",
    "check_policy",
    "check_sample",
    "check_source",
    "check_task",
    "check_tracker",
]
