"""SHA-256 sums of the files in a run folder on which predictions depend, to detect changes and damage.

The sums are written when a run has ended. They do not protect against somebody who also changes the sums. Folders of
older versions have none, and are read without checking.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from keras_transfer.errors import CheckpointError
from keras_transfer.storage.atomic import whole

SUMS = "sums.json"


class _Sums(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal[1]
    files: dict[str, str]
    values: dict[str, str] = {}


def write_sums(folder: Path, names: Iterable[str], values: Mapping[str, Any]) -> None:
    """Write the sums of files, and of values that are only part of a file.

    Args:
        names: Names of files and of folders with files; those that do not exist are left out.
        values: JSON values, by name.

    Raises:
        CheckpointError: The sums cannot be written.
    """
    files = {name: _sum_file(folder / name) for given in names for name in _files(folder, given)}
    sums = {"format": 1, "files": files, "values": {name: _sum_value(value) for name, value in values.items()}}
    with whole(folder / SUMS) as unfinished:
        unfinished.write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def check_file(folder: Path, name: str) -> None:
    """Compare a file, or all files of a folder, with the sums of a run folder.

    Raises:
        CheckpointError: A file has been changed, added or removed.
    """
    sums = _read(folder)
    if sums is None:
        return
    recorded = {file for file in sums.files if file == name or file.startswith(f"{name}/")}
    there = set(_files(folder, name))
    for file in sorted(recorded | there):
        if file not in there:
            raise _changed(folder / file, "it is missing")
        if file not in recorded:
            raise _changed(folder / file, "it was added after the run ended")
        if _sum_file(folder / file) != sums.files[file]:
            raise _changed(folder / file, "its content has changed since the run ended")


def check_value(folder: Path, name: str, value: Any, *, file: str, problem: str) -> None:
    """Compare a value with the sums of a run folder.

    Args:
        problem: The problem to report if the value differs.

    Raises:
        CheckpointError: The value differs.
    """
    sums = _read(folder)
    if sums is not None and name in sums.values and sums.values[name] != _sum_value(value):
        raise _changed(folder / file, problem)


def _read(folder: Path) -> _Sums | None:
    file = folder / SUMS
    if not file.exists():
        return None
    try:
        return _Sums.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise _changed(file, "it is not a file of sums") from error


def _changed(file: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{file} is damaged: {problem}. Run the recipe again, or use another copy of the run.")


def _files(folder: Path, name: str) -> list[str]:
    path = folder / name
    if path.is_dir():
        return sorted(file.relative_to(folder).as_posix() for file in path.rglob("*") if file.is_file())
    return [name] if path.is_file() else []


def _sum_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sum_value(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
