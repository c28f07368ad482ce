"""Estimate how long each policy would take on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from keras_transfer.errors import PolicyError

# A training step takes as long as this many forward passes; measured on a CPU (benchmarks/batch_norm.py).
_STEP = 4.0
# Most rows per epoch that cross-validation trains on: with many rows, fewer folds are as informative.
_MOST_ROWS = 2000


@dataclass(frozen=True)
class Speed:
    """Measured durations on this machine.

    Attributes:
        reading: Seconds per image from its file to pixels.
        network: Seconds per image through the whole network.
        frozen: Seconds per image through the stages that ``last_stages`` freezes, a part of ``network``.
        tuned: The same for ``lp_ft``; 0 if it trains all stages.
        start: Seconds that the first run of the network needs for initialization.
    """

    reading: float
    network: float
    frozen: float
    tuned: float
    start: float


@dataclass(frozen=True)
class Work:
    """How often examples are read and run through the network.

    Attributes:
        rows: Training examples per epoch.
        validated: Validation examples per epoch.
        evaluated: Examples of the final reports, times the flips.
        views: Cached views of each training image if stages are frozen.
    """

    rows: int
    validated: int
    evaluated: int
    epochs: int
    views: int


def count_folds(rows: int, folds: int) -> int:
    """Return the number of cross-validation folds that are worth their time: at least one, if there are any."""
    learned = rows * (folds - 1) / max(folds, 1)
    return min(folds, max(1, int(_MOST_ROWS // max(learned, 1.0))))


def estimate_seconds(work: Work, speed: Speed, folds: int) -> dict[str, float]:
    """Estimate how long each candidate takes, including the work before it can be chosen.

    Returns:
        Seconds by policy, each more than the one before.
    """
    reading, network = speed.reading, speed.network

    def train(frozen: float) -> tuple[float, float]:
        """Seconds of a phase: for tracing its graph, and for its steps."""
        trained = network - frozen
        steps = work.epochs * (_STEP * work.rows + work.validated)
        return _STEP * speed.start * trained / network, steps * trained

    head = speed.start + (work.rows + work.validated + work.evaluated) * (reading + network)
    features = work.views * work.rows * (reading + speed.frozen)
    # A graph is traced once for all folds, and once more for the phase itself.
    tracing, part = train(speed.frozen)
    tried = head + features + (tracing + folds * part if folds else 0.0)
    # Examples that are not cached are read again in every epoch.
    again = 0.0 if speed.tuned else work.epochs * (work.rows + work.validated) * reading
    lp_ft = sum(train(speed.tuned)) + again + work.evaluated * (reading + network)
    return {"head": head, "last_stages": tried + tracing + part, "lp_ft": tried + lp_ft}


def describe_estimates(estimates: Mapping[str, float]) -> str:
    """Return seconds by policy, for people."""
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in estimates.items())


def find_affordable(estimates: Mapping[str, float], budget_seconds: float | None) -> list[str]:
    """Return the candidates that a budget allows, the least work first.

    Args:
        budget_seconds: None for no limit.

    Raises:
        PolicyError: The budget allows none.
    """
    found = [name for name, seconds in estimates.items() if budget_seconds is None or seconds <= budget_seconds]
    if not found:
        least = min(estimates.values())
        raise PolicyError(
            f"policy.budget_seconds must allow for one pass over the examples, about {least:.0f} s on this machine. "
            f"Received: {budget_seconds:g}. Use {1.2 * least:.0f} or more, or fewer or smaller examples."
        )
    return found
