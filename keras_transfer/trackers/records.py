"""What a tracker receives: plain data about a run, its phases, epochs and reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunStarted:
    """A run that is about to train: its data and its model are ready, its folder exists.

    Attributes:
        folder: The run folder.
        recipe: The content of recipe.yaml, with all defaults.
        environment: The content of environment.json: versions, devices.
        git_commit: The commit of the repository in the working directory, with the suffix ``-dirty`` if tracked files
            have changed; None outside of a repository.
        fingerprints: A hash of the rows of each split, by the split's name.
        metric: The name of the metric that is measured every epoch in addition to the loss.
        resumed: Whether an interrupted run is resumed.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    git_commit: str | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    metric: str = "loss"
    resumed: bool = False


@dataclass(frozen=True)
class PhaseStarted:
    """A phase that is about to train. A resumed run starts the phase in which it was interrupted again.

    Attributes:
        name: Name of the phase.
        number: Counted from 1.
        count: Number of phases in the run.
        epochs: Number of epochs of the phase. Early stopping may end it sooner.
        steps: Number of steps per epoch; 0 for a solved head.
    """

    name: str
    number: int
    count: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class StepEnded:
    """A training step.

    Attributes:
        phase: The phase.
        epoch: The epoch within the phase, counted from 1.
        step: The step within the epoch, counted from 1.
        metrics: Means over the epoch so far, by name.
    """

    phase: PhaseStarted
    epoch: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class EpochEnded:
    """An epoch with its validation.

    Attributes:
        phase: The phase.
        epoch: The epoch within the phase, counted from 1.
        run_epoch: The epoch within the run, counted from 1 over all phases.
        metrics: Metrics by name; those of the validation rows start with ``val_``.
        seconds: Duration of the epoch, including its validation.
        details: Other values by name: for a solved head, the ``strength`` of its penalty.
    """

    phase: PhaseStarted
    epoch: int
    run_epoch: int
    metrics: Mapping[str, float]
    seconds: float
    details: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class PhaseEnded:
    """A phase that has been trained.

    Attributes:
        phase: The phase.
        epochs: Number of epochs that were trained.
    """

    phase: PhaseStarted
    epochs: int


@dataclass(frozen=True)
class ReportMade:
    """An evaluation of the trained model.

    Attributes:
        split: Name of the split: ``validation`` or ``test``.
        metrics: The entry of this split in metrics.json.
        run_epochs: Number of epochs of the run, over all phases.
    """

    split: str
    metrics: Mapping[str, Any]
    run_epochs: int = 0


@dataclass(frozen=True)
class RunEnded:
    """A run that has been trained and evaluated.

    Attributes:
        folder: The run folder.
        run_epochs: Number of epochs of the run, over all phases.
    """

    folder: Path
    run_epochs: int = 0

    @property
    def files(self) -> list[Path]:
        """The files in the run folder, by name; those in folders within it are left out."""
        return sorted(file for file in self.folder.iterdir() if file.is_file())

    def find(self, *names: str) -> list[Path]:
        """Return the files of these names that the run wrote, in the order of the names."""
        return [self.folder / name for name in names if (self.folder / name).is_file()]
