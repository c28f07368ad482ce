"""The CPU cores that a process may use. Linux supports changing them; elsewhere it is all of them."""

import os


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def pin_to_cores(threads: int) -> None:
    """Restrict this process to a number of its cores: runtimes choose their threads accordingly.

    Args:
        threads: The number; environment variables set it for runtimes that do not look at cores.
    """
    affinity, pin = (getattr(os, f"sched_{name}affinity", None) for name in ("get", "set"))
    if affinity and pin:
        pin(0, sorted(affinity(0))[:threads])
