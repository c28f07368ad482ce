"""The exceptions that keras_transfer raises.

TransferError
├── ConfigError       a recipe, an override or an argument
├── DataError         a source, a split, an image
│   └── InputError    what predict does not accept; also a TypeError
├── BackboneError     a pretrained network or its weights
├── PolicyError       which stages train
├── TrainingError     a loss that is NaN or infinite
├── CheckpointError   a run folder
├── ExportError       an exported model
└── RunInterrupted    a run that was stopped by SIGTERM or SIGHUP

Every message says what is wrong, where, what was received, and what to do next. The user can fix all of them but
``TrainingError`` and ``RunInterrupted``: the command line prints the message and exits with 2.
"""

from collections.abc import Sequence


def list_lines(lines: Sequence[str], most: int = 20) -> str:
    """Return up to ``most`` lines, indented, and how many more there are."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def first_line(error: Exception) -> str:
    """Return the message of another library's error, in one line."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.splitlines()[0] if reason else type(error).__name__


class TransferError(Exception):
    """The base of all errors that keras_transfer raises."""

    exit_code = 2


class ConfigError(TransferError):
    """A recipe, an override or an argument that is not valid."""


class DataError(TransferError):
    """A source, a split or an image that cannot be used."""


class InputError(DataError, TypeError):
    """An object that ``predict`` does not accept as inputs."""


class BackboneError(TransferError):
    """A pretrained network, or weights for it, that cannot be loaded."""


class PolicyError(TransferError):
    """A policy that does not fit the backbone."""


class TrainingError(TransferError):
    """A run that stopped because a number became NaN or infinite."""

    exit_code = 1


class CheckpointError(TransferError):
    """A run folder that cannot be read or written."""


class ExportError(TransferError):
    """An exported model that cannot be written or read, or whose predictions differ from those of the run."""


class RunInterrupted(TransferError):
    """A run that was stopped by a signal and can be resumed.

    Args:
        message: What was stopped.
        exit_code: 128 plus the number of the signal.
    """

    exit_code = 143

    def __init__(self, message: str, exit_code: int = 143) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class TransferWarning(UserWarning):
    """A problem that does not end a run."""
