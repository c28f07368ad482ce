"""A process of suite.py: one training of a recipe, and test predictions of several weights from it. Usage: CELL_FOLDER

head      the solved head, before fine-tuning
last      the last epoch
best      the epoch of the lowest calibrated loss on validation rows, the solved head included
third     the mean of the weights after each epoch of the last third (Izmailov et al. 2018, arXiv 1803.05407)
mix25     a quarter of the way back from the last epoch to the solved head (Wortsman et al. 2022, WiSE-FT,
mix50     arXiv 2109.01903); half of it
mix75     three quarters of it

With validation rows, each is calibrated on them; without any, none is.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from suite_cell import Cell, write_predictions
from suite_ours import find_rows, make_recipe

from keras_transfer.job.job import Job
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.records import EpochEnded
from keras_transfer.training.observers import Observers

Weights = list[np.ndarray]


class Epochs(Tracker):
    """Copies the weights after each epoch.

    Args:
        job: Is trained.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.weights: list[Weights] = []
        self.losses: list[float] = []

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Copy them."""
        variables = self._job.model.trainer.variables
        self.weights.append([np.array(keras.ops.convert_to_numpy(variable)) for variable in variables])
        self.losses.append(epoch.metrics.get("val_calibrated_loss", np.nan))


def mean(weights: Sequence[Weights], shares: Sequence[float]) -> Weights:
    """Return a weighted mean; what is no weight, such as the state of a seed, is that of the last."""
    return [
        np.average(values, axis=0, weights=shares).astype(values[-1].dtype)
        if values[-1].dtype.kind == "f"
        else values[-1]
        for values in zip(*weights, strict=True)
    ]


def main(folder: Path) -> None:
    cell = Cell.read(folder)
    job = make_recipe(cell, folder).prepare()
    epochs = Epochs(job)
    job.train(Observers(Trackers([epochs])))
    head, *tuned = epochs.weights
    last, count = tuned[-1], max(1, round(len(tuned) / 3))
    found = {"head": head, "last": last, "third": mean(tuned[-count:], [1.0] * count)}
    found |= {f"mix{100 * share:.0f}": mean([head, last], [share, 1.0 - share]) for share in (0.25, 0.5, 0.75)}
    if len(job.splits.validation):
        found["best"] = epochs.weights[int(np.argmin(epochs.losses))]
    frozen = min(phase.frozen_stages(len(job.model.backbone.stages)) for phase in job.phases)
    rows = find_rows(job.splits.test, cell.test)
    predicted = {}
    for name in cell.settings["parts"]:
        for variable, value in zip(job.model.trainer.variables, found[name], strict=True):
            variable.assign(value)
        test = job.batches.predict(job.splits.test, frozen)
        if len(job.splits.validation):
            validation = job.batches.predict(job.splits.validation, frozen)
            test = job.model.head.fit_calibration(validation, job.splits.validation.targets, "validation").calibrated(
                test
            )
        predicted[name] = test[rows]
    losses = [round(float(loss), 4) for loss in epochs.losses if np.isfinite(loss)]
    write_predictions(folder, predicted, val_calibrated_losses=losses)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
