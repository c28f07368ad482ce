"""A server in a thread of the test's process, over real HTTP."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx", reason="httpx is not installed: pip install 'keras-transfer[test]'")
pytest.importorskip("fastapi", reason="the extra web is not installed: pip install 'keras-transfer[web]'")

from keras_transfer.serving.app import make_app  # noqa: E402
from keras_transfer.serving.choose import Chosen, choose  # noqa: E402
from keras_transfer.serving.limits import Limits  # noqa: E402
from keras_transfer.serving.server import Server, find_url, open_socket  # noqa: E402


@dataclass
class Served:
    """A server that responds.

    Attributes:
        url: Where.
        opened: The run that it serves.
        stop: Ends it, and waits until it has ended.
    """

    url: str
    opened: Any
    stop: Callable[[], None]

    def client(self, **options: Any) -> Any:
        return httpx.Client(base_url=self.url, timeout=20, **options)


@contextlib.contextmanager
def running(run: Path, *, change: Callable[[Any], None] = lambda opened: None, **options: Any) -> Iterator[Served]:
    """Serve a run folder until the block ends; ``change`` may replace what the run does."""
    chosen = choose(run, "keras", batch_size=4)
    change(chosen.opened)
    with serving(chosen, **options) as served:
        yield served


@contextlib.contextmanager
def serving(chosen: Chosen, *, token: str | None = None, **limits: Any) -> Iterator[Served]:
    """Serve what was opened until the block ends."""
    bounds = Limits(**limits)
    socket = open_socket("127.0.0.1", 0)
    server = Server(make_app("pets", chosen, bounds, token=token), bounds)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)

    def stop() -> None:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()

    thread.start()
    url = find_url(socket)
    with httpx.Client() as client:
        for _ in range(200):
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{url}/readyz", timeout=5).status_code == 200:
                    break
    try:
        yield Served(url, chosen.opened, stop)
    finally:
        stop()
        socket.close()


@pytest.fixture(scope="session")
def pets(finished_run: Any) -> Iterator[Served]:
    """The finished run of tests/conftest.py, served with limits that tests can reach."""
    limits = {"body_bytes": 2**20, "request_inputs": 8, "queue_inputs": 16, "batch_size": 4, "timeout_seconds": 5.0}
    with running(finished_run.folder, **limits) as served:
        yield served
