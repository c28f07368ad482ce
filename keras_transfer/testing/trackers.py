"""The contract of a tracker."""

import copy
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.storage.checkpoint_store import STORABLE, find_unstorable
from keras_transfer.trackers.base import Tracker
from keras_transfer.trackers.records import (
    EpochEnded,
    PhaseEnded,
    PhaseStarted,
    ReportMade,
    RunEnded,
    RunStarted,
    StepEnded,
)

_RECIPE = {
    "task": "image_classification",
    "data": {"source": "images", "test": 0.2, "stratify": ["label"]},
    "head": {"hidden": None, "label_texts": {"black cat": "a cat/that is black"}},
}
_METRICS = {"n": 4, "accuracy": 0.75, "accuracy_interval": [0.5, 1.0], "auroc": None, "gain": {"points": 0.25}}
# One transparent pixel.
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000b4944415478da636000020000050001e9fadcd80000000049454e44ae426082"
)


@dataclass(frozen=True)
class _Call:
    method: str
    argument: Any


def check_tracker(tracker: Tracker) -> None:
    """Check that a tracker fulfils its contract: call it as three runs would, in a temporary folder.

    The first run is interrupted in its second phase, the second resumes it and ends, and the third fails before it has
    trained. The checks: no method raises; arguments are not changed; ``get_state`` returns plain data; files of the run
    folder do not change; and Python's and NumPy's random states are not used, so that a run has the same weights with
    and without the tracker.

    Args:
        tracker: An instance with the settings to check. It records three runs at its usual destination.

    Raises:
        AssertionError: The tracker does not fulfil the contract.

    Example:
        >>> check_tracker(MyTracker(file="log.txt"))  # doctest: +SKIP
    """
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "check-tracker"
        folder.mkdir()
        before = _write_run(folder)
        head, full = PhaseStarted("head", 1, 2, 1, 0), PhaseStarted("full", 2, 2, 2, 3)
        started = RunStarted(folder, _RECIPE, {"versions": {}}, "0" * 40, {"train": "a", "test": "b"}, "accuracy")
        solved = EpochEnded(head, 1, 1, {"loss": 0.7, "val_loss": 0.8}, 0.5, {"strength": 1.5, "label_texts": "used"})
        first = EpochEnded(full, 1, 2, {"loss": 0.5, "val_loss": float("nan")}, 1.5)

        calls = [_Call("run_started", started), _Call("phase_started", head), _Call("epoch_ended", solved)]
        calls += [_Call("phase_ended", PhaseEnded(head, 1))]
        calls += [_Call("phase_started", full), _Call("step_ended", StepEnded(full, 1, 1, {"loss": 0.6}))]
        _call(tracker, calls)
        state = tracker.get_state()
        problem = find_unstorable(state)
        _check(problem is None, f"get_state returns {STORABLE}", problem)
        _call(tracker, [_Call("epoch_ended", first), _Call("run_failed", KeyboardInterrupt())])

        tracker.set_state(copy.deepcopy(state))
        resumed = RunStarted(
            folder, _RECIPE, {"versions": {}}, None, started.fingerprints, started.metric, resumed=True
        )
        calls = [_Call("run_started", resumed), _Call("phase_started", full), _Call("epoch_ended", first)]
        calls += [_Call("epoch_ended", EpochEnded(full, 2, 3, {"loss": 0.4, "val_loss": 0.6}, 1.5))]
        calls += [_Call("phase_ended", PhaseEnded(full, 2))]
        calls += [_Call("report_made", ReportMade(split, _METRICS, 3)) for split in ("validation", "test")]
        calls += [_Call("run_ended", RunEnded(folder, 3))]
        _call(tracker, calls)

        other = RunStarted(folder.with_name("check-tracker-2"), _RECIPE)
        other.folder.mkdir()
        _call(tracker, [_Call("run_started", other), _Call("run_failed", ValueError("the loss is NaN"))])
        after = {name: (folder / name).read_bytes() for name in before if (folder / name).is_file()}
        _check(after == before, "files of the run folder stay as they are", sorted(after))


def _write_run(folder: Path) -> dict[str, bytes]:
    files = {"recipe.yaml": b"task: image_classification\n", "metrics.json": b"{}\n", "history.png": _PNG}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


def _call(tracker: Tracker, calls: Sequence[_Call]) -> None:
    for call in calls:
        argument, randomness = copy.deepcopy(call.argument), _random_states()
        getattr(tracker, call.method)(call.argument)
        same = repr(argument) == repr(call.argument)  # an exception is equal to no other one
        _check(same, f"{call.method} leaves what it receives as it is", call.argument)
        _check(randomness == _random_states(), f"{call.method} does not use global random states", "a changed state")


def _random_states() -> tuple[Any, ...]:
    _, keys, position, *_ = np.random.get_state()
    return random.getstate(), np.asarray(keys).tobytes(), position


def _check(holds: bool, rule: str, received: Any) -> None:
    if not holds:
        raise AssertionError(f"A tracker's contract: {rule}. Received: {received!r}.")
