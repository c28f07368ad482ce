"""Atomic files and folders: they exist as a whole or not at all, even after a kill or a power failure."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from keras_transfer.errors import CheckpointError

UNFINISHED = ".unfinished-"
"""What the names of files and folders begin with while they are written or removed."""

LOCK = ".lock"
"""The file in a folder that a process locks while it writes there."""


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Write a file under a temporary name, and rename it when it is on the disk; until then, an older one is kept.

    Yields:
        The name to write to: the same suffix, in the same folder.

    Raises:
        CheckpointError: The file cannot be written.
    """
    unfinished = file.with_name(UNFINISHED + file.name)
    try:
        unfinished.unlink(missing_ok=True)  # of an interrupted process; writing would follow a link
        yield unfinished
        sync(unfinished)
        unfinished.replace(file)
        sync(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise CheckpointError(
            f"{file} cannot be written: {error.strerror or error}. Free disk space or fix the permissions, and run it "
            "again."
        ) from error


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    on_windows = os.name == "nt"
    if on_windows and path.is_dir():  # it opens no folders
        return
    descriptor = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything in it are on the disk."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


class FolderLock:
    """Keeps other processes out of a folder until it is released or this process ends.

    The lock is a file in the folder, which is removed on release. A file system without locks does not protect.

    Args:
        folder: The folder; it may not exist yet.
        writes: The description in messages of what is written; by default the run in the folder.
    """

    def __init__(self, folder: Path, *, writes: str | None = None) -> None:
        self._folder, self._writes = folder, writes or f"the run in {folder}"
        self._lock: FileLock | None = None

    def __enter__(self) -> "FolderLock":
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is None:
            return
        file = Path(self._lock.lock_file)
        # Removed while it is locked: no process then locks a file that is about to be removed. Windows cannot remove
        # open files.
        with contextlib.suppress(OSError):
            file.unlink()
        self._lock.release()
        with contextlib.suppress(OSError):
            if os.name == "nt":
                file.unlink()
        self._lock = None

    def take(self) -> None:
        """Take the lock, unless it is already taken or there is no folder yet.

        Raises:
            CheckpointError: Another process has it.
        """
        if self._lock is not None or not self._folder.is_dir():
            return
        if (self._folder / LOCK).is_symlink():  # it would be followed, and what it names emptied
            raise CheckpointError(f"{self._folder / LOCK} is a link. Remove it.")
        lock = FileLock(self._folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise CheckpointError(
                f"Another process is writing {self._writes}. Wait for it, or choose another --out."
            ) from error
        except (OSError, NotImplementedError):  # no locks here, or a folder that cannot be written, as writing will say
            return
        self._lock = lock
