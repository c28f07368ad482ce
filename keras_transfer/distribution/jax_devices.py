"""Devices of JAX, in one process or in several."""

import atexit
import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence

from keras_transfer.distribution.rendezvous import await_workers
from keras_transfer.distribution.workers import Workers
from keras_transfer.errors import ConfigError, RunInterrupted


def choose_jax_devices(given: int | Sequence[str] | None) -> list[str]:
    """Return Keras' names of the devices of all processes, by process; each uses those that the recipe counts or names.

    Args:
        given: ``distribution.devices``: names are those within a process. A CPU is split if needed.

    Raises:
        ConfigError: There are fewer devices, or it is too late to split the CPU.
    """
    import jax  # TensorFlow's backend needs none

    names = [] if given is None or isinstance(given, int) else [name.lower() for name in given]
    numbers = [int(number) if number.isdecimal() else -1 for number in (name.partition(":")[2] for name in names)]
    count = given if isinstance(given, int) else max(numbers, default=0) + 1
    if count > 1:
        with contextlib.suppress(RuntimeError):  # JAX has started: its devices are fixed
            jax.config.update("jax_num_cpu_devices", count)
    platform = names[0].partition(":")[0] if names else None
    try:
        devices = jax.devices(platform)
    except RuntimeError:
        devices = []
    each = [[d for d in devices if d.process_index == process] for process in range(jax.process_count())]
    here = [f"{device.platform}:{number}" for number, device in enumerate(each[jax.process_index()])]
    chosen = names or here[: given if isinstance(given, int) else None]
    unknown = [name for name in chosen if name not in here]
    if unknown or len(chosen) < count or len(set(chosen)) < len(chosen):
        received = given if isinstance(given, int) else ", ".join(names)
        raise ConfigError(
            f"distribution.devices: JAX has no such devices. Received: {received}. This process has "
            f"{', '.join(here) or f'no {platform}'}; each can be named once. A CPU can be split only before JAX has "
            "started. Use a fresh process for that."
        )
    return [
        f"{of_process[here.index(name)].platform}:{of_process[here.index(name)].id}"
        for of_process in each
        for name in chosen
    ]


@contextlib.contextmanager
def connected(workers: Workers, *, timeout_seconds: float) -> Iterator[None]:
    """Connect the processes of a run for a while.

    Args:
        workers: Their addresses; all connect to the chief's.

    Raises:
        TrainingError: Some did not connect in time.
        ConfigError: Two have the same index.
    """
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would handle SIGTERM itself, and the run would continue.
    jax.config.update("jax_enable_preemption_service", False)
    with contextlib.ExitStack() as stack:
        if workers.index:  # for find_lost: JAX itself listens at the chief only
            stack.enter_context(socket.create_server(("", int(workers.addresses[workers.index].rpartition(":")[2]))))
        await_workers(workers, timeout_seconds=timeout_seconds)
        jax.distributed.initialize(
            coordinator_address=workers.addresses[0],
            num_processes=len(workers.addresses),
            process_id=workers.index,
            initialization_timeout=int(timeout_seconds) + 1,
            heartbeat_timeout_seconds=max(int(timeout_seconds), 10),
            shutdown_timeout_seconds=10,
        )
        try:
            yield
        except RunInterrupted:  # all of them are interrupted
            jax.distributed.shutdown()
            raise
        except BaseException as error:
            # Runs before JAX's own exit handler, which would wait for the others and abort.
            atexit.register(_leave, getattr(error, "exit_code", 1))
            raise
        jax.distributed.shutdown()


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
