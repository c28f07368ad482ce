"""The only package that deals with devices, strategies and Keras backends.

``distribute`` resolves ``distribution.strategy`` and connects the processes of a run. It yields a
:class:`~keras_transfer.distribution.base.Distribution`, which is the interface for the rest of the code.
"""

from keras_transfer.distribution.base import ONE_DEVICE, Distribution
from keras_transfer.distribution.choose import distribute, is_chief
from keras_transfer.distribution.environment import (
    builds_with_a_batch,
    chosen_jit,
    describe_environment,
    precision,
    prepare_backend,
    session,
    sync_variables,
)

__all__ = [
    "ONE_DEVICE",
    "Distribution",
    "builds_with_a_batch",
    "chosen_jit",
    "describe_environment",
    "distribute",
    "is_chief",
    "precision",
    "prepare_backend",
    "session",
    "sync_variables",
]
