"""Weights & Biases: a run of a project, online or on this machine."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, StrictStr

from keras_transfer.config.section import Section
from keras_transfer.trackers.base import Tracker, import_package
from keras_transfer.trackers.logged import ARTIFACTS, list_epoch_metrics, list_parameters, list_report_metrics
from keras_transfer.trackers.records import EpochEnded, ReportMade, RunEnded, RunStarted


class WandbSettings(Section):
    """Where Weights & Biases records runs."""

    project: StrictStr = Field(default="keras-transfer", description="is created if it does not exist")
    entity: StrictStr | None = Field(default=None, description="a user or a team; by default yours")
    mode: Literal["online", "offline", "disabled"] | None = Field(
        default=None,
        description="offline: `wandb sync` uploads the run later; by default WANDB_MODE, or online",
    )


class WandbTracker(Tracker):
    """Records a run in Weights & Biases. Its files are in ``wandb/`` in the run folder.

    Args:
        settings: See :class:`WandbSettings`.

    Raises:
        ConfigError: A setting is wrong, or the package is not installed.

    Example:
        >>> tracker = WandbTracker(project="solar-cells", mode="offline")
    """

    Settings = WandbSettings
    settings: WandbSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._wandb = import_package("wandb", tracker="wandb")
        self._run: Any = None
        self._run_id: str | None = None

    def run_started(self, run: RunStarted) -> None:
        """Create a run with its parameters; if this run is resumed, continue its W&B run."""
        resumed = run.resumed and self._run_id is not None
        self._run = self._wandb.init(
            project=self.settings.project,
            entity=self.settings.entity,
            mode=self.settings.mode,
            dir=str(run.folder),
            id=self._run_id if resumed else None,
            resume="allow" if resumed else None,
            name=run.folder.name,
            config=list_parameters(run),
            allow_val_change=True,  # a resumed run may have other devices
            reinit="create_new",  # an active run of the user's own code is not affected
            settings={"console": "off"},  # it would capture the stdout of the progress line
        )
        self._run_id = self._run.id
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")

    def epoch_ended(self, epoch: EpochEnded) -> None:
        self._run.log({"epoch": epoch.run_epoch, **list_epoch_metrics(epoch)})

    def report_made(self, report: ReportMade) -> None:
        """Write the report's metrics into the run's summary."""
        self._run.summary.update(list_report_metrics(report))

    def run_ended(self, result: RunEnded) -> None:
        for file in result.find(*ARTIFACTS) if Path(self._run.dir).is_dir() else ():  # mode: disabled has none
            # A copy: W&B would link to the run folder by its absolute path.
            copy = shutil.copy(file, self._run.dir)
            self._run.save(copy, base_path=self._run.dir, policy="now")
        self._run.finish()

    def run_failed(self, error: BaseException) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1)

    def get_state(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._run_id = state["run_id"]
