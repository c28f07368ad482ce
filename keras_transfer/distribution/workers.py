"""The addresses of the processes of a run, and the index of this one: from the recipe, TF_CONFIG or SLURM."""

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keras_transfer.config.schema import DistributionConfig
from keras_transfer.errors import ConfigError, TrainingError

_FIRST_PORT, _PORTS, _PORTS_OF_A_JOB = 10000, 20000, 64


def find_slurm_addresses(environment: Mapping[str, str]) -> list[str]:
    """Return ``host:port`` of each task of a step, by rank; tasks are distributed in blocks, SLURM's default.

    Raises:
        KeyError: A variable is missing.
        ValueError: A variable is malformed.
    """
    hosts = list(_expand_hosts(environment["SLURM_STEP_NODELIST"]))
    tasks = list(_expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"]))
    if len(hosts) != len(tasks):
        raise ValueError(f"SLURM_STEP_NODELIST has {len(hosts)} nodes, SLURM_STEP_TASKS_PER_NODE {len(tasks)}")
    # Jobs that share a node use different ports.
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


_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Workers:
    """The processes of a run.

    Attributes:
        addresses: ``host:port`` of each process, the chief first.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """Return the name of a process in messages."""
        return f"worker {index} ({self.addresses[index]})"

    def describe_loss(self, lost: Sequence[int]) -> TrainingError:
        """Return the error that ends a run that has lost processes.

        Args:
            lost: Their indices; empty if unknown.
        """
        names = ", ".join(map(self.name, lost)) or "another worker"
        return TrainingError(
            f"The run ends because {names} no longer responds. Its last output says why. "
            "Run the same commands with --resume to continue from the last checkpoint."
        )

    @property
    def port(self) -> int:
        """The port that this process listens on."""
        return int(self.addresses[self.index].rpartition(":")[2])

    def check_port(self) -> None:
        """Check that nothing else listens on this process's port.

        Raises:
            ConfigError: The port is in use.
        """
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", self.port))
            except OSError as error:
                raise ConfigError(
                    f"The port of {self.name(self.index)} cannot be used: {error.strerror}. Another program uses it, "
                    "or another worker has the same index. Give each worker an index and a port of its own."
                ) from error

    def find_lost(self) -> list[int]:
        """Return the indices of the processes that do not respond."""
        lost = []
        for index, address in enumerate(self.addresses):
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=3.0).close()
            except OSError:
                lost.append(index)
        return [index for index in lost if index != self.index]


def find_workers(config: DistributionConfig, environment: Mapping[str, str] = os.environ) -> Workers:
    """Find the addresses of a run's processes: in the recipe, else in TF_CONFIG, else in SLURM's variables.

    Raises:
        ConfigError: No addresses were given, or they are malformed.
    """
    if config.workers:
        if config.worker is None:
            raise ConfigError(
                "distribution.worker, the index of this process in distribution.workers, is missing. "
                f"Give each process its own: distribution.worker=0 to distribution.worker={len(config.workers) - 1}."
            )
        return _checked(config.workers, config.worker, "distribution.workers")
    if "TF_CONFIG" in environment:
        return _read_tf_config(environment["TF_CONFIG"])
    if "SLURM_PROCID" in environment:
        return _read_slurm(environment)
    raise ConfigError(
        "distribution.strategy=multi_worker: no worker addresses were given. Set distribution.workers and "
        "distribution.worker, or TF_CONFIG, or start the workers with srun; on this machine: keras-transfer launch."
    )


def _read_tf_config(text: str) -> Workers:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"TF_CONFIG is not valid JSON: {error}. Received: {text[:200]!r}. Example: {_EXAMPLE}."
        ) from error
    parts = values if isinstance(values, dict) else {}
    missing = [name for name in ("cluster", "task") if not isinstance(parts.get(name), dict)]
    if missing:
        raise ConfigError(f"TF_CONFIG lacks {' and '.join(missing)}. Received: {text[:200]}. Example: {_EXAMPLE}.")
    kinds: dict[str, list[str]] = {kind: parts["cluster"].get(kind, []) for kind in ("chief", "worker")}
    for kind, addresses in kinds.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise ConfigError(
                f"TF_CONFIG: {kind} is not a list of addresses. Received: {addresses!r}. Example: {_EXAMPLE}."
            )
    kind, index = parts["task"].get("type"), parts["task"].get("index")
    if kind not in list(kinds) or not isinstance(index, int) or not 0 <= index < len(kinds[kind]):
        there = ", ".join(f"{len(kinds[name])} of type {name}" for name in kinds if kinds[name]) or "none"
        raise ConfigError(
            f"TF_CONFIG: the task is not in the cluster. Received: type {kind!r}, index {index!r}; the cluster has "
            f"{there}. Example: {_EXAMPLE}."
        )
    return _checked([*kinds["chief"], *kinds["worker"]], index + (kind == "worker") * len(kinds["chief"]), "TF_CONFIG")


def _read_slurm(environment: Mapping[str, str]) -> Workers:
    try:
        addresses, index = find_slurm_addresses(environment), int(environment["SLURM_PROCID"])
    except (KeyError, ValueError) as error:
        problem = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ConfigError(
            f"SLURM's variables do not describe the workers: {problem}. Start them with srun, or set "
            "distribution.workers and distribution.worker."
        ) from error
    return _checked(addresses, index, "SLURM")


def _checked(addresses: list[str], index: int, where: str) -> Workers:
    wrong = [address for address in addresses if not _is_address(address)]
    if wrong:
        raise ConfigError(f"{where}: {wrong[0]!r} is not of the form host:port. Example: node1:2222.")
    twice = sorted({address for address in addresses if addresses.count(address) > 1})
    if twice:
        raise ConfigError(
            f"{where}: two workers have the same address. Received: {', '.join(twice)} twice. Use two ports."
        )
    if index >= len(addresses):
        raise ConfigError(
            f"{where}: there is no worker {index}. Received: {len(addresses)} workers. Count from 0 to "
            f"{len(addresses) - 1}."
        )
    return Workers(tuple(addresses), index)


def _is_address(address: object) -> bool:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536
