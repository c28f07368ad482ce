"""Several processes of one recipe on this machine: their ports, their output, their end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

_GRACE_SECONDS = 10.0
_BETWEEN_LOOKS_SECONDS = 0.1


def find_free_addresses(count: int) -> list[str]:
    """Return ``localhost:port`` of ports that nothing listens on, each another one."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("localhost", 0))
        return [f"localhost:{probe.getsockname()[1]}" for probe in sockets]


def launch(commands: Sequence[Sequence[str]]) -> int:
    """Run a command a worker, and end all of them when one dies.

    Every line that they write begins with the worker's number. SIGTERM and SIGINT are passed on to all.

    Args:
        commands: The chief's comes first.

    Returns:
        The exit code of the first one that did not end with 0; 128 more than the signal's number where one ended it.
        0 where none did.
    """
    workers = [_start(number, command) for number, command in enumerate(commands)]
    with _passing_on(workers):
        code = _wait(workers)
    return code


class _Worker:
    """A process and the threads that read what it writes."""

    def __init__(self, number: int, process: "subprocess.Popen[str]") -> None:
        self.number, self.process = number, process
        streams = ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        self._readers = [threading.Thread(target=self._copy, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    def _copy(self, source: IO[str], target: IO[str]) -> None:
        for line in source:
            target.write(f"[{self.number}] {line}")
            target.flush()

    def finish_reading(self) -> None:
        for reader in self._readers:
            reader.join(_GRACE_SECONDS)


def _start(number: int, command: Sequence[str]) -> _Worker:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
    )
    return _Worker(number, process)


@contextlib.contextmanager
def _passing_on(workers: Sequence[_Worker]) -> Iterator[None]:
    """Hand signals on; the workers decide what becomes of them."""

    def receive(number: int, _: object) -> None:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[_Worker]) -> int:
    """Until all have ended by themselves, or one has died and the others were ended."""
    died: _Worker | None = None
    while died is None and any(worker.process.poll() is None for worker in workers):
        time.sleep(_BETWEEN_LOOKS_SECONDS)
        died = next((worker for worker in workers if worker.process.poll() not in (None, 0)), None)
    if died is not None:
        # The others notice by themselves, or are interrupted as it was; who does neither is ended.
        limit = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < limit and any(worker.process.poll() is None for worker in workers):
            time.sleep(_BETWEEN_LOOKS_SECONDS)
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()
    for worker in workers:
        worker.process.wait()
        worker.finish_reading()
    if died is None:
        return next((_exit_code(worker) for worker in workers if worker.process.returncode), 0)
    if any(_exit_code(worker) != _exit_code(died) for worker in workers):
        sys.stderr.write(f"Worker {died.number} ended first, with exit code {_exit_code(died)}.\n")
    return _exit_code(died)


def _exit_code(worker: _Worker) -> int:
    code = worker.process.returncode
    return 128 - code if code < 0 else code
