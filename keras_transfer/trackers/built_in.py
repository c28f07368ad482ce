"""The trackers of every run: history.jsonl, history.png, and the progress line of a phase."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

from rich.progress import Progress, TaskID

from keras_transfer.console import make_progress, print_line
from keras_transfer.errors import TransferWarning
from keras_transfer.storage.atomic import whole
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import EpochEnded, PhaseEnded, PhaseStarted, RunEnded, RunStarted, StepEnded


class HistoryTracker(Tracker):
    """Appends one line of JSON per epoch to a file, as training proceeds. Every run has it.

    Args:
        file: ``history.jsonl`` of the run folder.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def run_started(self, run: RunStarted) -> None:
        """Remove the lines of a run that was killed before its first checkpoint."""
        if not run.resumed:
            self._file.unlink(missing_ok=True)

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Write the line; if the disk is full, there is a warning, and writing is tried again at the next line."""
        values = {**epoch.metrics, **epoch.details}
        line = {name: value if isinstance(value, str | int) else round(value, 6) for name, value in values.items()}
        line = {"phase": epoch.phase.name, "epoch": epoch.epoch, **line, "seconds": round(epoch.seconds, 3)}
        try:
            with self._file.open("a", encoding="utf-8") as history:
                history.write(json.dumps(line) + "\n")
        except OSError as error:
            warnings.warn(
                f"{self._file} lacks a line: {error.strerror}. The run continues. Make room there.",
                TransferWarning,
                stacklevel=2,
            )

    def get_state(self) -> str:
        return self._file.read_text(encoding="utf-8") if self._file.exists() else ""

    def set_state(self, state: str) -> None:
        """Write the lines: those that a killed run wrote after its last checkpoint are removed."""
        with whole(self._file) as file:
            file.write_text(state, encoding="utf-8")


class PlotTracker(Tracker):
    """Plots a run's history when the run has ended. Every run has it, after the tracker that writes the history.

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
    """Plot the loss and a metric over the epochs of all phases."""
    # Imported here: pyplot would choose a GUI backend, and `--help` does not need it.
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
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    figure.savefig(image, dpi=120)


class ConsoleTracker(Tracker):
    """Shows phase, epoch, step, metrics and remaining time; prints one line per epoch. Every run has it."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def phase_started(self, phase: PhaseStarted) -> None:
        """Show the line, unless the phase has no steps."""
        if phase.steps:
            self._progress = make_progress()
            self._task = self._progress.add_task(_title(phase, 1), total=phase.epochs * phase.steps, metrics="")
            self._progress.start()

    def step_ended(self, step: StepEnded) -> None:
        if self._progress is not None:
            self._progress.update(
                self._task,
                description=_title(step.phase, step.epoch),
                completed=(step.epoch - 1) * step.phase.steps + step.step,
                metrics=_format(step.metrics),
            )

    def epoch_ended(self, epoch: EpochEnded) -> None:
        if self._progress is not None and not self._progress.disable:
            print_line(f"{_title(epoch.phase, epoch.epoch)}  {_format(epoch.metrics)}", self._progress.console)

    def phase_ended(self, phase: PhaseEnded) -> None:
        self._stop()

    def run_failed(self, error: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _title(phase: PhaseStarted, epoch: int) -> str:
    return f"{phase.name} epoch {epoch}/{phase.epochs}"


def _format(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
