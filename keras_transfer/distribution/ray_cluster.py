"""The connection to a Ray cluster, or to a Ray that is started on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from keras_transfer.errors import ConfigError

_CONNECT_SECONDS = 30.0
_CONNECT = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"


@contextmanager
def connected(address: str | None, *, cpus: int, object_store_bytes: int = 100 * 2**20) -> Iterator[None]:
    """Stay connected until the block ends.

    Args:
        address: Address of the cluster, as for ``ray.init``; if None, Ray is started on this machine.

    Raises:
        ConfigError: There is no cluster at the address, or Ray cannot be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": object_store_bytes}
    else:
        _check_address(address)
    try:
        ray.init(address or "local", **options)
    except Exception as error:  # Ray raises Exception itself if its processes take too long to start
        raise ConfigError(
            f"Ray could not be started or reached: {(str(error).splitlines() or [''])[0][:500]} Received: "
            f"{address or 'no --address: a Ray on this machine'}. Try again when the machine is less busy, or leave "
            "--engine out."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Try the address in a process that can be killed: Ray keeps trying for minutes, and ignores signals."""
    process = subprocess.Popen([sys.executable, "-c", _CONNECT, address], stderr=subprocess.PIPE)
    try:
        _, output = process.communicate(timeout=_CONNECT_SECONDS)
        if process.returncode == 0:
            return
    except subprocess.TimeoutExpired:
        process.kill()
        _, output = process.communicate()
    lines = output.decode(errors="replace").strip().splitlines() or ["nothing"]
    raise ConfigError(
        f"--address: cannot connect to a Ray cluster. Received: {address}. Ray's output within {_CONNECT_SECONDS:g} s: "
        f"{lines[-1][:500]} Start a cluster with ray start --head, and pass --address host:port or auto. RAY_AUTH_MODE "
        "and the token must be those of the cluster."
    )
