"""From the paths in a table to files: under which folder, with which suffix, in whose notation."""

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer.config import ImageDataConfig
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError

# Those that the scan accepts, in the order in which they are tried.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".npy", ".JPG", ".JPEG", ".PNG", ".BMP", ".WEBP")


@dataclass(frozen=True)
class FoundFiles:
    """The files that a table names.

    Attributes:
        root: The folder that the paths are relative to.
        paths: The path of each row, with slashes.
        notes: Lines for the user on paths that were not read as they are.
    """

    root: Path
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find_files(where: Path, values: Sequence[Any], config: ImageDataConfig, *, folder: Path) -> FoundFiles:
    """Find the files that a table names, all of them.

    Args:
        where: Where the table comes from, for messages.
        values: The path of each row.
        config: The data section that applies to the table.
        folder: What paths are relative to unless the table has a root of its own.

    Raises:
        DataError: A file does not exist, or there are two that a path could mean.
    """
    found = read_paths(where, values, config, folder=folder)
    missing = [path for path in found.paths if not _is_file(found.root / path)]
    if missing:
        raise _explain_missing(missing, found, where, config, folder)
    return found


def read_paths(where: Path, values: Sequence[Any], config: ImageDataConfig, *, folder: Path) -> FoundFiles:
    """Read the paths of a table, whether or not there are such files.

    Args:
        where: As for :func:`find_files`.
        values: As for :func:`find_files`.
        config: As for :func:`find_files`.
        folder: As for :func:`find_files`.

    Raises:
        DataError: There are two files that a path could mean.
    """
    root = folder if config.root is None else Path(config.root).expanduser().resolve()
    if config.root is not None and not root.is_dir():
        raise DataError(
            f"{config.key_of('root')} is not a folder. Received: {config.root}. Name the folder of the images."
        )
    # ./a.png and a.png are one image.
    found = FoundFiles(root, tuple(posixpath.normpath(str(value)) for value in values))
    found = _read_backslashes(found)
    found = _add_suffix(found, where, config)
    _refuse_two_roots(found, where, config)
    return found


def find_elsewhere(path: str, config: ImageDataConfig) -> Path | None:
    """Return the root of ``data.source`` if a path that another source does not have leads to a file there.

    Args:
        path: As a table has it.
        config: The data section that applies to the table.
    """
    if config.root is not None or config.main_root is None:
        return None
    root = Path(config.main_root).expanduser().resolve()
    return root if _is_file(root / path) else None


def _is_file(path: Path) -> bool:
    """Whether it is a file that can be read without waiting; False for names that no file can have, too."""
    return _mode_of(path) is not None and stat.S_ISREG(_mode_of(path) or 0)


def _mode_of(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return None


def _read_backslashes(found: FoundFiles) -> FoundFiles:
    """Read backslashes as slashes if that leads to a file, and the path as it is does not."""
    paths = list(found.paths)
    changed = []
    for row, path in enumerate(paths):
        if "\\" in path and not _is_file(found.root / path):
            converted = posixpath.normpath(path.replace("\\", "/"))
            if _is_file(found.root / converted):
                changed.append(path)
                paths[row] = converted
    if not changed:
        return found
    note = f"Paths with backslashes, read with slashes: {len(changed):,} rows, such as {changed[0]}"
    return FoundFiles(found.root, tuple(paths), (*found.notes, note))


def _add_suffix(found: FoundFiles, where: Path, config: ImageDataConfig) -> FoundFiles:
    """Add the suffix that a recipe gives or, to paths that lead to no file, the only one with which all do."""
    if config.suffix != "auto":
        named = (path if path.endswith(config.suffix) else path + config.suffix for path in found.paths)
        return FoundFiles(found.root, tuple(named), found.notes)
    bare = [path for path in found.paths if not _is_file(found.root / path)]
    if not bare or any(Path(path).suffix.lower() in IMAGE_SUFFIXES for path in bare):
        return found
    with_suffix = {path: [end for end in IMAGE_SUFFIXES if _is_file(found.root / (path + end))] for path in bare}
    twice = [f"{path} ({' and '.join(ends)})" for path, ends in with_suffix.items() if len(ends) > 1]
    if twice:
        raise DataError(
            f"{where} names files without a suffix, and {len(twice)} of them exist with several: {some(twice, 5)}. Set "
            f"{config.key_of('suffix')} to the one that is meant, or write whole names."
        )
    counts = Counter(ends[0] for ends in with_suffix.values() if ends)
    if len(counts) > 1:
        found_ends = ", ".join(f"{count:,} as {end}" for end, count in counts.most_common())
        raise DataError(
            f"{where} names files without a suffix, which exist with different ones: {found_ends}. Write whole names."
        )
    if not all(with_suffix.values()):
        return found
    (suffix,) = counts
    note = f"Paths without a suffix, read with {suffix}: {len(bare):,} rows, such as {bare[0]}"
    ends = (path + suffix if path in with_suffix else path for path in found.paths)
    return FoundFiles(found.root, tuple(ends), (*found.notes, note))


def _refuse_two_roots(found: FoundFiles, where: Path, config: ImageDataConfig) -> None:
    """Refuse a table without a root of its own whose paths exist under its folder and under the root of another."""
    if config.root is not None or config.main_root is None:
        return
    other = Path(config.main_root).expanduser().resolve()
    twice = [
        path
        for path in found.paths
        if _is_file(found.root / path)
        and _is_file(other / path)
        and not os.path.samefile(found.root / path, other / path)
    ]
    if twice:
        raise DataError(
            f"{where}: {len(twice)} of {len(found.paths)} paths lead to two files, such as {found.root / twice[0]} "
            f"beside the table, and {other / twice[0]} in data.root. Set {config.key_of('root')} to {found.root} or "
            f"{other}."
        )


def _explain_missing(
    missing: Sequence[str], found: FoundFiles, where: Path, config: ImageDataConfig, folder: Path
) -> DataError:
    special = [path for path in missing if _mode_of(found.root / path) not in (None, 0)]
    what = f"{where} names {len(missing)} of {len(found.paths)} files that do not exist: {some(missing)}."
    if len(special) == len(missing):
        return DataError(
            f"{where} names {len(special)} of {len(found.paths)} paths that are not files, but folders, pipes or "
            f"devices: {some(special)}. Name files."
        )
    elsewhere = [Path(config.main_root).expanduser().resolve()] if config.main_root and config.root is None else []
    elsewhere += [folder] if config.root is not None else []
    for other in elsewhere:
        count = sum(_is_file(other / path) for path in missing)
        if count:
            return DataError(
                f"{what} Paths are relative to {found.root}; {count:,} of them exist in {other}. If these are meant, "
                f"set {config.key_of('root')} to {other}."
            )
    if config.suffix == "auto" and not any(Path(path).suffix for path in missing):
        hint = (
            f"set {config.key_of('suffix')} if file names have one, or use {config.key_of('root')} for another folder"
        )
    else:
        hint = f"use {config.key_of('root')} for another folder"
    if any("\\" in path for path in missing):
        hint += "; paths with backslashes are tried with slashes, too, without a drive (C:)"
    return DataError(f"{what} Paths are relative to {found.root}; {hint}.")
