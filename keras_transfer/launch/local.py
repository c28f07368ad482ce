"""Run several processes of one recipe on this machine."""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

TOKEN = "KERAS_TRANSFER_TOKEN"
"""The environment variable of distribution/rendezvous.py, whose package imports TensorFlow."""

PARENT = "KERAS_TRANSFER_PARENT"
"""The environment variable with the id of the process that a worker ends with."""

KILLED = 137
"""Exit code of a process that SIGKILL, which Windows does not have, has ended."""

GRACE_SECONDS = 20.0
"""Time for the other workers to end by themselves; TensorFlow notices after 10 s that one was lost."""

_BETWEEN_LOOKS_SECONDS = 0.1


def find_free_addresses(count: int) -> list[str]:
    """Return ``localhost:port`` for different unused ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("localhost", 0))
        return [f"localhost:{probe.getsockname()[1]}" for probe in sockets]


def name_workers(addresses: Sequence[str], number: int) -> list[str]:
    """Return a worker's overrides: the addresses of all workers, and its own index."""
    return [f"distribution.workers=[{','.join(addresses)}]", f"distribution.worker={number}"]


def launch(commands: Sequence[Sequence[str]]) -> int:
    """Run one command per worker; if one worker fails, end all of them.

    Every line of their output is prefixed by the worker's number. SIGTERM, SIGHUP and SIGINT are forwarded to all, and
    if this process is killed, all end with it.

    Returns:
        The exit code of the first worker that failed: 128 plus the number of the signal, if one ended it. 0 if none
        failed.
    """
    # The number of threads of each is its share of the cores.
    threads = max(1, (os.cpu_count() or 1) // len(commands))
    environment = {"TF_NUM_INTRAOP_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}
    environment |= {TOKEN: make_token(), PARENT: str(os.getpid())}
    workers = [_Worker(number, command, environment) for number, command in enumerate(commands)]

    def forward(number: int) -> None:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(number)

    with forwarding_signals(forward):
        return _wait(workers)


@contextlib.contextmanager
def forwarding_signals(receive: Callable[[int], None]) -> Iterator[None]:
    """Call a function on SIGTERM, SIGHUP and SIGINT while the block runs; the workers handle the signals.

    A signal that is ignored, as nohup ignores SIGHUP, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = [getattr(signal, name, None) for name in ("SIGTERM", "SIGINT", "SIGHUP")]
    numbers = [number for number in found if number is not None and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: receive(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(returncode: int) -> int:
    """Return a process's exit code as a shell does: 128 plus the number of the signal, if one ended it."""
    return 128 - returncode if returncode < 0 else returncode


def make_token() -> str:
    """Return a secret by which the workers of one launch recognize each other."""
    return os.environ.get(TOKEN) or secrets.token_hex(16)


def end_with(parent: int) -> None:
    """Make this process end when its parent does, for any reason."""
    if os.name == "nt":  # a process is not told of its parent's end
        return
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, KILLED - 128)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # the parent ended before that
        sys.exit(KILLED)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_BETWEEN_LOOKS_SECONDS)
    os._exit(KILLED)


def enter(parent: str, folder: str) -> None:
    """Prepare a process that a cluster's engine has started: it ends with its parent, and changes to the folder.

    Args:
        folder: The working folder of the launch: an absolute path that all nodes see.
    """
    end_with(int(parent))
    try:
        os.chdir(folder)
    except OSError as error:
        sys.stderr.write(
            f"Error: the working folder of the launch does not exist on {socket.gethostname()}: {error.strerror}. "
            f"Received: {folder}. Launch from a folder that all nodes of the cluster see.\n"
        )
        sys.exit(2)


class _Worker:
    """A process and the threads that read its output."""

    def __init__(self, number: int, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.number = number
        self.process = subprocess.Popen(
            list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        )
        streams = ((self.process.stdout, sys.stdout), (self.process.stderr, sys.stderr))
        self._readers = [threading.Thread(target=self._copy, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    def _copy(self, source: IO[str], target: IO[str]) -> None:
        for line in source:
            target.write(f"[{self.number}] {line}")
            target.flush()

    @property
    def exit_code(self) -> int:
        return exit_code(self.process.returncode)

    def finish_reading(self) -> None:
        for reader in self._readers:
            reader.join(GRACE_SECONDS)


def _wait(workers: Sequence[_Worker]) -> int:
    """Wait until all workers have ended by themselves, or one has failed and the others were ended."""
    failed: _Worker | None = None
    while failed is None and any(worker.process.poll() is None for worker in workers):
        time.sleep(_BETWEEN_LOOKS_SECONDS)
        failed = next((worker for worker in workers if worker.process.poll() not in (None, 0)), None)
    if failed is not None:
        # The others notice by themselves, or are interrupted in the same way; the rest are killed.
        limit = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < limit and any(worker.process.poll() is None for worker in workers):
            time.sleep(_BETWEEN_LOOKS_SECONDS)
    codes = [worker.process.poll() for worker in workers]
    for worker, code in zip(workers, codes, strict=True):
        if code is None:
            worker.process.kill()
    for worker in workers:
        worker.process.wait()
        worker.finish_reading()
    if failed is None:
        return next((worker.exit_code for worker in workers if worker.process.returncode), 0)
    if set(codes) != {failed.process.returncode}:
        sys.stderr.write(f"Worker {failed.number} ended first, with exit code {failed.exit_code}.\n")
    return failed.exit_code
