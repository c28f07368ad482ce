"""stdout and stderr of the command line: a failure of output must not end a run.

A reader that exits, a full disk or a character that the terminal's encoding lacks must not end a running command.
"""

import contextlib
import errno
import io
import os
import sys
from typing import Any

from keras_transfer.console.text import printable


class _Sink(io.FileIO):
    """A file descriptor whose output is dropped once it cannot be written."""

    problem: str | None = None
    """Why output was lost; None if it was not, or if its reader went away."""

    def write(self, data: Any) -> int:
        """Write the data, or drop it."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.problem = error.strerror or str(error)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return memoryview(data).nbytes


class _SafeText(io.TextIOWrapper):
    """A stream on which nothing but plain text is written."""

    def write(self, text: str) -> int:
        """Write a text with its control characters escaped."""
        if not isinstance(text, str):  # click asks in this way whether a stream takes bytes
            raise TypeError(f"expected a text. Received: {type(text).__name__}")
        super().write(printable(text))
        return len(text)


class Streams:
    """stdout and stderr while the command line runs."""

    def __init__(self) -> None:
        for descriptor in range(3):
            _open_if_closed(descriptor)
        self._out, self._error = _Sink(1, "w", closefd=False), _Sink(2, "w", closefd=False)
        # Rich writes colours to stdout: for it, text is escaped before it is printed.
        sys.stdout = _wrap(io.TextIOWrapper, self._out, sys.stdout)
        sys.stderr = _wrap(_SafeText, self._error, sys.stderr)

    def finish(self) -> str | None:
        """Write the rest; return why some of stdout was lost, or None."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        return self._out.problem


def take_streams() -> Streams | None:
    """Replace this process's stdout and stderr, unless something else has replaced them already."""
    is_own = sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__
    return Streams() if is_own and os.name != "nt" else None


def _open_if_closed(descriptor: int) -> None:
    """Open a closed descriptor: otherwise the next file that is opened, such as a checkpoint, would get the output."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)


def _wrap(kind: type[io.TextIOWrapper], sink: _Sink, old: Any) -> io.TextIOWrapper:
    return kind(
        io.BufferedWriter(sink),
        encoding=getattr(old, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=getattr(old, "line_buffering", False),
        write_through=getattr(old, "write_through", False),
    )
