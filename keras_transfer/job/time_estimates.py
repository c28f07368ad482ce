"""How long each policy would take on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from keras_transfer.errors import PolicyError

# A step of training takes as long as so many forward passes; 4.0 were measured on a CPU (benchmarks/batch_norm.py).
_STEP = 4.0
# Rows an epoch that cross-validation learns from, at most: where there are many, fewer folds tell as much.
_MOST_ROWS = 2000


@dataclass(frozen=True)
class Speed:
    """How long this machine takes.

    Attributes:
        reading: Seconds an image from its file to pixels.
        network: Seconds an image through the whole network.
        frozen: Seconds an image through the stages that ``last_stages`` leaves frozen, a part of that.
        tuned: The same for ``lp_ft``; 0 where it trains all of them.
        start: Seconds until the network, run for the first time, is ready.
    """

    reading: float
    network: float
    frozen: float
    tuned: float
    start: float


@dataclass(frozen=True)
class Work:
    """How often examples are looked at.

    Attributes:
        rows: Training examples, an epoch.
        validated: Validation examples, an epoch.
        judged: Images of the final report, each flip counted.
        epochs: The recipe's training.epochs.
        views: How many are kept of each training image where stages are frozen.
    """

    rows: int
    validated: int
    judged: int
    epochs: int
    views: int


def count_folds(rows: int, folds: int) -> int:
    """Return how many folds of cross-validation are worth their time: at least one, where there are any.

    Args:
        rows: Of training.
        folds: How many there are.
    """
    learned = rows * (folds - 1) / max(folds, 1)
    return min(folds, max(1, int(_MOST_ROWS // max(learned, 1.0))))


def estimate_seconds(work: Work, speed: Speed, folds: int) -> dict[str, float]:
    """Estimate how long each candidate takes, together with what has to be done before it can be chosen.

    Args:
        work: What there is to do.
        speed: How fast it is done.
        folds: How many of cross-validation there will be.

    Returns:
        Seconds by policy, each more than the one before.
    """
    reading, network = speed.reading, speed.network

    def train(frozen: float) -> tuple[float, float]:
        """Of a phase with such stages: what tracing its graph takes, and what its steps take."""
        trained = network - frozen
        steps = work.epochs * (_STEP * work.rows + work.validated)
        return _STEP * speed.start * trained / network, steps * trained

    head = speed.start + (work.rows + work.validated + work.judged) * (reading + network)
    features = work.views * work.rows * (reading + speed.frozen)
    # A graph is traced once for all folds, and once more for the phase itself.
    tracing, part = train(speed.frozen)
    tried = head + features + (tracing + folds * part if folds else 0.0)
    # What is not kept is read anew in every epoch.
    again = 0.0 if speed.tuned else work.epochs * (work.rows + work.validated) * reading
    lp_ft = sum(train(speed.tuned)) + again + work.judged * (reading + network)
    return {"head": head, "last_stages": tried + tracing + part, "lp_ft": tried + lp_ft}


def describe_estimates(estimates: Mapping[str, float]) -> str:
    """Return seconds by policy, for people."""
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in estimates.items())


def find_affordable(estimates: Mapping[str, float], budget_seconds: float | None) -> list[str]:
    """Return the candidates that a budget has room for, the least work first.

    Args:
        estimates: Seconds by policy.
        budget_seconds: None for no limit.

    Raises:
        PolicyError: There is no room for any.
    """
    found = [name for name, seconds in estimates.items() if budget_seconds is None or seconds <= budget_seconds]
    if not found:
        least = min(estimates.values())
        raise PolicyError(
            f"policy.budget_seconds must allow for one pass over the examples, about {least:.0f} s on this machine. "
            f"Received: {budget_seconds:g}. Use {1.2 * least:.0f} or more, or fewer or smaller examples."
        )
    return found
