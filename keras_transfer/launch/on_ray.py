"""Run several processes of one recipe on a Ray cluster; restart them from the last checkpoint when one is lost.

Ray places one actor per worker. Each actor starts the same command as the local engine, in a separate process: it has
fresh devices of TensorFlow and JAX, receives signals, and ends with its actor.
"""

import contextlib
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from keras_transfer.distribution.ray_cluster import connected
from keras_transfer.errors import ConfigError, RunInterrupted, first_line
from keras_transfer.launch.local import (
    GRACE_SECONDS,
    KILLED,
    TOKEN,
    exit_code,
    forwarding_signals,
    make_token,
    name_workers,
)

_PLACE_SECONDS = 60.0
_BETWEEN_LOOKS_SECONDS = 0.2
# Done, an error that the user has to fix, or stopped by SIGHUP (1) or SIGTERM: a restart would not help.
_FINAL = (0, 2, 128 + 1, 128 + signal.SIGTERM)
# Prefixes of the environment variables that workers inherit; a node has its own values of others.
_PASSED_ON = ("KERAS_", "TF_", "JAX_", "XLA_", "OMP_")
_RUN = (
    "import sys; from keras_transfer.launch.local import enter; enter(*sys.argv[1:3]); "
    "from keras_transfer.cli import main; main(sys.argv[3:], prog_name='keras-transfer')"
)


def launch_on_ray(arguments: Sequence[str], *, workers: int, address: str | None = None, retries: int = 3) -> int:
    """Run one command per worker on a Ray cluster, and restart with ``--resume`` when one is lost.

    Output and signals are handled as by :func:`keras_transfer.launch.launch`.

    Args:
        arguments: Arguments of ``keras-transfer``, without the overrides that name the workers.
        workers: Number of workers; each takes a CPU, and a GPU if the cluster has any.
        address: Address of the cluster, as for ``ray.init``; if None, Ray is started on this machine.
        retries: Number of restarts; there is none after exit code 2 or after a signal to this process.

    Returns:
        The exit code of the first worker that failed in the last attempt; 0 if none failed.

    Raises:
        ConfigError: There is no cluster at the address, or not enough resources.
        RunInterrupted: A signal arrived while waiting for resources.
    """
    received: list[int] = []
    with connected(address, cpus=workers), forwarding_signals(received.append):
        for left in range(retries, -1, -1):
            code = _attempt(arguments, workers, received)
            if code in _FINAL or received or not left:
                break
            sys.stderr.write(f"Restarting the workers from the last checkpoint. Retries left: {left - 1}.\n")
            arguments = [*arguments, *(["--resume"] if "--resume" not in arguments else [])]
    return code


def _attempt(arguments: Sequence[str], workers: int, received: Sequence[int]) -> int:
    """Place the workers, and run them until all have ended; none is left running."""
    with _reserved(workers, received) as places:
        try:
            addresses = ray.get([place.address.remote() for place in places], timeout=_PLACE_SECONDS)
            commands = [[os.getcwd(), *arguments, *name_workers(addresses, number)] for number in range(workers)]
            environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
            environment[TOKEN] = make_token()
            ray.get([place.start.remote(command, environment) for place, command in zip(places, commands, strict=True)])
        except RayError as error:
            sys.stderr.write(f"Ray could not start a worker: {error}\n")
            return KILLED
        try:
            return _watch(places, received)
        finally:
            for ended in [place.end.remote() for place in places]:
                with contextlib.suppress(RayError):
                    ray.get(ended, timeout=GRACE_SECONDS)


@contextlib.contextmanager
def _reserved(workers: int, received: Sequence[int]) -> Iterator[list[Any]]:
    """Resources for all workers at once, with an actor in each."""
    each = {"CPU": 1.0, "GPU": 1.0} if ray.cluster_resources().get("GPU") else {"CPU": 1.0}
    # A process on CPUs uses all cores of its machine; GPUs communicate fastest within one machine.
    group = placement_group([each] * workers, strategy="PACK" if "GPU" in each else "SPREAD")
    try:
        limit = time.monotonic() + _PLACE_SECONDS
        while not group.wait(timeout_seconds=1):
            if received:
                raise RunInterrupted(
                    "The launch was stopped while waiting for resources of the cluster. Give the same command again."
                )
            if time.monotonic() > limit:
                there = {name: ray.cluster_resources().get(name, 0.0) for name in each}
                raise ConfigError(
                    f"--workers: timed out after {_PLACE_SECONDS:g} s waiting for resources of the cluster. Received: "
                    f"{workers}, each with {_describe(each)}. All nodes together have {_describe(there)}, some of "
                    "which may be in use. Start fewer workers, or add nodes."
                )
        actor = ray.remote(num_cpus=each["CPU"], num_gpus=each.get("GPU", 0))(_Place)
        strategies = [PlacementGroupSchedulingStrategy(group, number) for number in range(workers)]
        yield [actor.options(scheduling_strategy=strategy).remote() for strategy in strategies]
    finally:
        remove_placement_group(group)


def _describe(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{count:g} {name}" for name, count in resources.items())


def _watch(places: Sequence[Any], received: Sequence[int]) -> int:
    """Print the workers' output until all have ended, or one has failed and the others had time to notice."""
    codes: dict[int, int] = {}
    passed_on, limit = 0, math.inf
    while len(codes) < len(places) and time.monotonic() < limit:
        living = {number: place for number, place in enumerate(places) if number not in codes}
        signals = received[passed_on:]
        passed_on += len(signals)
        for place in living.values():
            for number in signals:
                place.send_signal.remote(number)
        answers = {number: place.read.remote() for number, place in living.items()}
        for number, answer in answers.items():
            code = _print(number, answer)
            if code is not None:
                codes[number] = code
        if any(codes.values()):
            limit = min(limit, time.monotonic() + GRACE_SECONDS)
    failed = next((number for number, code in codes.items() if code), None)
    if failed is None:
        return 0
    if list(codes.values()) != [codes[failed]] * len(places):
        sys.stderr.write(f"Worker {failed} ended first, with exit code {codes[failed]}.\n")
    return codes[failed]


def _print(number: int, answer: Any) -> int | None:
    """Print a worker's lines; return its exit code once it has ended."""
    try:
        lines, code = ray.get(answer)
    except RayError as error:
        lines, code = [("stderr", f"Ray lost this worker: {first_line(error)}\n")], KILLED
    for stream, line in lines:
        target = getattr(sys, stream)
        target.write(f"[{number}] {line}")
        target.flush()
    ended: int | None = code
    return ended


class _Place:
    """An actor that runs a worker on the node that Ray has chosen."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._probe = socket.socket()  # kept until the worker starts, so that no other actor here finds the same port
        self._probe.bind(("", 0))

    def address(self) -> str:
        return f"{ray.util.get_node_ip_address()}:{self._probe.getsockname()[1]}"

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # which Ray sets to 1
        self._probe.close()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(os.getpid()), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**own, **environment, "PYTHONUNBUFFERED": "1"},
        )
        streams = (("stdout", self._process.stdout), ("stderr", self._process.stderr))
        self._readers = [threading.Thread(target=self._collect, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    def _collect(self, name: str, source: IO[str]) -> None:
        for line in source:
            self._lines.put((name, line))

    def read(self) -> tuple[list[tuple[str, str]], int | None]:
        """Return the lines since the last call, and the exit code once there are no more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_BETWEEN_LOOKS_SECONDS)
            for reader in self._readers:
                reader.join(GRACE_SECONDS)
        ended = self._process.returncode
        lines = [self._lines.get() for _ in range(self._lines.qsize())]
        return lines, None if ended is None else exit_code(ended)

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
