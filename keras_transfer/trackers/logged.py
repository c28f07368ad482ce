"""What all trackers log in the same way: parameters, metrics and files, under the same names."""

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from keras_transfer.trackers.records import EpochEnded, ReportMade, RunStarted

ARTIFACTS = ("recipe.yaml", "metrics.json", "history.png")
"""The files of a run folder that a tracker keeps a copy of, as far as the run has them."""


def list_parameters(run: RunStarted) -> dict[str, str | int | float | bool]:
    """Return a run's parameters for a tracker, as a flat mapping.

    Returns:
        The recipe's settings by dotted path, ``git_commit`` if there is one, and ``fingerprint.<split>`` for each
        split. Lists, None and mappings whose keys are not names, such as texts by class, are JSON.
    """
    parameters = _flatten(run.recipe)
    if run.git_commit is not None:
        parameters["git_commit"] = run.git_commit
    return {**parameters, **{f"fingerprint.{split}": value for split, value in run.fingerprints.items()}}


def _flatten(values: Mapping[str, Any], path: str = "") -> dict[str, str | int | float | bool]:
    flat: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value and all(name.isidentifier() for name in value):
            flat |= _flatten(value, f"{path}{key}.")
        else:
            simple = isinstance(value, str | int | float)
            flat[f"{path}{key}"] = value if simple else json.dumps(value, ensure_ascii=False)
    return flat


def list_epoch_metrics(epoch: EpochEnded) -> dict[str, float]:
    """Return an epoch's metrics for a tracker, at the step ``run_epoch``.

    Returns:
        The metrics by name, ``seconds``, ``phase`` (its number); and, if the run has several phases, the metrics also
        with the phase as a prefix: ``phase_2_full/loss``.
    """
    metrics = dict(epoch.metrics)
    metrics |= {name: value for name, value in epoch.details.items() if isinstance(value, int | float)}
    phase = epoch.phase
    title = f"phase_{phase.number}_{re.sub(r'[^A-Za-z0-9_.-]+', '_', phase.name)}"
    of_phase = {f"{title}/{name}": value for name, value in metrics.items()}
    run = {**metrics, "seconds": epoch.seconds, "phase": float(phase.number)}
    return {**run, **of_phase} if phase.count > 1 else run


def list_report_metrics(report: ReportMade) -> dict[str, float]:
    """Return a report's metrics for a tracker: the numbers of the whole split, by ``<split>/<name>``.

    Entries of a mapping are ``<split>/<name>.<inner>``. Lists and deeper nesting, such as results per class, are left
    out: there may be thousands, and ``metrics.json`` has them.
    """
    numbers: dict[str, float] = {}
    for name, value in report.metrics.items():
        inner = value.items() if isinstance(value, Mapping) else ()
        for path, number in [(name, value), *((f"{name}.{key}", item) for key, item in inner)]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                numbers[f"{report.split}/{path}"] = float(number)
    return numbers


_TIMEOUT_SECONDS = 10.0


def find_git_commit() -> str | None:
    """Return the commit that is checked out in the working directory.

    Returns:
        Its full hash, with the suffix ``-dirty`` if tracked files have changed. None outside of a repository, without
        git, and in a repository that git cannot describe within 10 seconds.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
