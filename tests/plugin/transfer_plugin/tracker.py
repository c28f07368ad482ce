"""A tracker: a line of CSV per epoch."""

from pydantic import Field

from keras_transfer import EpochEnded, RunStarted, Section, Tracker


class CsvSettings(Section):
    """Settings of the CSV tracker."""

    file: str = Field(default="epochs.csv", description="file in the run folder")


class CsvTracker(Tracker):
    """Writes phase, epoch and loss."""

    Settings = CsvSettings

    def run_started(self, run: RunStarted) -> None:
        """Write the header."""
        self._file = run.folder / self.settings.file
        self._file.write_text("phase,epoch,loss\n")

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Write a line."""
        with self._file.open("a") as file:
            file.write(f"{epoch.phase.name},{epoch.epoch},{epoch.metrics['loss']:.6f}\n")
