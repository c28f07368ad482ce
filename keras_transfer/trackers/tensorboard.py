"""TensorBoard: event files in the run folder, or next to those of other runs."""

from pathlib import Path
from typing import Any

from pydantic import Field, StrictStr

from keras_transfer.config.section import Section
from keras_transfer.trackers.base import Tracker, import_package
from keras_transfer.trackers.logged import (
    ARTIFACTS,
    list_epoch_metrics,
    list_parameters,
    list_report_metrics,
)
from keras_transfer.trackers.records import EpochEnded, ReportMade, RunEnded, RunStarted


class TensorBoardSettings(Section):
    """Where the event files go."""

    folder: StrictStr | None = Field(
        default=None,
        description="event files go to a folder in it that is named like the run; by default to tensorboard/ in the "
        "run folder",
    )


class TensorBoardTracker(Tracker):
    """Writes event files, which ``tensorboard --logdir runs`` shows.

    Parameters are hyperparameters (HPARAMS), metrics of epochs and reports are scalars, ``history.png`` is an image,
    and other files are texts.

    Args:
        settings: See :class:`TensorBoardSettings`.

    Raises:
        ConfigError: A setting is wrong, or TensorBoard is not installed.

    Example:
        >>> tracker = TensorBoardTracker(folder="logs")
    """

    Settings = TensorBoardSettings
    settings: TensorBoardSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # TensorFlow's summaries import TensorBoard at their first use, which is after training has started.
        self._hparams = import_package("tensorboard.plugins.hparams.api", tracker="tensorboard")
        self._tf = import_package("tensorflow", tracker="tensorboard")
        self._writer: Any = None

    def run_started(self, run: RunStarted) -> None:
        """Open an event file and write the parameters."""
        folder = run.folder / "tensorboard"
        if self.settings.folder is not None:
            folder = Path(self.settings.folder) / run.folder.name
        self._writer = self._tf.summary.create_file_writer(str(folder))
        with self._writer.as_default(step=0):
            self._hparams.hparams(list_parameters(run), trial_id=run.folder.name)
        self._writer.flush()

    def epoch_ended(self, epoch: EpochEnded) -> None:
        self._write_scalars(list_epoch_metrics(epoch), epoch.run_epoch)

    def report_made(self, report: ReportMade) -> None:
        """Write the report's metrics at the last epoch."""
        self._write_scalars(list_report_metrics(report), report.run_epochs)

    def _write_scalars(self, values: dict[str, float], step: int) -> None:
        with self._writer.as_default(step=step):
            for name, value in values.items():
                self._tf.summary.scalar(name, value)
        self._writer.flush()

    def run_ended(self, result: RunEnded) -> None:
        """Write the files and close the event file."""
        with self._writer.as_default(step=result.run_epochs):
            for file in result.find(*ARTIFACTS):
                if file.suffix == ".png":
                    image = self._tf.io.decode_png(file.read_bytes(), channels=3)
                    self._tf.summary.image(file.name, image[None])
                else:
                    # An indented block of Markdown, in which TensorBoard shows text unchanged.
                    lines = file.read_text(encoding="utf-8").splitlines()
                    self._tf.summary.text(file.name, "\n".join(f"    {line}" for line in lines))
        self._writer.close()

    def run_failed(self, error: BaseException) -> None:
        if self._writer is not None:
            self._writer.close()
