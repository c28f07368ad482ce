"""Limits of a server for untrusted requests, and its responses when they are exceeded."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        body_bytes: Maximum size of one request. All requests that are processed at the same time may have sixteen times
            as many bytes.
        queue_inputs: Maximum number of waiting inputs of all requests; a request that would exceed it gets status 429.
        wait_seconds: How long the first input of a batch waits for others.
        timeout_seconds: From the first byte of a request's header to its response.
        connections: Maximum number of open connections.
    """

    body_bytes: int = 32 * 2**20
    request_inputs: int = 256
    queue_inputs: int = 512
    batch_size: int = 32
    wait_seconds: float = 0.005
    text_characters: int = 100_000
    timeout_seconds: float = 30.0
    connections: int = 500

    @property
    def held_bytes(self) -> int:
        """Bytes of the bodies of all open requests."""
        return 16 * self.body_bytes

    def check_count(self, inputs: int) -> None:
        """Check the number of inputs of a request.

        Raises:
            Refusal: There are too many.
        """
        if inputs > self.request_inputs:
            raise Refusal(
                413, f"A request may have {self.request_inputs} inputs. Received: {inputs}. Divide it into several."
            )


class Refusal(Exception):
    """A request that gets an error instead of a prediction.

    Args:
        message: The problem and what to do. It never names a file or folder of this machine.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def refuse_full() -> Refusal:
    """Return the response of an overloaded server."""
    return Refusal(429, "The queue is full. Try again later.", {"Retry-After": "1"})


def refuse_stopping() -> Refusal:
    """Return the response of a server that is stopping."""
    return Refusal(503, "The server is stopping. Try again later.", {"Retry-After": "5"})
