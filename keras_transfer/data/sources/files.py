"""Which files of a folder are used: one rule for training and for prediction."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.errors import DataError

# Files that Windows and macOS create in folders; other such files have hidden names.
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out: ``.cache``, ``__MACOSX``, ``Thumbs.db``."""
    return name.startswith((".", "__")) or name.lower() in _SYSTEM_FILES


@dataclass(frozen=True)
class FolderFiles:
    """The content of a folder, at any depth.

    Attributes:
        files: Files in the order of their paths, including broken links: reading them reports it.
        links: Links to folders, which are not followed.
        special: Pipes, devices and the like: reading them could block forever.
        hidden: How many files and folders are hidden; a hidden folder counts once, whatever is in it.
    """

    files: Sequence[Path]
    links: Sequence[Path]
    special: Sequence[Path]
    hidden: int


def list_files(folder: Path) -> FolderFiles:
    """List the files of a folder and its sub-folders that are not hidden.

    Raises:
        DataError: A folder cannot be read.
    """
    files: list[Path] = []
    links: list[Path] = []
    special: list[Path] = []
    hidden = 0
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        hidden += sum(map(is_hidden, [*folders, *names]))
        folders[:] = [name for name in folders if not is_hidden(name)]
        entries = [Path(parent, name) for name in names if not is_hidden(name)]
        # Entries without permission for stat are reported when they are read.
        files += [entry for entry in entries if os.path.isfile(entry) or not os.path.exists(entry)]
        links += [link for link in (Path(parent, name) for name in folders) if os.path.islink(link)]
        special += [entry for entry in entries if os.path.exists(entry) and not os.path.isfile(entry)]
    return FolderFiles(sorted(files), sorted(links), sorted(special), hidden)


def list_visible(folder: Path) -> tuple[list[Path], int]:
    """Return the entries of one folder that are not hidden, in order, and the number of those that are.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(error) from error
    visible = [entry for entry in entries if not is_hidden(entry.name)]
    return visible, len(entries) - len(visible)


def note_hidden(folder: Path, count: int) -> list[str]:
    """Return a line for the user on hidden files and folders, if there are any."""
    what = "file or folder" if count == 1 else "files or folders"
    return [f"Left out in {folder}: {count} hidden {what}"] if count else []


def _refuse(error: OSError) -> None:
    raise _unreadable(error) from error


def _unreadable(error: OSError) -> DataError:
    return DataError(f"Cannot read {error.filename}: {error.strerror}. Fix or remove it.")
