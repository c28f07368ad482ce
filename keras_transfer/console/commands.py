"""How every command ends: with plain lines, and with an exit code."""

import errno
import os
import sys
from typing import Any

import click

from keras_transfer.console.streams import take_streams
from keras_transfer.console.text import printable
from keras_transfer.errors import TransferError, first_line

_LONG_COMMANDS = ("run", "launch")
"""What they do is worth more than what they print: their exit codes do not reflect lost output."""


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text without the control characters that names and texts from data may have."""
    click.echo(printable(text), err=err, nl=nl)


class Commands(click.Group):
    """Prints errors that the user can fix as a few plain lines, and exits with their codes."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the arguments; errors of click are made printable."""
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            vars(error).update(message=printable(error.message))
            raise

    def invoke(self, context: click.Context) -> Any:
        """Run a command; for an error that the user can fix, print what to do."""
        try:
            return super().invoke(context)
        except click.UsageError as error:
            vars(error).update(message=printable(error.message))
            raise
        except Exception as error:
            problem = _describe(error)
            if problem is None:  # a defect of ours
                raise
            echo(f"Error: {problem}", err=True)
            context.exit(getattr(error, "exit_code", 2))
        except KeyboardInterrupt:
            echo("Interrupted.", err=True)
            context.exit(130)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command. Output that cannot be written never ends it."""
        streams = take_streams()
        if streams is None:
            return super().main(*args, **options)
        words = args[0] if args and args[0] is not None else sys.argv[1:]
        try:
            super().main(*args, **options)
        except SystemExit as ended:
            lost = streams.finish()
            if lost is not None:
                echo(f"Error: output is lost, because stdout cannot be written: {lost}.", err=True)
                is_long = next((word for word in words if not word.startswith("-")), None) in _LONG_COMMANDS
                ended.code = ended.code or (0 if is_long else 2)
            raise


def _describe(error: Exception) -> str | None:
    """What the user can do about an error of the package or of the system; None for any other error."""
    if isinstance(error, TransferError):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        if os.strerror(errno.ENOSPC) in str(error):  # of a file that it was writing
            return f"{os.strerror(errno.ENOSPC)}. Make room on the disk, or name another folder, and try again."
        return "not enough memory. Use smaller batches or images, or a machine with more."
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of Path.expanduser
        return (
            "no home directory: HOME is not set, and the system has none for this user. Libraries need one, and so "
            "does a path that begins with ~. Set HOME to a folder."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}. Fix the path, its permissions or the space on its disk, and try again."
    if isinstance(error, UnicodeError):
        received = repr(getattr(error, "object", ""))[-300:]
        return f"a name or a text is not valid UTF-8. Received: {received}. Rename the file, or save it as UTF-8."
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {first_line(error)[:500]}"
    return None
