"""The cores that a process may use. Linux can say and change that; elsewhere it is all of them."""

import os


def usable_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def pin_to_cores(threads: int) -> None:
    """Let this process use that many of its cores: runtimes choose their threads by that.

    Args:
        threads: How many; the environment says the same to runtimes that do not look at cores.
    """
    affinity, pin = (getattr(os, f"sched_{name}affinity", None) for name in ("get", "set"))
    if affinity and pin:
        pin(0, sorted(affinity(0))[:threads])
