"""Combine several trackers into one that cannot end a run."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_transfer.errors import TransferWarning
from keras_transfer.storage.checkpoint_store import STORABLE, find_unstorable
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import (
    EpochEnded,
    PhaseEnded,
    PhaseStarted,
    ReportMade,
    RunEnded,
    RunStarted,
    StepEnded,
)


class Trackers(Tracker):
    """Several trackers that are called as one.

    A tracker that raises an exception is named in a warning and not called any more. The run continues.
    """

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        super().__init__()
        self._trackers = list(trackers)
        self._failed: set[int] = set()
        self.run_epochs = 0
        """Number of epochs of the run that have ended."""

    @contextlib.contextmanager
    def recording(self, run: RunStarted) -> Iterator[None]:
        """Record the block as a run: ``run_started``, then ``run_ended``, or ``run_failed`` on an exception."""
        self.run_started(run)
        try:
            yield
        except BaseException as error:
            self.run_failed(error)
            raise
        self.run_ended(RunEnded(run.folder, self.run_epochs))

    def _call(self, index: int, method: str, *arguments: Any) -> Any:
        if index in self._failed:
            return None
        try:
            return getattr(self._trackers[index], method)(*arguments)
        except Exception as error:
            self._drop(index, f"{method}: {type(error).__name__}: {error}")
            return None

    def _drop(self, index: int, problem: str) -> None:
        self._failed.add(index)
        name = type(self._trackers[index]).__name__
        warnings.warn(
            f"Tracker {name} failed in {problem}. The run continues without it.", TransferWarning, stacklevel=4
        )

    def _state_of(self, index: int) -> Any:
        state = self._call(index, "get_state")
        problem = find_unstorable(state)
        if problem is not None:
            self._drop(index, f"get_state: {problem}; expected {STORABLE}")
        return None if problem else state

    def _call_all(self, method: str, *arguments: Any) -> None:
        for index in range(len(self._trackers)):
            self._call(index, method, *arguments)

    def run_started(self, run: RunStarted) -> None:
        self._call_all("run_started", run)

    def phase_started(self, phase: PhaseStarted) -> None:
        self._call_all("phase_started", phase)

    def step_ended(self, step: StepEnded) -> None:
        self._call_all("step_ended", step)

    def epoch_ended(self, epoch: EpochEnded) -> None:
        self.run_epochs = epoch.run_epoch
        self._call_all("epoch_ended", epoch)

    def phase_ended(self, phase: PhaseEnded) -> None:
        self._call_all("phase_ended", phase)

    def report_made(self, report: ReportMade) -> None:
        self._call_all("report_made", report)

    def run_ended(self, result: RunEnded) -> None:
        self._call_all("run_ended", result)

    def run_failed(self, error: BaseException) -> None:
        self._call_all("run_failed", error)

    def _names(self) -> list[str]:
        """A name for each tracker: its class name, with a number from the second of a class on."""
        kinds = [type(tracker).__name__ for tracker in self._trackers]
        return [f"{kind}-{kinds[:index].count(kind) + 1}" for index, kind in enumerate(kinds)]

    def get_state(self) -> dict[str, Any]:
        """Return the number of epochs and the states of all trackers, by name."""
        states = {name: self._state_of(index) for index, name in enumerate(self._names())}
        return {"run_epochs": self.run_epochs, "trackers": states}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore the states. A tracker that the interrupted run did not have gets none."""
        self.run_epochs = state["run_epochs"]
        for index, name in enumerate(self._names()):
            if state["trackers"].get(name) is not None:
                self._call(index, "set_state", state["trackers"][name])
