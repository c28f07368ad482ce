"""The line that moves while a phase trains. Quiet if stdout is not a terminal."""

from collections.abc import Mapping

from rich.progress import Progress, TaskID

from keras_transfer.console import make_progress
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import EpochEnded, PhaseEnded, PhaseStarted, StepEnded


class ConsoleTracker(Tracker):
    """Shows phase, epoch, step, metrics and time left; leaves one line per epoch behind. Every run has it."""

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
            self._progress.console.print(f"{_title(epoch.phase, epoch.epoch)}  {_format(epoch.metrics)}")

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
