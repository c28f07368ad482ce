"""The seam between a run and what records it: a tracker receives each phase, epoch and report, and how the run ended.

A tracker subclasses :class:`Tracker` and overrides the methods that it needs. It is registered under a name in
:data:`TRACKERS`, or by a package in the entry-point group ``keras_transfer.trackers``.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from keras_transfer.config.schema import NamedSettings
from keras_transfer.config.section import Configurable
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
    """Records runs. Every method does nothing unless a subclass overrides it.

    A tracker may be used for several runs, one after another: ``run_started`` begins each, and ``run_ended`` or
    ``run_failed`` ends it. Only the chief process of a run calls its trackers. A method that raises an exception does
    not end the run: there is a warning, and that tracker is not called any more.

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
        """Begin to record a run; after ``set_state`` if it is resumed."""

    def phase_started(self, phase: PhaseStarted) -> None:
        """Record that a phase starts."""

    def step_ended(self, step: StepEnded) -> None:
        """Record a training step. This is called often: leave it out unless you need it."""

    def epoch_ended(self, epoch: EpochEnded) -> None:
        """Record an epoch.

        A run that was killed and resumed repeats the epochs after its last checkpoint, with the same ``run_epoch``.
        """

    def phase_ended(self, phase: PhaseEnded) -> None:
        """Record that a phase has ended, after its last epoch or by early stopping."""

    def report_made(self, report: ReportMade) -> None:
        """Record how the trained model does on a split."""

    def run_ended(self, result: RunEnded) -> None:
        """Finish the record of a run that has been trained and evaluated."""

    def run_failed(self, error: BaseException) -> None:
        """Finish the record of a run that ended with an exception, which may be a signal to stop."""

    def get_state(self) -> Any:
        """Return what a resumed run needs to continue the record, such as the identifier of the run.

        Returns:
            Nested mappings and sequences of numbers, strings and None. Checkpoints hold it.
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
            "Fix or uninstall the package that has it."
        )
    return loaded


TRACKERS: Registry[type[Tracker]] = Registry("tracker", ConfigError, group="keras_transfer.trackers", take=_check_class)
"""The classes of trackers, by the name that a recipe gives them."""


def make_trackers(recipe: Sequence[NamedSettings], given: Sequence[Tracker | str] = ()) -> list[Tracker]:
    """Make the trackers of a run.

    Args:
        recipe: The recipe's ``trackers``.

    Returns:
        Those of the recipe, then those given.

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
    """Import the package that a tracker writes with.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The tracker {tracker} needs the package {error.name}, which is not installed. Install it with "
            f"pip install 'keras-transfer[{tracker}]', or remove {tracker} from the recipe's trackers."
        ) from error
