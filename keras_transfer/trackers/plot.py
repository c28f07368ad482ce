"""history.png: loss and metric over the epochs."""

import json
from pathlib import Path

from keras_transfer.storage.atomic import whole
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import RunEnded, RunStarted


class PlotTracker(Tracker):
    """Draws a run's history when it has ended. Every run has it, after the tracker that writes the history.

    Args:
        history: ``history.jsonl`` of the run folder.
        image: The PNG to write.
    """

    def __init__(self, history: Path, image: Path) -> None:
        super().__init__()
        self._history, self._image, self._metric = history, image, "loss"

    def run_started(self, run: RunStarted) -> None:
        self._metric = run.metric

    def run_ended(self, result: RunEnded) -> None:
        with whole(self._image) as image:
            plot_history(self._history, image, self._metric)


def plot_history(history: Path, image: Path, metric: str) -> None:
    """Draw the loss and a metric over the epochs of all phases."""
    # Imported here: pyplot would choose a window system, and `--help` needs neither.
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, drawn in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        for name, label in ((drawn, "training"), (f"val_{drawn}", "validation")):
            points = [(epoch, line[name]) for epoch, line in enumerate(lines, start=1) if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        for epoch in range(1, len(lines)):
            if lines[epoch]["phase"] != lines[epoch - 1]["phase"]:
                axes.axvline(epoch + 0.5, color="grey", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel=drawn)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
    figure.savefig(image, dpi=120)
