"""Tables that cut no name, and a progress line, which is silent on anything but a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from keras_transfer.console.text import one_line, printable

_Item = TypeVar("_Item")
_UNLIMITED = 100_000


class _SafeConsole(Console):
    """A console whose own colours are the only control characters that reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def make_console() -> Console:
    """Return a console on stdout."""
    return _SafeConsole()


def print_line(text: object, console: Console, *, style: str | None = None) -> None:
    """Print a text as it is. The terminal itself wraps long lines, so that they can be copied as a whole."""
    console.print(printable(text), style=style, highlight=False, markup=False, soft_wrap=True)


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
    *,
    title: str | None = None,
    footer: Sequence[Sequence[str]] = (),
    names: int = 1,
    left: Sequence[str] = (),
) -> None:
    """Print a table in which no word is cut: on a terminal that is too narrow for it, as a list of its rows.

    To a file or a pipe, the table is printed in its full width.

    Args:
        rows: Cells of each row, as plain text.
        names: Number of first columns that are names, which stay on one line and are aligned to the left.
    """
    table = _make_table(headings, rows, names, left)
    table.title = None if title is None else Text(one_line(title))
    if footer:
        table.add_section()
    for row in footer:
        table.add_row(*map(_cell, row))
    least, full = _widths(table, console)
    width = min(full, console.width) if console.is_terminal else full
    if least <= width:
        console.print(_AtWidth(table, width), crop=False)
    else:
        _print_list(headings, [*rows, *footer], console, title)


@dataclass(frozen=True)
class _AtWidth:
    """A table with its own width: Rich limits it to the console's, which is 80 for a file."""

    table: Table
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.table, options.update(width=self.width))


def table_width(headings: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> int:
    """Return the minimum width of a table in characters, with no word cut."""
    return _widths(_make_table(headings, rows), console)[0]


def _make_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1, left: Sequence[str] = ()
) -> Table:
    table = Table(title_justify="left")
    for number, heading in enumerate(headings):
        justify: Literal["left", "right"] = "left" if number < names or heading in left else "right"
        # Rich would give a column that does not wrap the width of its longest word, and cut the others.
        least = max(cell_len(one_line(row[number])) for row in rows) if rows and number < names else None
        table.add_column(_cell(heading), justify=justify, no_wrap=number < names, min_width=least)
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(text: str) -> Text:
    return Text(one_line(text))


def _widths(table: Table, console: Console) -> tuple[int, int]:
    measured = Measurement.get(console, console.options.update(max_width=_UNLIMITED), table)
    return measured.minimum, measured.maximum


def _print_list(headings: Sequence[str], rows: Sequence[Sequence[str]], console: Console, title: str | None) -> None:
    """The name of each row on a line, and the other cells below it."""
    lines = [] if title is None else [title]
    for name, *cells in rows:
        lines.append(name)
        line = ""
        for cell in (f"{heading} {cell}" for heading, cell in zip(headings[1:], cells, strict=True) if cell):
            if line and cell_len(line) + cell_len(cell) + 4 > console.width:
                lines.append(f"  {line},")
                line = ""
            line = f"{line}, {cell}" if line else cell
        lines += [f"  {line}"] if line else []
    for line in lines:
        print_line(one_line(line), console)


def track(items: Iterable[_Item], description: str, total: int) -> Iterator[_Item]:
    """Yield items, and show their number and the remaining time."""
    with make_progress() as progress:
        task = progress.add_task(description, total=total, metrics="")
        for item in items:
            yield item
            progress.advance(task)


def make_progress() -> Progress:
    """Return a line of description, bar, count, metrics and time left, which the caller starts and stops."""
    console = make_console()
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
