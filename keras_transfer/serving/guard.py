"""Checks of every request before the application: token, size, time, and headers of the response."""

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from starlette.responses import Response

from keras_transfer.serving.limits import Limits, Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOGGER = logging.getLogger("keras_transfer.serving")

FAILED = "The server failed on this request; its log says why."
"""What a client sees of a defect."""

OPEN_PATHS = ("/healthz", "/readyz", "/", "/page.css", "/page.js")
"""What needs no token: probes, and the page, which holds nothing of the model and asks for the token."""

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# How much of a refused body is read and dropped: a client that is still writing would not read the response.
_MOST_DROPPED_BYTES = 64 * 2**20
_MOST_DROPPING_SECONDS = 2.0


class Guard:
    """An ASGI application around another one.

    Args:
        token: The token that clients have to send as ``Authorization: Bearer TOKEN``; None if they need none.
        observe: Called with the path, the status and the seconds of each request.
    """

    def __init__(
        self, app: App, limits: Limits, *, token: str | None, observe: Callable[[str, int, float], None]
    ) -> None:
        self._app, self._limits, self._observe = app, limits, observe
        self._token = None if token is None else token.encode()
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        body = _Body(self, scope["headers"], receive)
        answer = _Answer(body, send)
        try:
            self._check_header(scope)
            async with asyncio.timeout(self._limits.timeout_seconds):
                await self._app(scope, body.receive, answer.send)
        except Refusal as refusal:
            await answer.refuse(refusal)
        except TimeoutError:
            what = "No answer" if body.is_complete else "The body of the request did not arrive"
            message = f"{what} within {self._limits.timeout_seconds:g} seconds."
            await answer.refuse(Refusal(504 if body.is_complete else 408, message))
        except Exception:  # what a client sees says nothing of it, and its connection stays
            _LOGGER.exception("A request failed.")
            await answer.refuse(Refusal(500, FAILED))
        finally:
            self._held -= body.size
            self._observe(scope["path"], answer.status, time.perf_counter() - started)

    def _check_header(self, scope: Scope) -> None:
        headers = scope["headers"]
        if self._token is not None and scope["path"] not in OPEN_PATHS:
            given = _find(headers, b"authorization") or b""
            scheme, _, token = given.partition(b" ")
            is_right = hmac.compare_digest(token.strip(), self._token)
            if scheme.lower() != b"bearer" or not is_right:
                message = "A token is needed. Send it in the header Authorization: Bearer TOKEN."
                raise Refusal(401, message, {"WWW-Authenticate": "Bearer"})
        length = _find(headers, b"content-length")
        if length is not None and length.isdigit() and int(length) > self._limits.body_bytes:
            raise self.refuse_large()

    def refuse_large(self) -> Refusal:
        """Return the response to a body that is too large."""
        return Refusal(413, f"The body of a request may have {self._limits.body_bytes:,} bytes. Send less at a time.")

    def take(self, size: int, total: int) -> None:
        """Count bytes of a body.

        Raises:
            Refusal: There are too many.
        """
        self._held += size
        if total > self._limits.body_bytes:
            raise self.refuse_large()
        if self._held > self._limits.held_bytes:
            raise Refusal(429, "The server is at its limit for request bodies. Try again later.", {"Retry-After": "1"})


class _Body:
    """The body of a request, counted as it arrives."""

    def __init__(self, guard: Guard, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> None:
        self._guard, self._receive = guard, receive
        length = _find(headers, b"content-length")
        self.size = 0
        self.is_complete = _find(headers, b"transfer-encoding") is None and not (length or b"").strip(b"0")
        self._waits_for_leave = _find(headers, b"expect") is not None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.size += size
            self.is_complete = not message.get("more_body", False)
            self._waits_for_leave = False
            self._guard.take(size, self.size)
        return message

    async def drop(self) -> None:
        """Read and drop the rest of the body, up to a bound."""
        dropped = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_DROPPING_SECONDS):
                while dropped < _MOST_DROPPED_BYTES and not self.is_complete and not self._waits_for_leave:
                    message = await self._receive()
                    dropped += len(message.get("body", b""))
                    self.is_complete = message["type"] != "http.request" or not message.get("more_body", False)


class _Answer:
    """The response to a request, with the headers of all responses; closes a connection whose body was not read."""

    def __init__(self, body: _Body, send: Send) -> None:
        self._body, self._send = body, send
        self.status = 0
        self._closes = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self._closes = message["status"], not self._body.is_complete
            closing = [(b"connection", b"close")] if self._closes else []
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS, *closing]}
        elif self._closes and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.drop()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Send a refusal, unless the response has started: then the client sees that it is cut off."""
        if self.status:
            return
        response = make_error(refusal.status, refusal.message, refusal.headers)
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": response.raw_headers})
        await self.send({"type": "http.response.body", "body": response.body})


def make_error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer that is an error, as TensorFlow Serving writes it."""
    return Response(json.dumps({"error": message}), status, headers, media_type="application/json")


def _find(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
