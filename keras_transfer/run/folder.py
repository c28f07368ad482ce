"""The run folder: its files, and how they are written."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from keras_transfer.config.deciding import what_decides
from keras_transfer.config.recipe_file import read_recipe
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.distribution import Distribution
from keras_transfer.errors import CheckpointError, ConfigError
from keras_transfer.run.predictions import PREDICTIONS
from keras_transfer.storage.atomic import LOCK, UNFINISHED, whole
from keras_transfer.storage.inside import check_inside
from keras_transfer.storage.sums import SUMS, check_value, write_sums

RECIPE, ENVIRONMENT, DATA = "recipe.yaml", "environment.json", "data.json"
HISTORY, METRICS, MODEL = "history.jsonl", "metrics.json", "model.keras"
LEARNING_CURVE = "learning_curve.json"
HEAD, SAMPLES, EXPORT = "head.json", "samples", "export"
PLOT, REPORT = "history.png", "report.html"
SUMMARY = "summary.json"
"""Of a cross-validation, in the folder of its runs."""

CONFUSION = "confusion.png"
"""Of an earlier version: report.html has the matrix now."""

ADAPTERS, CHOICE, PHASES = "adapters.npz", "choice.json", "phases.json"
FINDINGS = "findings.csv"
CHECKPOINTS = "checkpoints"
"""Exists from the start of a run to its end: a folder that has it holds an unfinished run."""

UNKNOWN_CONTENT = "cannot be compared: the run was made by a version that did not record their content"


_FILES = (
    *(RECIPE, ENVIRONMENT, DATA, HISTORY, METRICS, MODEL, HEAD, PREDICTIONS, LEARNING_CURVE),
    *(PLOT, CONFUSION, REPORT, ADAPTERS, CHOICE, PHASES, FINDINGS, LOCK, SUMS),
)
_FOLDERS = (SAMPLES, EXPORT, CHECKPOINTS, TOKENIZER, "tensorboard")


def check_run_folder(folder: Path) -> None:
    """Check that no link leads out of a run folder, before anything in it is read or written.

    Raises:
        CheckpointError: There is a link that does, a named pipe or a device.
    """
    check_inside(folder, files=_FILES, folders=_FOLDERS, prefix=UNFINISHED)


def choose_folder(task: str, out: str | Path | None, *, resume: bool) -> Path:
    """Return the folder for a run: ``out`` if given, by default ``runs/<task>-<date>-<time>``.

    Raises:
        ConfigError: A run is to be resumed, and no folder is given.
    """
    if out is not None:
        return Path(out)
    if resume:
        raise ConfigError("--resume continues a run that was interrupted. Name its folder with --out.")
    return Path("runs") / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"


def prepare_folder(folder: Path) -> None:
    """Check that a run can be written to a folder, without writing anything.

    Raises:
        CheckpointError: The folder is a file, is not empty, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"The output folder {folder} is a file. Choose another --out.")
    if (folder / CHECKPOINTS).is_dir():
        raise CheckpointError(
            f"The output folder {folder} holds an unfinished run. Add --resume, or choose another --out."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise CheckpointError(f"The output folder {folder} is not empty. Choose another --out, or empty it.")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not _is_writable(existing):
        raise CheckpointError(
            f"The output folder {folder} cannot be made: {existing} cannot be written. Choose another --out."
        )


def check_shared(folder: Path, distribution: Distribution) -> None:
    """Check that all processes of a run see the folder that the chief writes: any of them may be the next chief.

    Raises:
        ConfigError: Some processes do not see it; every process raises the error.
    """
    mark = folder / distribution.broadcast(f".seen-by-all-{uuid.uuid4().hex}")
    if distribution.is_chief:
        mark.touch()
    distribution.barrier()
    seen = distribution.gather(mark.exists())
    if distribution.is_chief:
        mark.unlink()
    blind = [str(index) for index, sees in enumerate(seen) if not sees]
    if blind:
        raise ConfigError(
            f"Worker {', '.join(blind)} does not see the run folder that worker 0 writes. Received: "
            f"{folder.absolute()} on worker {distribution.process}. With --out, give all of them one folder on a "
            "file system that they share."
        )


def find_run(folder: Path) -> Literal["none", "unfinished", "finished"]:
    """Return the state of the run in a folder that is to be resumed.

    Raises:
        CheckpointError: The folder holds something else, cannot be written, or is not safe to write.
    """
    if folder.is_dir():
        check_run_folder(folder)
    if (folder / CHECKPOINTS).is_dir():
        return "unfinished"
    if not folder.is_dir() or not any(folder.iterdir()):
        prepare_folder(folder)
        return "none"
    missing = [name for name in (RECIPE, MODEL, METRICS) if not (folder / name).is_file()]
    if not missing:
        return "finished"
    if missing == [METRICS]:
        raise CheckpointError(
            f"The run in {folder} ended because its loss became NaN or infinite; resuming would fail the same way. "
            "Change the recipe, and choose another --out."
        )
    raise CheckpointError(f"{folder} is not a run folder, so it cannot be resumed. Name a run folder, or a new one.")


def _is_writable(folder: Path) -> bool:
    """Write a test file: permissions alone do not reveal read-only file systems."""
    probe = folder / ".keras-transfer-probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def read_json(file: Path, *keys: str) -> dict[str, Any]:
    """Read one of the run folder's JSON files.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, getattr(error, "strerror", None) or str(error)) from error
    if not isinstance(values, dict):
        raise damaged(file, "expected a JSON object")
    missing = [key for key in keys if key not in values]
    if missing:
        raise damaged(file, f"it lacks {', '.join(missing)}")
    return values


_DECIDING = (DATA, HEAD, METRICS, PREDICTIONS, LEARNING_CURVE, MODEL, TOKENIZER, SAMPLES)


def seal(folder: Path) -> None:
    """Write the checksums of all files of a finished run on which its predictions and reports depend.

    Raises:
        CheckpointError: Files of the run have been removed in the meantime.
    """
    missing = [name for name in (RECIPE, DATA, MODEL, METRICS) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {', '.join(missing)}: files were removed while the run was writing there. Run the recipe "
            "again, and leave its folder alone."
        )
    write_sums(folder, _DECIDING, {RECIPE: what_decides(read_recipe(folder / RECIPE))})


def check_recipe_sum(folder: Path) -> None:
    """Check that the keys of recipe.yaml on which predictions depend have not changed since the run ended.

    The location of the data may have changed, and so may settings that concern training alone.

    Raises:
        CheckpointError: It has changed.
    """
    values = what_decides(read_recipe(folder / RECIPE))
    problem = "its task, data, backbone, head or augmentation has changed since the run ended"
    check_value(folder, RECIPE, values, file=RECIPE, problem=problem)


def damaged(file: Path, reason: str) -> CheckpointError:
    """Return the error for a file of a run folder that cannot be used."""
    return CheckpointError(f"{file} is damaged: {reason}. Run the recipe again, or use another copy of the run.")


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write one of the run folder's JSON files."""
    with whole(file) as unfinished:
        unfinished.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
