"""SIGTERM as a request: a run takes a checkpoint at its next step and leaves."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_transfer.errors import RunInterrupted


class Interruption:
    """Listens for SIGTERM while a run trains.

    Outside of training there is nothing to save, and it is raised at once. A second signal is left to the system, which
    ends the process.

    Args:
        folder: The run's, for the message.
        grace_seconds: How long the next step and its checkpoint may take; then the process ends without.
    """

    def __init__(self, folder: Path, *, grace_seconds: float) -> None:
        self._folder, self._grace_seconds = folder, grace_seconds
        self._waits_for_a_step = False
        self._patience: threading.Timer | None = None
        self.asked = False
        """Whether the run is to end."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen, unless the signal has a handler already or this is not the main thread, where there can be none.

        Yields:
            Nothing.
        """
        mine = threading.current_thread() is threading.main_thread()
        if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            yield
            return
        signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self._patience is not None:  # a caller that catches the exception continues
                self._patience.cancel()

    @contextlib.contextmanager
    def at_a_step(self) -> Iterator[None]:
        """Let the caller check :attr:`asked` after each step and call :meth:`leave`.

        Yields:
            Nothing.
        """
        self._waits_for_a_step = True
        try:
            yield
        finally:
            self._waits_for_a_step = False

    def leave(self) -> None:
        """End the run if that was asked for.

        Raises:
            RunInterrupted: It was.
        """
        if self.asked:
            raise RunInterrupted(
                f"The run in {self._folder} was stopped by SIGTERM. Give the same command with --resume to continue."
            )

    def _receive(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not self._waits_for_a_step:
            self.leave()
        self._patience = threading.Timer(self._grace_seconds, self._give_up)
        self._patience.daemon = True
        self._patience.start()

    def _give_up(self) -> None:
        sys.stderr.write(
            f"Error: no step and checkpoint were done within checkpoint.grace_seconds ({self._grace_seconds:g}). "
            "--resume continues from the checkpoint before.\n"
        )
        sys.stderr.flush()
        os._exit(RunInterrupted.exit_code)
