"""Progress on the terminal. Quiet if stdout is not a terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_Item = TypeVar("_Item")


def track(items: Iterable[_Item], description: str, total: int) -> Iterator[_Item]:
    """Pass items on under a line that says how many there have been and how long the rest will take.

    Args:
        items: Any.
        description: What they are.
        total: How many there will be.

    Yields:
        The items.
    """
    with make_progress() as progress:
        task = progress.add_task(description, total=total, metrics="")
        for item in items:
            yield item
            progress.advance(task)


def make_progress() -> Progress:
    """Return a line of description, bar, count, metrics and time left, which the caller starts and stops."""
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
