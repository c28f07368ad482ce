"""Several trackers that are called as one, and cannot end a run."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from keras_transfer.errors import TransferWarning
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import EpochEnded, PhaseStarted, ReportMade, RunEnded, RunStarted, StepEnded


class Trackers(Tracker):
    """Several trackers that are called as one.

    A tracker that raises an exception is named in a warning and not called any more. A run never ends because of it.

    Args:
        trackers: Called in this order.
    """

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        super().__init__()
        self._trackers = list(trackers)
        self._failed: set[int] = set()
        self.run_epochs = 0
        """Number of epochs of the run that have ended."""

    def _call(self, index: int, method: str, *arguments: Any) -> Any:
        if index in self._failed:
            return None
        tracker = self._trackers[index]
        try:
            return getattr(tracker, method)(*arguments)
        except Exception as error:
            self._failed.add(index)
            warnings.warn(
                f"Tracker {type(tracker).__name__} failed in {method}: {type(error).__name__}: {error}. "
                "The run continues without it.",
                TransferWarning,
                stacklevel=2,
            )
            return None

    def _call_all(self, method: str, *arguments: Any) -> None:
        for index in range(len(self._trackers)):
            self._call(index, method, *arguments)

    def run_started(self, run: RunStarted) -> None:
        """Call all."""
        self._call_all("run_started", run)

    def phase_started(self, phase: PhaseStarted) -> None:
        """Call all."""
        self._call_all("phase_started", phase)

    def step_ended(self, step: StepEnded) -> None:
        """Call all."""
        self._call_all("step_ended", step)

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Call all."""
        self.run_epochs = epoch.run_epoch
        self._call_all("epoch_ended", epoch)

    def report_made(self, report: ReportMade) -> None:
        """Call all."""
        self._call_all("report_made", report)

    def run_ended(self, result: RunEnded) -> None:
        """Call all."""
        self._call_all("run_ended", result)

    def run_failed(self, error: BaseException) -> None:
        """Call all."""
        self._call_all("run_failed", error)

    def _names(self) -> list[str]:
        """A name for each: that of its class, with a number for the second of a class."""
        kinds = [type(tracker).__name__ for tracker in self._trackers]
        return [f"{kind}-{kinds[:index].count(kind) + 1}" for index, kind in enumerate(kinds)]

    def get_state(self) -> dict[str, Any]:
        """Return the number of epochs and the states of all, by name."""
        states = {name: self._call(index, "get_state") for index, name in enumerate(self._names())}
        return {"run_epochs": self.run_epochs, "trackers": states}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Pass the states on. A tracker that the interrupted run did not have gets none."""
        self.run_epochs = state["run_epochs"]
        for index, name in enumerate(self._names()):
            if state["trackers"].get(name) is not None:
                self._call(index, "set_state", state["trackers"][name])
