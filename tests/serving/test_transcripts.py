"""A server that transcribes: its own route, TensorFlow Serving's, its card and its description."""

import base64
import runpy
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from keras_transfer.data.formats.recordings import encode_wav

running = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["running"]


@pytest.fixture(scope="module")
def served(finished_speech_run):
    with running(finished_speech_run.folder) as served:
        yield served


@pytest.fixture(scope="module")
def files(finished_speech_run):
    return [finished_speech_run.folder.parent / f"{number:02}.wav" for number in (0, 1)]


def test_files_are_transcribed_to_texts(served, finished_speech_run, files):
    long = encode_wav(0.2 * np.sin(np.arange(70_000) * 0.1).astype(np.float32), 16_000)
    with served.client() as client:
        given = [("file", (file.name, file.read_bytes())) for file in files]
        given += [("file", ("long.wav", long)), ("file", ("broken.wav", b"no sound"))]
        answer = client.post("/predict", files=given)
        assert answer.status_code == 200
        found = answer.json()["predictions"]
        description = client.get("/openapi.json").json()
    expected = [one.text for one in finished_speech_run.predict([*files, long])]
    assert [one.get("text") for one in found] == [*expected, None]
    assert all(one["score"] <= 0 for one in found[:3])
    assert "not an audio file" in found[3]["error"] or found[3]["error"]
    schema = description["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), schema)
    assert "text" in schema["properties"]["predictions"]["items"]["properties"]


def test_clients_of_tensorflow_serving_get_texts(served, finished_speech_run, files):
    rows = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in files]
    with served.client() as client:
        answer = client.post("/v1/models/pets:predict", json={"inputs": {"wav_bytes": [*rows, {"b64": ""}]}}).json()
        outputs = client.get("/v1/models/pets/metadata").json()["metadata"]["signature_def"]["signature_def"]
    expected = [one.text for one in finished_speech_run.predict(files)]
    assert answer["outputs"]["text"] == [*expected, ""]
    assert answer["outputs"]["ok"] == [True, True, False]
    assert outputs["serving_default"]["outputs"]["text"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize("query", ["top_k=2", "min_confidence=0.5"])
def test_options_for_probabilities_are_refused(served, files, query):
    with served.client() as client:
        answer = client.post(f"/predict?{query}", files={"file": files[0].read_bytes()})
    assert answer.status_code == 400 and "this run predicts text" in answer.json()["error"]


def test_there_is_nothing_to_explain(served, files):
    with served.client() as client:
        assert client.get("/model").json()["explains"] is False
        answer = client.post("/explain", files={"file": files[0].read_bytes()})
    assert (answer.status_code, answer.json()) == (501, {"error": "The task speech_to_text has no explanations."})
