"""A server process: its socket, its start and its end."""

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_transfer.errors import ConfigError
from keras_transfer.serving.guard import App
from keras_transfer.serving.limits import Limits

_BACKLOG = 2048
_REASONS = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "this user may not listen there",
}


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address before the model is loaded, so that a wrong one is reported immediately.

    Args:
        port: The port; 0 for any free one.

    Raises:
        ConfigError: The address is not one of this machine, is not allowed, or is in use.
    """
    opened: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as error:
        if opened is not None:
            opened.close()
        code = getattr(error, "errno", None)
        reason = _REASONS.get(code or 0, getattr(error, "strerror", None) or str(error))
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {reason}. Choose another --port or --host; --port 0 is any free one."
        ) from error
    return opened


def is_loopback(opened: socket.socket) -> bool:
    """Return whether only this machine can reach a socket."""
    return ipaddress.ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback


def find_url(opened: socket.socket) -> str:
    """Return the URL of a server for a browser on this machine."""
    host, port = opened.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Serves an application until it is stopped; requests that were accepted are answered first."""

    def __init__(self, app: App, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_make_protocol(limits.timeout_seconds),
                ws="none",
                lifespan="on",
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=limits.connections,
                timeout_graceful_shutdown=int(limits.timeout_seconds) + 1,
            )
        )
        self.stopped_by: int | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle SIGTERM and Ctrl-C by ending the server, not this process: owners close other resources."""
        try:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop, number)
        except (ValueError, RuntimeError, NotImplementedError):  # not in the main thread, or on Windows
            yield
            return
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        """Stop the server: a second Ctrl-C does not wait for requests; SIGTERM may come twice."""
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.should_exit = True
        self.stopped_by = number


def serve(app: App, opened: socket.socket, limits: Limits, ready: Callable[[], None] = lambda: None) -> int | None:
    """Serve an application on a socket until a signal ends it.

    Returns:
        The number of the signal.
    """
    server = Server(app, limits)

    async def run() -> None:
        task = asyncio.create_task(server.serve(sockets=[opened]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await task

    asyncio.run(run())
    return server.stopped_by


def _make_protocol(timeout_seconds: float) -> type[asyncio.Protocol]:
    class Impatient(H11Protocol):
        """Closes connections on which no request's header arrives in time; uvicorn itself would wait forever."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self._deadline is not None:
                self._deadline.cancel()

        def _watch(self) -> None:
            """Start the time between two requests with the first byte of the next one."""
            if self._has_request():
                if self._deadline is not None:
                    self._deadline.cancel()
                    self._deadline = None
            elif self._deadline is None:
                self._deadline = self.loop.call_later(timeout_seconds, self._close)

        def _has_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _close(self) -> None:
            self._deadline = None
            if not self._has_request():
                self.transport.close()

    return Impatient
