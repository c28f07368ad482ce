"""Trackio: a run of a project, in a local database or in a Hugging Face Space."""

from typing import Any

from pydantic import Field, StrictStr

from keras_transfer.config.section import Section
from keras_transfer.trackers.base import Tracker, import_package
from keras_transfer.trackers.logged import ARTIFACTS, list_epoch_metrics, list_parameters, list_report_metrics
from keras_transfer.trackers.records import EpochEnded, ReportMade, RunEnded, RunStarted


class TrackioSettings(Section):
    """Where Trackio records runs."""

    project: StrictStr = Field(default="keras-transfer", description="is created if it does not exist")
    space_id: StrictStr | None = Field(
        default=None, description="a Hugging Face Space, USER/SPACE; by default a database on this machine"
    )


class TrackioTracker(Tracker):
    """Records a run in Trackio, which ``trackio show`` shows.

    Trackio has one active run per process: an active run of your own code is finished.

    Args:
        settings: See :class:`TrackioSettings`.

    Raises:
        ConfigError: A setting is wrong, or Trackio is not installed.

    Example:
        >>> tracker = TrackioTracker(project="solar-cells")
    """

    Settings = TrackioSettings
    settings: TrackioSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._trackio = import_package("trackio", tracker="trackio")
        self._run: Any = None

    def run_started(self, run: RunStarted) -> None:
        """Create a run named like the run folder; if this run is resumed, continue the last one of that name."""
        self._run = self._trackio.init(
            project=self.settings.project,
            space_id=self.settings.space_id,
            name=run.folder.name,
            config=list_parameters(run),
            resume="allow" if run.resumed else "never",
            embed=False,
        )

    def epoch_ended(self, epoch: EpochEnded) -> None:
        self._run.log(list_epoch_metrics(epoch), step=epoch.run_epoch)

    def report_made(self, report: ReportMade) -> None:
        """Log the report's metrics at the last epoch."""
        self._run.log(list_report_metrics(report), step=report.run_epochs)

    def run_ended(self, result: RunEnded) -> None:
        artifact = self._trackio.Artifact(name="run-files", type="run")  # each run adds a version
        for file in result.find(*ARTIFACTS):
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)
        self._finish()

    def run_failed(self, error: BaseException) -> None:
        if self._run is not None:
            self._finish()

    def _finish(self) -> None:
        self._run.finish()
        self._run = None
