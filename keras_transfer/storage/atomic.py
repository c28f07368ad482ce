"""Files and folders that are there whole or not at all, also after a kill or a power cut."""

import contextlib
import fcntl
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


class FolderLock:
    """Keeps other processes out of a folder, as long as this one lives or until it is left.

    The lock is on the folder itself: no file is left behind. Network file systems without locks let everybody in.

    Args:
        folder: May be made later.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> "FolderLock":
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def take(self) -> None:
        """Take it, where the folder is there and the lock is not taken yet.

        Raises:
            CheckpointError: Another process has it.
        """
        if self._descriptor is not None or not self._folder.is_dir():
            return
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CheckpointError(
                f"Another process is writing the run in {self._folder}. Wait for it, or choose another --out."
            ) from error
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        self._descriptor = descriptor
