"""history.jsonl: a line for each epoch."""

import json
import warnings
from pathlib import Path

from keras_transfer.errors import TransferWarning
from keras_transfer.storage.atomic import whole
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import EpochEnded, RunStarted


class HistoryTracker(Tracker):
    """Adds one line of JSON per epoch to a file, as it happens. Every run has it.

    Args:
        file: ``history.jsonl`` of the run folder.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def run_started(self, run: RunStarted) -> None:
        """Remove what a run left that was killed before its first checkpoint."""
        if not run.resumed:
            self._file.unlink(missing_ok=True)

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Write the line; a full disk is a warning, and the next line is tried again."""
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
