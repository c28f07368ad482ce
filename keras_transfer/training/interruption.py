"""Handle SIGTERM and SIGHUP as a request: a run writes a checkpoint at its next step and ends."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_transfer.errors import RunInterrupted, TransferError

_SIGNALS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


class _Stop(KeyboardInterrupt):
    """Raised in the main thread wherever it is: libraries convert other exceptions to their own."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


class Interruption:
    """Listens for SIGTERM and SIGHUP while a run trains.

    Outside of training there is nothing to save, and the run ends at once. A second SIGTERM is handled by the system,
    which ends the process. A second SIGHUP is ignored: a terminal that closes sends one to every process, and so does
    ``launch``.

    Args:
        grace_seconds: Time limit for the next step and its checkpoint; after it, the process ends without them.
    """

    def __init__(self, folder: Path, *, grace_seconds: float) -> None:
        self._folder, self._grace_seconds = folder, grace_seconds
        self._waits_for_a_step = False
        self._patience: threading.Timer | None = None
        self._stops = False
        self._signal: signal.Signals = signal.SIGTERM
        self.asked = False
        """Whether the run is to end."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Install signal handlers, unless a signal already has one or this is not the main thread, where none can be.

        A signal that is ignored, as nohup ignores SIGHUP, stays ignored.

        Raises:
            RunInterrupted: A signal was received while there was nothing to save.
        """
        mine = threading.current_thread() is threading.main_thread()
        numbers = [number for number in _SIGNALS if mine and signal.getsignal(number) is signal.SIG_DFL]
        for number in numbers:
            signal.signal(number, self._receive)
        try:
            yield
        except (_Stop, Exception) as error:
            if not self._stops or isinstance(error, TransferError):
                raise
            raise self._describe() from error
        finally:
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)
            if self._patience is not None:  # a caller that catches the exception continues
                self._patience.cancel()

    @contextlib.contextmanager
    def at_a_step(self) -> Iterator[None]:
        """Let the caller check :attr:`asked` after each step and call :meth:`leave`."""
        self._waits_for_a_step = True
        try:
            yield
        finally:
            self._waits_for_a_step = False

    def leave(self) -> None:
        """End the run if this was requested.

        Raises:
            RunInterrupted: It was requested.
        """
        if self.asked:
            raise self._describe()

    def _describe(self) -> RunInterrupted:
        return RunInterrupted(
            f"The run in {self._folder} was stopped by {self._signal.name}. Give the same command with --resume to "
            "continue.",
            128 + self._signal,
        )

    def _receive(self, number: int, *_: Any) -> None:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        if self.asked:
            return
        self.asked, self._signal = True, signal.Signals(number)
        if not self._waits_for_a_step:
            self._stops = True
            raise _Stop(128 + number)
        self._patience = threading.Timer(self._grace_seconds, self._give_up)
        self._patience.daemon = True
        self._patience.start()

    def _give_up(self) -> None:
        sys.stderr.write(
            f"Error: no step and checkpoint were completed within checkpoint.grace_seconds ({self._grace_seconds:g}). "
            "--resume continues from the checkpoint before.\n"
        )
        sys.stderr.flush()
        os._exit(128 + self._signal)
