"""The line that moves while a phase trains. Quiet where stdout is no terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_Item = TypeVar("_Item")


class ProgressLine(keras.callbacks.Callback):
    """Says phase, epoch, step, metrics and time left; leaves one line an epoch behind.

    Args:
        phase: Its name.
        epochs: Of the phase.
        steps: Of an epoch.
    """

    def __init__(self, phase: str, epochs: int, steps: int) -> None:
        super().__init__()
        self._phase, self._epochs, self._steps = phase, epochs, steps
        self._progress = _make_progress()
        self._task = self._progress.add_task(phase, total=epochs * steps, metrics="")
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Show the line."""
        self._progress.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Name the epoch."""
        self._epoch = epoch
        self._progress.update(self._task, description=f"{self._phase} epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Move on by a step."""
        completed = self._epoch * self._steps + batch + 1
        self._progress.update(self._task, completed=completed, metrics=_format(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Leave the epoch's figures above the line."""
        if not self._progress.disable:
            self._progress.console.print(f"{self._phase} epoch {epoch + 1}/{self._epochs}  {_format(logs)}")

    def close(self) -> None:
        """Take the line away, also after a failure, of which Keras tells its callbacks nothing."""
        self._progress.stop()


def track(items: Iterable[_Item], description: str, total: int) -> Iterator[_Item]:
    """Pass items on under a line that says how many there have been and how long the rest will take.

    Args:
        items: Any.
        description: What they are.
        total: How many there will be.

    Yields:
        The items.
    """
    with _make_progress() as progress:
        task = progress.add_task(description, total=total, metrics="")
        for item in items:
            yield item
            progress.advance(task)


def _make_progress() -> Progress:
    console = Console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[metrics]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _format(logs: dict[str, float] | None) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
