"""MLflow: a run of an experiment, on a tracking server or in a local database."""

import time
from collections.abc import Mapping
from typing import Any

from pydantic import Field, StrictStr

from keras_transfer.config.section import Section
from keras_transfer.errors import RunInterrupted
from keras_transfer.trackers.base import Tracker, import_package
from keras_transfer.trackers.logged import ARTIFACTS, list_epoch_metrics, list_parameters, list_report_metrics
from keras_transfer.trackers.records import EpochEnded, ReportMade, RunEnded, RunStarted

_MOST_PARAMETERS = 100  # per request; MLflow refuses more


class MlflowSettings(Section):
    """Where MLflow records runs."""

    tracking_uri: StrictStr | None = Field(
        default=None,
        description="a server (http://...) or a database (sqlite:///mlflow.db); by default as MLflow chooses: "
        "MLFLOW_TRACKING_URI if it is set",
    )
    experiment: StrictStr = Field(default="keras-transfer", description="is created if it does not exist")


class MlflowTracker(Tracker):
    """Records a run in MLflow.

    It uses MLflow's client, so an active run of your own code in this process is not affected.

    Args:
        settings: See :class:`MlflowSettings`.

    Raises:
        ConfigError: A setting is wrong, or MLflow is not installed.

    Example:
        >>> tracker = MlflowTracker(tracking_uri="sqlite:///mlflow.db", experiment="solar-cells")
    """

    Settings = MlflowSettings
    settings: MlflowSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._mlflow = import_package("mlflow", tracker="mlflow")
        if (self.settings.tracking_uri or "").startswith("sqlite:"):
            import_package("sqlalchemy", tracker="mlflow")
        self._client: Any = None
        self._run_id: str | None = None

    def run_started(self, run: RunStarted) -> None:
        """Create a run with its parameters; if this run is resumed, continue its MLflow run."""
        self._client = self._mlflow.MlflowClient(tracking_uri=self.settings.tracking_uri)
        if run.resumed and self._run_id is not None:
            self._client.update_run(self._run_id, status="RUNNING")
            return
        tags = {"keras_transfer.run_folder": str(run.folder.absolute())}
        if run.git_commit is not None:
            tags["mlflow.source.git.commit"] = run.git_commit
        created = self._client.create_run(self._find_experiment(), tags=tags, run_name=run.folder.name)
        self._run_id = created.info.run_id
        # Values of any type become text; MLflow truncates text that is longer than 6,000 characters, with a warning.
        parameters = [self._mlflow.entities.Param(name, str(value)) for name, value in list_parameters(run).items()]
        for start in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._run_id, params=parameters[start : start + _MOST_PARAMETERS])

    def _find_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self.settings.experiment)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(self.settings.experiment))

    def epoch_ended(self, epoch: EpochEnded) -> None:
        self._log(list_epoch_metrics(epoch), epoch.run_epoch)

    def report_made(self, report: ReportMade) -> None:
        """Log the report's metrics at the last epoch."""
        self._log(list_report_metrics(report), report.run_epochs)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._mlflow.entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def run_ended(self, result: RunEnded) -> None:
        for file in result.find(*ARTIFACTS):
            self._client.log_artifact(self._run_id, str(file))
        self._client.set_terminated(self._run_id, "FINISHED")

    def run_failed(self, error: BaseException) -> None:
        """Mark the run as failed, or as killed if a signal stopped it."""
        if self._run_id is not None:
            stopped = isinstance(error, RunInterrupted | KeyboardInterrupt)
            self._client.set_terminated(self._run_id, "KILLED" if stopped else "FAILED")

    def get_state(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._run_id = state["run_id"]
