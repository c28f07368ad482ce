"""The exceptions that keras_transfer raises.

TransferError
├── ConfigError       a recipe, an override or an argument
├── DataError         a source, a split, an image
├── BackboneError     a pretrained network or its weights
├── PolicyError       which stages train
├── TrainingError     a loss that is no number
├── CheckpointError   a run folder
├── ExportError       an exported model
└── RunInterrupted    a run that was told to end

Every message says what is wrong, where, what was received, and what to do next. All but ``TrainingError`` and
``RunInterrupted`` are things that a user can mend: the command line prints them as they are and exits with 2.
"""

from collections.abc import Sequence


def list_lines(lines: Sequence[str], most: int = 20) -> str:
    """Return lines as a message lists them: indented, and after so many only how many more there are."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


class TransferError(Exception):
    """Anything that keras_transfer finds wrong."""

    exit_code = 2


class ConfigError(TransferError):
    """A recipe, an override or an argument that makes no sense."""


class DataError(TransferError):
    """A source, a split or an image that cannot be used."""


class BackboneError(TransferError):
    """A pretrained network, or weights for it, that cannot be had."""


class PolicyError(TransferError):
    """A policy that does not fit the backbone."""


class TrainingError(TransferError):
    """A run that stopped because its numbers went wrong."""

    exit_code = 1


class CheckpointError(TransferError):
    """A run folder that cannot be read or written."""


class ExportError(TransferError):
    """An exported model that cannot be written, or does not do what the run does."""


class RunInterrupted(TransferError):
    """A run that SIGTERM has ended, and that can be resumed."""

    exit_code = 143


class TransferWarning(UserWarning):
    """Something that a run goes on without."""
