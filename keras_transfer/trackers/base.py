"""The interface of trackers: a tracker receives each phase, epoch and report of a run, and how the run ended.

A tracker subclasses :class:`Tracker` and overrides the methods that it needs. It is registered under a name in
:data:`TRACKERS`, or by a package in the entry-point group ``keras_transfer.trackers``.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from keras_transfer.config.section import Configurable, NamedSettings
from keras_transfer.errors import ConfigError
from keras_transfer.registry import Registry
from keras_transfer.trackers.records import (
    EpochEnded,
    PhaseEnded,
    PhaseStarted,
    ReportMade,
    RunEnded,
    RunStarted,
    StepEnded,
)


class Tracker(Configurable):
    """Records runs. All methods do nothing unless a subclass overrides them.

    A tracker may be used for several runs, one after another: ``run_started`` starts each, and ``run_ended`` or
    ``run_failed`` ends it. Only the chief process of a run calls its trackers. An exception in a method does not end
    the run: there is a warning, and that tracker is not called any more.

    Args:
        settings: As :attr:`Settings` declares them.

    Raises:
        ConfigError: A setting is unknown or has a wrong type, or a package is not installed.

    Example:
        >>> class Best(Tracker):
        ...     def run_started(self, run):
        ...         self.best = float("inf")
        ...
        ...     def epoch_ended(self, epoch):
        ...         self.best = min(self.best, epoch.metrics["loss"])
    """

    def run_started(self, run: RunStarted) -> None:
        """Start recording a run; called after ``set_state`` if the run is resumed."""

    def phase_started(self, phase: PhaseStarted) -> None:
        """Record that a phase starts."""

    def step_ended(self, step: StepEnded) -> None:
        """Record a training step. It is called often: override it only if you need it."""

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Record an epoch.

        A run that was killed and resumed repeats the epochs after its last checkpoint, with the same ``run_epoch``.
        """

    def phase_ended(self, phase: PhaseEnded) -> None:
        """Record that a phase has ended, after its last epoch or by early stopping."""

    def report_made(self, report: ReportMade) -> None:
        """Record the trained model's evaluation on a split."""

    def run_ended(self, result: RunEnded) -> None:
        """Finish the record of a run that has been trained and evaluated."""

    def run_failed(self, error: BaseException) -> None:
        """Finish the record of a run that ended with an exception, which may be a signal to stop."""

    def get_state(self) -> Any:
        """Return what a resumed run needs to continue its record, such as the run's identifier.

        Returns:
            Nested mappings and sequences of numbers, strings and None, for checkpoints.
        """
        return None

    def set_state(self, state: Any) -> None:
        """Continue the record of a run that is resumed; ``run_started`` follows.

        Args:
            state: What ``get_state`` returned at the last checkpoint.
        """


def _check_class(loaded: Any) -> type[Tracker]:
    if not (isinstance(loaded, type) and issubclass(loaded, Tracker)):
        raise ConfigError(
            f"The entry point of a tracker must be a subclass of keras_transfer.Tracker. Received: {loaded!r}. "
            "Fix or uninstall the package that provides it."
        )
    return loaded


TRACKERS: Registry[type[Tracker]] = Registry("tracker", ConfigError, group="keras_transfer.trackers", take=_check_class)
"""The classes of trackers, by the name that a recipe gives them."""


def make_trackers(recipe: Sequence[NamedSettings], given: Sequence[Tracker | str] = ()) -> list[Tracker]:
    """Make the trackers of a run.

    Args:
        recipe: The recipe's ``trackers``.

    Returns:
        The recipe's trackers, then the given ones.

    Raises:
        ConfigError: There is no such tracker, a setting is wrong, or a package is not installed.
    """
    made = [TRACKERS[named.name](**named.settings) for named in recipe]
    for tracker in given:
        if isinstance(tracker, str):
            made.append(TRACKERS[tracker]())
        elif isinstance(tracker, Tracker):
            made.append(tracker)
        else:
            raise ConfigError(
                f"trackers: expected Tracker objects or names. Received: {tracker!r}. "
                f"Names: {', '.join(TRACKERS)}. A Keras callback goes into callbacks=[...]."
            )
    return made


def import_package(module: str, *, tracker: str) -> Any:
    """Import the package that a tracker uses.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The tracker {tracker} needs the package {error.name}, which is not installed. Install it with "
            f"pip install 'keras-transfer[{tracker}]', or remove {tracker} from the recipe's trackers."
        ) from error
