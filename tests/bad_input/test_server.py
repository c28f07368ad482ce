"""Invalid requests to a server: it responds with an error or closes the connection, and continues."""

import base64
import concurrent.futures
import io
import json
import runpy
import socket
import struct
import threading
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

HELPERS = runpy.run_path(str(Path(__file__).parents[1] / "serving" / "conftest.py"))
running, pets, httpx = (HELPERS[name] for name in ("running", "pets", "httpx"))


def encode(image, kind, **options):
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))


def patched(content, at, form, *numbers):
    return content[:at] + struct.pack(form, *numbers) + content[at + struct.calcsize(form) :]


def announce(png, side):
    """A PNG whose header declares a square of that size, with a valid checksum."""
    header = png[12:16] + struct.pack(">II", side, side) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def animate(frames):
    """A GIF with that many frames of one pixel each."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


PNG, JPEG, WEBP = (encode(noise(), kind) for kind in ("PNG", "JPEG", "WEBP"))
BAD = {
    "empty": (b"", "zero bytes"),
    "text": (b"no image", "not an image"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "truncated"),
    "half a PNG": (PNG[: len(PNG) // 2], ""),
    "PNG of 900 million pixels": (announce(PNG, 30_000), "more pixels than data.max_pixels"),
    "JPEG of 4 billion pixels": (patched(JPEG, JPEG.index(b"\xff\xc0") + 5, ">HH", 65_500, 65_500), "more"),
    "WebP of 268 million pixels": (patched(WEBP, 26, "<HH", 16_383, 16_383), "more"),
    "TIFF": (encode(noise(), "TIFF"), "TIFF is not supported"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"),
}


def test_broken_files_do_not_affect_others(pets, finished_run):
    expected = finished_run.predict([noise()])[0]
    with pets.client() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        ask = [(name, content) for name, (content, _) in BAD.items()] + [("good", PNG)] * 8
        send = [{"file": (name, content)} for name, content in ask]
        answers = list(pool.map(lambda form: client.post("/predict", files=form), send))
    for (name, _), answer in zip(ask, answers, strict=True):
        (found,) = answer.json()["predictions"]
        if name == "good":
            assert answer.status_code == 200
            assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        else:
            assert answer.status_code == 422, name
            assert BAD[name][1] in found["error"], (name, found)


def test_broken_files_in_one_request(pets):
    form = [
        ("file", ("good.png", PNG)),
        *(("file", (name, BAD[name][0])) for name in list(BAD)[:4]),
        ("file", ("b", JPEG)),
    ]
    with pets.client() as client:
        answer = client.post("/predict", files=form)
    assert answer.status_code == 200
    assert ["error" in one for one in answer.json()["predictions"]] == [False, True, True, True, True, False]


def test_an_animation_of_10000_frames_is_its_first_frame(pets):
    with pets.client() as client:
        started = time.monotonic()
        answer = client.post("/predict", files={"file": ("a.gif", animate(10_000))})
        assert answer.status_code == 200, answer.text
        assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("content_type", "body", "status", "message"),
    [
        pytest.param("text/csv", b"a,b", 415, "Received: Content-Type text/csv", id="csv"),
        pytest.param("", b"a", 415, "Received: Content-Type missing", id="no-type"),
        pytest.param("application/json", b"", 400, "The document is empty", id="empty"),
        pytest.param("application/json", b"{'files': []}", 400, "JSON Parse error", id="not-json"),
        pytest.param("application/json", b"[" * 200_000, 400, "JSON Parse error", id="deep"),
        pytest.param("application/json", b'{"files": NaN}', 400, "Received: no list", id="nan"),
        pytest.param("application/json", b'{"files": [NaN, 1, null]}', 422, "expected base64", id="nan-in-list"),
        pytest.param("application/json", b'{"files": ["%%%"]}', 422, "not base64", id="not-base64"),
        pytest.param("application/json", b'{"files": []}', 400, "There is no input", id="no-files"),
        pytest.param("application/json", b'{"texts": ["a"]}', 400, "Received: 'texts'", id="texts-for-images"),
        pytest.param("application/json", b'{"files": ' + b'["",' * 0 + b"[" + b'"",' * 8 + b'""]}', 413, "", id="many"),
        pytest.param("multipart/form-data", b"--x--", 400, "The form cannot be read", id="no-boundary"),
        pytest.param("multipart/form-data; boundary=x", b"no form", 400, "The form cannot be read", id="no-form"),
        pytest.param("multipart/form-data; boundary=x", b"--x--\r\n", 400, "There is no input", id="no-parts"),
        pytest.param(
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--x--\r\n',
            400,
            "The part 'a' of the form is not a file",
            id="no-file",
        ),
        pytest.param(
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n\r\n' * 9 + b"--x--\r\n",
            400,
            "Too many files",
            id="many-parts",
        ),
    ],
)
def test_bodies_that_are_refused(pets, content_type, body, status, message):
    with pets.client() as client:
        headers = {"Content-Type": content_type} if content_type else {}
        answer = client.post("/predict", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert message in answer.text
    assert len(answer.content) < 2000


def talk(url, *parts, seconds=10.0, pause=0.0):
    """Send bytes as they are; return all that the server sends until it closes the connection."""
    place = urlsplit(url)
    told = b""
    with socket.create_connection((place.hostname, place.port), timeout=seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # it does not listen any more
        try:
            while received := connection.recv(65536):
                told += received
        except ConnectionResetError:
            pass
        except TimeoutError:
            told += b"<open>"
    return told


HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


def test_a_gigabyte_is_refused_by_its_content_length(pets):
    started = time.monotonic()
    said = talk(pets.url, HEAD + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"may have 1,048,576 bytes" in said
    assert not said.endswith(b"<open>")
    assert time.monotonic() - started < 3
    # A client that does not ask first and continues to write still reads the response.
    said = talk(pets.url, HEAD + b"Content-Length: 1000000000\r\n\r\n", b"x" * 3_000_000)
    assert said.startswith(b"HTTP/1.1 413 ")


def test_a_body_without_an_end_is_refused_when_it_is_too_large(pets):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    said = talk(pets.url, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert not said.endswith(b"<open>")


@pytest.mark.parametrize(
    "request_line",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
    ids=["tls", "length"],
)
def test_what_is_not_http(pets, request_line):
    assert talk(pets.url, request_line, seconds=8).startswith((b"HTTP/1.1 400 ", b""))
    with pets.client() as client:
        assert client.get("/healthz").status_code == 200


def test_slow_requests_and_slow_models(finished_run):
    release = threading.Event()
    release.set()  # while the server starts

    def slow_down(opened):
        predict = opened.predict_tensors
        opened.predict_tensors = lambda batch: (release.wait(20), predict(batch))[1]

    limits = {"timeout_seconds": 1.0, "queue_inputs": 4, "request_inputs": 4, "wait_seconds": 0.0}
    with running(finished_run.folder, change=slow_down, **limits) as served, served.client() as client:
        half = HEAD + b"Content-Length: 100\r\n\r\n{"
        said = talk(served.url, half)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 1 seconds" in said
        assert talk(served.url, b"POST /predict HTTP/1.1\r\nHo") == b""
        assert talk(served.url) == b""
        # An occasional byte does not keep a connection open.
        assert talk(served.url, *[b"G", b"E", b"T", b" "], pause=0.4) == b""
        # Nor does it after a completed request.
        done = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        assert talk(served.url, done, b"GET", pause=0.1).startswith(b"HTTP/1.1 200 ")

        body = {"files": [base64.b64encode(PNG).decode()] * 2}
        release.clear()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            asked = list(pool.map(lambda _: client.post("/predict", json=body), range(3)))
        assert sorted(answer.status_code for answer in asked) == [429, 504, 504]
        assert {answer.headers.get("retry-after") for answer in asked} == {None, "1"}
        assert client.get("/healthz").status_code == 200
        release.set()
        time.sleep(0.2)
        assert client.post("/predict", json=body).status_code == 200


def test_a_model_that_fails_and_one_that_returns_nan(finished_run, caplog):
    fails = threading.Event()

    def spoil(opened):
        predict = opened.predict_tensors

        def spoiled(batch):
            if fails.is_set():
                raise RuntimeError(f"cannot read {finished_run.folder}/weights")
            answers = predict(batch)
            answers[batch["pixels"].mean(axis=(1, 2, 3)) > 250] = np.nan
            return answers

        opened.predict_tensors = spoiled

    white = encode(Image.new("RGB", (64, 64), "white"), "PNG")
    form = [("file", ("a.png", PNG)), ("file", ("white.png", white))]
    with running(finished_run.folder, change=spoil) as served, served.client() as client:
        good, bad = client.post("/predict", files=form).json()["predictions"]
        assert good["label"] in ("cat", "dog")
        assert bad == {"input": "white.png", "error": "the prediction is NaN or infinite"}
        rows = {"instances": [{"b64": base64.b64encode(content).decode()} for content in (PNG, white)]}
        answer = client.post("/v1/models/pets:predict", json=rows)
        assert [row["ok"] for row in answer.json()["predictions"]] == [True, False]
        assert "NaN" not in answer.text
        fails.set()
        answer = client.post("/predict", files=form)
        assert (answer.status_code, answer.json()) == (
            500,
            {"error": "The server failed on this request; its log says why."},
        )
        fails.clear()
        assert client.post("/predict", files=form).status_code == 200


def test_commands_that_cannot_serve(refused, finished_run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused("serve", finished_run.folder, "--port", port, needs=[f"port {port}", "another program listens there"])
    refused("serve", finished_run.folder, "--host", "203.0.113.7", needs=["203.0.113.7", "no such address", "--host"])
    refused("serve", finished_run.folder, "--host", "no.such.host.invalid", needs=["no.such.host.invalid", "--host"])
    free = ("--port", 0)
    refused("serve", tmp_path / "gone", *free, needs=["no run folder"])
    refused("serve", finished_run.folder, *free, "--format", "onxx", needs=["'onxx'", "--format"])
    refused("serve", finished_run.folder, *free, "--name", "a/b", needs=["--name", "'a/b'"])
    refused("serve", finished_run.folder, *free, "--token", "two words", needs=["--token"])


def test_without_the_extra(refused, finished_run, monkeypatch):
    from importlib import util

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    refused("serve", finished_run.folder, needs=["uvicorn", "keras-transfer[web]"])


def test_names_with_control_characters(pets):
    form = {"file": ("\x1b[31m red.png", b"no image")}
    with pets.client() as client:
        answer = client.post("/predict", files=form)
    assert b"\x1b" not in answer.content
    assert json.loads(answer.content)["predictions"][0]["error"] == "not an image"
