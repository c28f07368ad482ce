"""Files and folders that are there whole or not at all, also after a kill or a power cut."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from keras_transfer.errors import CheckpointError

UNFINISHED = ".unfinished-"
"""What the names of files and folders begin with while they are written or removed."""


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Let a file be written under another name, and give it its own when all of it is on the disk.

    Args:
        file: What was there before stays until then.

    Yields:
        The name to write to: the same suffix, in the same folder.

    Raises:
        CheckpointError: It cannot be written.
    """
    unfinished = file.with_name(UNFINISHED + file.name)
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(file)
        sync(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise CheckpointError(
            f"{file} cannot be written: {error.strerror or error}. Make room or mend the rights, and run it again."
        ) from error


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Do so with a folder and everything in it."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)
