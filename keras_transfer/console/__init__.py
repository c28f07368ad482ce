"""Output for people on a terminal: tables, progress lines, and no control characters from data.

Names are imported at their first use: `keras-transfer list` needs no tables, whose package takes time to import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_transfer.console.tables import make_console, make_progress, print_line, print_table, table_width, track

__all__ = ["make_console", "make_progress", "print_line", "print_table", "table_width", "track"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_transfer.console import tables

    return getattr(tables, name)
