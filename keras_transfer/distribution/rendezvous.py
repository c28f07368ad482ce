"""Wait until all processes of a run are there. TensorFlow and JAX would wait in C++, where nothing interrupts them."""

import contextlib
import json
import socket
import time

from keras_transfer.distribution.workers import Workers
from keras_transfer.errors import ConfigError, TrainingError, TransferError

_ERRORS: dict[str, type[TransferError]] = {"ConfigError": ConfigError, "TrainingError": TrainingError}
_BETWEEN_TRIES_SECONDS = 0.2
_ANSWER_SECONDS = 5.0


def await_workers(workers: Workers, *, timeout_seconds: float) -> None:
    """Wait until every process has reported to the chief, on the chief's port.

    Args:
        workers: All processes, and the index of this one.
        timeout_seconds: How long to wait.

    Raises:
        TrainingError: Some did not connect in time; every process that did names them.
        ConfigError: Two have the same index.
    """
    limit = time.monotonic() + timeout_seconds
    problem = _await_all(workers, limit, timeout_seconds) if workers.index == 0 else _report(workers, limit)
    if problem is None:
        return
    kind, text = problem
    raise _ERRORS[kind](text)


def _await_all(workers: Workers, limit: float, seconds: float) -> tuple[str, str] | None:
    """The chief's part: return the problem, if there is one, after sending it to all that connected."""
    here: set[int] = set()
    connections = []
    problem = None
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("", workers.port)))
        while problem is None and len(here) < len(workers.addresses) - 1:
            server.settimeout(max(limit - time.monotonic(), 0.01))
            try:
                connection = stack.enter_context(server.accept()[0])
                connection.settimeout(_ANSWER_SECONDS)
                index = int(connection.makefile().readline())
            except TimeoutError:
                if time.monotonic() >= limit:
                    problem = "TrainingError", _describe_timeout(workers, here, seconds)
                continue
            except (OSError, ValueError):  # another program that tries ports
                continue
            connections.append(connection)
            if index in here or not 0 < index < len(workers.addresses):
                problem = (
                    "ConfigError",
                    f"Two workers have the index {index}. Give each worker one of 0 to {len(workers.addresses) - 1}.",
                )
            here.add(index)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(f"{json.dumps(problem)}\n".encode())
    return problem


def _describe_timeout(workers: Workers, here: set[int], seconds: float) -> str:
    missing = [workers.name(index) for index in range(1, len(workers.addresses)) if index not in here]
    return (
        f"Timed out after {seconds:g} s (distribution.timeout_seconds) waiting for {', '.join(missing)}. "
        "Start one process for each address, all at about the same time."
    )


def _report(workers: Workers, limit: float) -> tuple[str, str] | None:
    """The part of every other process: send its index to the chief, and wait for the answer."""
    host, _, port = workers.addresses[0].rpartition(":")
    while time.monotonic() < limit:
        with contextlib.suppress(OSError, ValueError):
            with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as connection:
                connection.sendall(f"{workers.index}\n".encode())
                connection.settimeout(max(limit - time.monotonic(), 0.0) + _ANSWER_SECONDS)
                answer: tuple[str, str] | None = json.loads(connection.makefile().readline())
                return answer
        time.sleep(_BETWEEN_TRIES_SECONDS)
    return "TrainingError", (
        f"{workers.name(workers.index)} could not connect to {workers.name(0)}, the chief, within "
        "distribution.timeout_seconds. Start one process for each address, all at about the same time."
    )
