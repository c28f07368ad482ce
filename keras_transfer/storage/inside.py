"""Check untrusted folders: entries are files or folders, and no link leads out of them.

Every run folder is checked here before anything in it is read or written.
"""

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path

from keras_transfer.errors import CheckpointError


def check_inside(
    folder: Path, *, files: Collection[str] = (), folders: Collection[str] = (), prefix: str | None = None
) -> None:
    """Refuse a folder that contains a link to outside, a named pipe, a device or a socket.

    The folder itself may be a link, since the user named it. Entries are checked at the top, and at any depth in the
    given folders: the content of others, such as those of trackers, is neither read nor written by a run.

    Args:
        files: Names at the top that must be files if they exist.
        folders: Names at the top that must be folders if they exist.

    Raises:
        CheckpointError: There is such an entry; the message names it.
    """
    root = Path(os.path.realpath(folder))
    seen: set[tuple[int, int]] = set()
    for path in sorted(folder.iterdir()):
        is_folder = _check_entry(path, root)
        if path.name in files and is_folder:
            raise _error(path, "is a folder; expected a file")
        if path.name in folders and not is_folder:
            raise _error(path, "is a file; expected a folder")
        if is_folder and (path.name in folders or (prefix is not None and path.name.startswith(prefix))):
            _check_below(path, root, seen)


def _check_below(folder: Path, root: Path, seen: set[tuple[int, int]]) -> None:
    pending = [folder]
    while pending:
        current = pending.pop()
        status = current.stat()
        if (status.st_dev, status.st_ino) in seen:  # links within the folder may form a circle
            continue
        seen.add((status.st_dev, status.st_ino))
        pending += [path for path in sorted(current.iterdir()) if _check_entry(path, root)]


def _check_entry(path: Path, root: Path) -> bool:
    """Return whether an entry is a folder; otherwise it is a file."""
    if path.is_symlink():
        target = os.path.realpath(path)
        if not Path(target).is_relative_to(root):
            raise _error(path, f"is a link to {target}, outside of the folder")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _error(path, "is neither a file nor a folder")
    return stat.S_ISDIR(mode)


def read_regular(file: Path) -> bytes:
    """Return the content of a regular file; reading a named pipe could block forever.

    Raises:
        OSError: It cannot be read.
    """
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    return file.read_bytes()


def _error(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {problem}. Nothing in this folder was read or written. If you trust it, put a copy of the file or "
        "folder in its place."
    )
