"""How far it is: a line on a terminal, and elsewhere a line on stderr every half minute."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from keras_transfer.console import make_progress
from keras_transfer.console.commands import echo

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts rows.

    Args:
        what: What is done: ``Predicted``.
        total: How many rows there are; None if that is not known yet.
        done: How many were done earlier.
    """

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._line = make_progress()
        self._started = self._shown = time.monotonic()
        self._task = self._line.add_task(what, total=total, completed=done, metrics="")

    def advance(self, rows: int) -> None:
        """Count some rows more."""
        self._done += rows
        now = time.monotonic()
        rate = (self._done - self._before) / max(now - self._started, 1e-6)
        self._line.update(self._task, completed=self._done, metrics=f"{rate:,.0f} rows/s")
        if self._line.disable and now - self._shown >= _SECONDS_BETWEEN_LINES:
            self._shown = now
            echo(self._describe(rate), err=True)

    def _describe(self, rate: float) -> str:
        if self._total is None:
            return f"{self._what} {self._done:,} rows, {rate:,.0f} per second"
        left = describe_seconds((self._total - self._done) / max(rate, 1e-6))
        return f"{self._what} {self._done:,} of {self._total:,} rows, {rate:,.0f} per second, {left} left"


@contextmanager
def showing(what: str, total: int | None, done: int = 0) -> Iterator[Progress]:
    """Show progress while a block runs."""
    progress = Progress(what, total, done)
    with progress._line:
        yield progress


def describe_seconds(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> describe_seconds(4000), describe_seconds(90), describe_seconds(7)
        ('1 h 6 min', '1 min 30 s', '7 s')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
