"""The addresses of the processes of a SLURM step.

TensorFlow's ``SlurmClusterResolver`` (2.21) cannot be used: it fails without ``nvidia-smi`` or GPUs, and sorts hosts as
texts, n10 before n9, while SLURM counts in the order of its list.
"""

import re
from collections.abc import Iterator, Mapping

_FIRST_PORT, _PORTS, _PORTS_OF_A_JOB = 10000, 20000, 64


def find_slurm_addresses(environment: Mapping[str, str]) -> list[str]:
    """Return ``host:port`` of each task of a step, by rank; tasks are distributed in blocks, as is SLURM's default.

    Raises:
        KeyError: A variable is missing.
        ValueError: A variable is malformed.
    """
    hosts = list(_expand_hosts(environment["SLURM_STEP_NODELIST"]))
    tasks = list(_expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"]))
    if len(hosts) != len(tasks):
        raise ValueError(f"SLURM_STEP_NODELIST has {len(hosts)} nodes, SLURM_STEP_TASKS_PER_NODE {len(tasks)}")
    # Jobs that share a node have ports of their own.
    first = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) * _PORTS_OF_A_JOB % _PORTS
    return [f"{host}:{first + number}" for host, count in zip(hosts, tasks, strict=True) for number in range(count)]


def _expand_hosts(text: str) -> Iterator[str]:
    """From ``n[08-10,12],login``: n08, n09, n10, n12, login."""
    if not re.fullmatch(r"[^,\[\]]+(\[[\d,-]+\])?(,[^,\[\]]+(\[[\d,-]+\])?)*", text):
        raise ValueError(f"SLURM_STEP_NODELIST: {text!r}")
    for name, ranges in re.findall(r"([^,\[\]]+)(?:\[([\d,-]+)\])?", text):
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            if not part:
                yield name
                continue
            for number in range(int(first), int(last or first) + 1):
                yield f"{name}{number:0{len(first)}}"


def _expand_counts(text: str) -> Iterator[int]:
    """From ``2(x3),1``: 2, 2, 2, 1."""
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            raise ValueError(f"SLURM_STEP_TASKS_PER_NODE: {text!r}")
        yield from [int(found[1])] * int(found[2] or 1)
