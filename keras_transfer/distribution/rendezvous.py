"""Wait until all processes of a run are connected. TensorFlow and JAX would wait in C++, without a way to interrupt.

A port on a network is open to everybody. Both sides prove that they know the token of the launch, and others are
ignored: the token itself is not sent.
"""

import contextlib
import hashlib
import hmac
import json
import os
import queue
import socket
import threading
import time
from typing import Any

from keras_transfer.distribution.workers import Workers
from keras_transfer.errors import ConfigError, TrainingError, TransferError

TOKEN = "KERAS_TRANSFER_TOKEN"
"""The environment variable with the token, which ``launch`` makes. Without one, the addresses of the workers count."""

_ERRORS: dict[str, type[TransferError]] = {"ConfigError": ConfigError, "TrainingError": TrainingError}
_BETWEEN_TRIES_SECONDS = 0.2
_ANSWER_SECONDS = 5.0
_MOST_BYTES = 4096

Problem = tuple[str, str] | None
_Joined = queue.SimpleQueue[tuple[socket.socket, int]]


def await_workers(workers: Workers, *, timeout_seconds: float) -> None:
    """Wait until every process has reported to the chief, on the chief's port.

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


def _prove(workers: Workers, *content: Any) -> str:
    """A value that only a process of this launch can compute for this content."""
    message = json.dumps([workers.addresses, *content]).encode()
    return hmac.new(os.environ.get(TOKEN, "").encode(), message, hashlib.sha256).hexdigest()


def _is_proven(given: Any, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def _read_line(connection: socket.socket, seconds: float) -> Any:
    """Return the JSON of a line that arrives within a time limit."""
    limit, content = time.monotonic() + seconds, b""
    while not content.endswith(b"\n"):
        connection.settimeout(max(limit - time.monotonic(), 0.01))
        piece = connection.recv(_MOST_BYTES)
        content += piece
        if not piece or len(content) > _MOST_BYTES or time.monotonic() > limit:
            raise ValueError("no line")
    return json.loads(content)


def _await_all(workers: Workers, limit: float, seconds: float) -> Problem:
    """The chief's part: return the problem, if there is one, after sending it to all that connected."""
    here: dict[int, socket.socket] = {}
    joined: _Joined = queue.SimpleQueue()
    problem: Problem = None
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("", workers.port)))
        server.settimeout(_BETWEEN_TRIES_SECONDS)
        while problem is None and len(here) < len(workers.addresses) - 1:
            with contextlib.suppress(OSError):
                connection = stack.enter_context(server.accept()[0])
                # A connection that sends nothing does not block others.
                threading.Thread(target=_listen, args=(workers, connection, joined), daemon=True).start()
            while problem is None and not joined.empty():
                connection, index = joined.get()
                if index in here or not 0 < index < len(workers.addresses):
                    problem = "ConfigError", _describe_index(workers, index)
                here.setdefault(-1 - len(here) if problem else index, connection)
            if problem is None and time.monotonic() >= limit:
                problem = "TrainingError", _describe_timeout(workers, set(here), seconds)
        while not joined.empty():
            connection, index = joined.get()
            here.setdefault(-1 - len(here), connection)
        for connection in here.values():
            answer = {"problem": problem, "proof": _prove(workers, "chief", problem)}
            with contextlib.suppress(OSError):
                connection.settimeout(_ANSWER_SECONDS)
                connection.sendall(f"{json.dumps(answer)}\n".encode())
    return problem


def _listen(workers: Workers, connection: socket.socket, joined: _Joined) -> None:
    """Receive the index of a worker; any other content is from another program, whose connection is closed."""
    try:
        content = _read_line(connection, _ANSWER_SECONDS)
        index = content["index"]
        if isinstance(index, int) and _is_proven(content["proof"], _prove(workers, "worker", index)):
            joined.put((connection, index))
            return
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    connection.close()


def _describe_index(workers: Workers, index: int) -> str:
    return f"Two workers have the index {index}. Give each worker one of 0 to {len(workers.addresses) - 1}."


def _describe_timeout(workers: Workers, here: set[int], seconds: float) -> str:
    missing = [workers.name(index) for index in range(1, len(workers.addresses)) if index not in here]
    return (
        f"Timed out after {seconds:g} s (distribution.timeout_seconds) waiting for {', '.join(missing)}. "
        f"Start one process for each address, all at about the same time, and with the same {TOKEN} if there is one."
    )


def _report(workers: Workers, limit: float) -> Problem:
    """The part of every other process: send its index to the chief, and wait for the answer."""
    host, _, port = workers.addresses[0].rpartition(":")
    report = {"index": workers.index, "proof": _prove(workers, "worker", workers.index)}
    while time.monotonic() < limit:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as connection:
                connection.sendall(f"{json.dumps(report)}\n".encode())
                answer = _read_line(connection, max(limit - time.monotonic(), 0.0) + _ANSWER_SECONDS)
                problem: Problem = answer["problem"]
                if _is_proven(answer["proof"], _prove(workers, "chief", problem)):
                    return problem
        time.sleep(_BETWEEN_TRIES_SECONDS)
    return "TrainingError", (
        f"{workers.name(workers.index)} could not connect to {workers.name(0)}, the chief, within "
        "distribution.timeout_seconds. Start one process for each address, all at about the same time."
    )
