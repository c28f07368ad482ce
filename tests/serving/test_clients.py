"""Clients of TensorFlow Serving's REST protocol that others wrote, and a load of 32 clients for a minute.

KServe needs other versions of packages than this project, so that it has its own environment:
``python -m venv kv && kv/bin/pip install kserve``, and ``KSERVE=kv/bin/python``.
"""

import asyncio
import base64
import json
import os
import re
import runpy
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

# KServe's client, with protocol v1, which is that of TensorFlow Serving.
CLIENT = """
import asyncio, base64, json, sys
from kserve import InferenceRESTClient, RESTConfig

async def main(url, name, *files):
    client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=30))
    contents = [base64.b64encode(open(file, "rb").read()).decode() for file in files]
    rows = await client.infer(url, {"instances": [{"b64": content} for content in contents]}, model_name=name)
    columns = {"signature_name": "serving_default", "inputs": {"image_bytes": [{"b64": contents[0]}]}}
    column = await client.infer(url, columns, model_name=name)
    refusals = []
    for model, body in ((name, {"instances": []}), ("other", {"instances": ["a"]})):
        try:
            await client.infer(url, body, model_name=model)
        except Exception as error:
            refusals.append(str(error))
    print(json.dumps([rows, column, refusals]))

asyncio.run(main(*sys.argv[1:]))
"""


def test_kserves_client(pets, finished_run, tmp_path):
    python = os.environ.get("KSERVE")
    if not python:
        pytest.skip("KSERVE names no Python that has kserve: python -m venv kv && kv/bin/pip install kserve")
    file = tmp_path / "client.py"
    file.write_text(textwrap.dedent(CLIENT))
    images = sorted((finished_run.folder.parent / "images").glob("*/000.png"))
    command = [python, file, pets.url, "pets", *images]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    rows, column, refusals = json.loads(result.stdout.splitlines()[-1])
    expected = finished_run.predict(images)
    for row, prediction in zip(rows["predictions"], expected, strict=True):
        assert (row["ok"], row["label"]) == (True, prediction.label)
        found = dict(zip(row["names"], row["probabilities"], strict=True))
        assert found == pytest.approx(prediction.probabilities, abs=1e-5)
    assert column["outputs"]["label"] == [expected[0].label]
    assert "No values in 'instances' array, '400 Bad Request'" in refusals[0]
    assert "Servable not found for request: Latest(other), '404 Not Found'" in refusals[1]


def test_32_clients_for_a_minute(finished_run, capsys):
    load = runpy.run_path(str(ROOT / "benchmarks" / "serving.py"), run_name="load")
    files = sorted((finished_run.folder.parent / "images").rglob("*.*"))
    with load["start_server"](finished_run.folder, ["--format", "keras"]) as (url, pid):
        host = url.removeprefix("http://")
        good = [load["make_request"](file.read_bytes(), host) for file in files]
        asyncio.run(load["run_clients"](url, good, 32, 5))
        memory = [load["memory_of"](pid)]
        found = load["Load"]()
        for _ in range(4):
            part = asyncio.run(load["run_clients"](url, good, 32, 15))
            found.seconds += part.seconds
            found.errors += part.errors
            memory.append(load["memory_of"](pid))
    seconds = sorted(found.seconds)
    with capsys.disabled():
        print(
            f"\n32 clients, 60 s: {len(seconds)} requests, {len(found.errors)} errors, "
            f"p50 {1000 * seconds[len(seconds) // 2]:.0f} ms, p99 {1000 * seconds[int(0.99 * len(seconds))]:.0f} ms, "
            f"memory {[round(one) for one in memory]} MB"
        )
    assert found.errors == []
    assert len(seconds) > 300
    # Pools of threads and of memory fill at first.
    assert memory[-1] < 1.05 * memory[1] + 10


def test_documented_examples(pets, finished_run):
    """As the page on TensorFlow Serving's REST API calls it, with curl and a body of no declared kind."""
    image = base64.b64encode(next((finished_run.folder.parent / "images").rglob("*.png")).read_bytes()).decode()
    body = json.dumps({"instances": [{"b64": image}]})
    command = ["curl", "-s", "-i", "-d", "@-", "-X", "POST"]
    answer = subprocess.run(
        [*command, f"{pets.url}/v1/models/pets:predict"], input=body, capture_output=True, text=True, check=True
    ).stdout
    assert answer.startswith("HTTP/1.1 200 OK")
    assert re.search(r"(?m)^content-type: application/json$", answer)
    assert list(json.loads(answer.split("\n\n", 1)[1])) == ["predictions"]
    answer = subprocess.run(
        [*command, f"{pets.url}/v1/models/half:predict"], input=body, capture_output=True, text=True, check=True
    ).stdout
    assert answer.startswith("HTTP/1.1 404 Not Found")
    assert json.loads(answer.split("\n\n", 1)[1]) == {"error": "Servable not found for request: Latest(half)"}


def test_a_gigabyte_by_curl(pets, tmp_path):
    """A client that does not ask before it writes reads the response, too."""
    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(10**9)
    started = time.monotonic()
    command = ["curl", "-s", "-o", "-", "-w", "%{http_code}", "-F", f"file=@{file}", f"{pets.url}/predict"]
    for more in ([], ["-H", "Expect:"], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]):
        result = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert result.stdout.endswith("413"), (more, result)
    assert time.monotonic() - started < 30
