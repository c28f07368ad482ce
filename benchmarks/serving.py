"""Load of many clients on `keras-transfer serve`, beside the same format without a server on the same images.

Both take turns on the same cores, which the clients share. Prints requests, errors, p50 and p99, throughput, its ratio
to that of the bare runtime, and the server's memory at the start and at the end.
"""

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from keras_transfer.serving.choose import choose
from keras_transfer.serving.model import ServedModel
from keras_transfer.serving.protocol import DEFAULT_SIGNATURE


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: Of each request.
        errors: Statuses other than 200, and connections that broke.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def make_request(content: bytes, host: str) -> bytes:
    boundary = "boundary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    head = (
        f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_client(url: str, requests: list[bytes], start: int, until: float, load: Load) -> None:
    """One connection, one request at a time: little work beside that of the server."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    number = start
    try:
        while time.perf_counter() < until:
            number += 1
            began = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            load.seconds.append(time.perf_counter() - began)
            if not head.startswith(b"HTTP/1.1 200") or b'"error"' in body:
                load.errors.append(head.split(b"\r\n")[0].decode())
    except (OSError, asyncio.IncompleteReadError) as error:
        load.errors.append(type(error).__name__)
    finally:
        writer.close()


async def run_clients(url: str, requests: list[bytes], clients: int, seconds: float) -> Load:
    load = Load()
    until = time.perf_counter() + seconds
    step = max(len(requests) // clients, 1)
    await asyncio.gather(*(run_client(url, requests, step * one, until, load) for one in range(clients)))
    return load


@contextlib.contextmanager
def start_server(run: Path, options: list[str]) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "keras_transfer.cli", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline()
            yield re.search(r"http://\S+", said)[0], process.pid
        finally:
            process.terminate()


def memory_of(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def mean_batch(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    total, count = (float(re.search(rf"keras_transfer_batch_inputs_{key} (\S+)", text)[1]) for key in ("sum", "count"))
    return total / count


def run_bare(model: ServedModel, rows: list[tuple[bytes]], batch: int, seconds: float, *, decoded: bool) -> float:
    """Inputs per second of a loop over batches, without a server."""
    key = model.key_of(DEFAULT_SIGNATURE, rows[0])
    batches = [[rows[(start + place) % len(rows)] for place in range(batch)] for start in range(0, len(rows), batch)]
    ready = [model.decode(key, rows) for rows in batches]
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        place = done // batch % len(batches)
        model.predict(ready[place] if decoded else model.decode(key, batches[place]))
        done += batch
    return done / (time.perf_counter() - started)


def main(given: argparse.Namespace) -> None:
    contents = [file.read_bytes() for file in sorted(given.images.rglob("*")) if file.is_file()]
    options = ["--format", given.format, "--max-batch", str(given.batch), "--max-wait-ms", str(given.wait_ms)]
    model = ServedModel(choose(given.run, given.format, batch_size=given.batch).opened)
    model.warm_up(given.batch)
    rows = [(content,) for content in contents]
    served, bare, bare_model, loads = [], [], [], []
    with start_server(given.run, options) as (url, pid):
        requests = [make_request(content, urlsplit(url).netloc) for content in contents]
        asyncio.run(run_clients(url, requests, given.clients, 3))
        before = memory_of(pid)
        for _ in range(given.rounds):
            bare.append(run_bare(model, rows, given.batch, given.seconds / given.rounds / 2, decoded=False))
            bare_model.append(run_bare(model, rows, given.batch, given.seconds / given.rounds / 2, decoded=True))
            load = asyncio.run(run_clients(url, requests, given.clients, given.seconds / given.rounds))
            served.append(len(load.seconds) / (given.seconds / given.rounds))
            loads.append(load)
        after, size = memory_of(pid), mean_batch(url)
    seconds = sorted(value for load in loads for value in load.seconds)
    errors = [error for load in loads for error in load.errors]
    result = {
        "format": given.format,
        "clients": given.clients,
        "batch": given.batch,
        "mean_batch": round(size, 1),
        "requests": len(seconds),
        "errors": len(errors),
        "p50_ms": round(1000 * statistics.median(seconds), 1),
        "p99_ms": round(1000 * seconds[int(0.99 * len(seconds))], 1),
        "per_second": round(statistics.median(served), 1),
        "bare_per_second": round(statistics.median(bare), 1),
        "bare_model_per_second": round(statistics.median(bare_model), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(served, bare, strict=True)), 3),
        "ratio_to_model_alone": round(statistics.median(a / b for a, b in zip(served, bare_model, strict=True)), 3),
        "memory_mb": [round(before), round(after)],
    }
    print(json.dumps(result, indent=2))
    if errors:
        print(f"errors: {errors[:5]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run on images")
    parser.add_argument("images", type=Path, help="a folder of images to send")
    parser.add_argument("--format", default="keras")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--wait-ms", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load, and as many without a server")
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args())
