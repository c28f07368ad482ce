"""What strangers may ask of a server, and what it answers to more."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        body_bytes: Of one request. All requests that are read or answered at the same time may hold sixteen times as
            many.
        queue_inputs: Inputs of all requests that wait; a request that would make them more is answered with 429.
        wait_seconds: How long the first input of a batch waits for others.
        timeout_seconds: From the first byte of a request's header to its answer.
        connections: That may be open at the same time.
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


class Refusal(Exception):
    """A request that is not answered with a prediction.

    Args:
        message: What is wrong and what to do. It never names a file or folder of this machine.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def refuse_full() -> Refusal:
    """Return the answer of a server that has as much to do as it may take on."""
    return Refusal(429, "The queue is full. Try again later.", {"Retry-After": "1"})


def refuse_stopping() -> Refusal:
    """Return the answer of a server that ends."""
    return Refusal(503, "The server is stopping. Try again later.", {"Retry-After": "5"})
