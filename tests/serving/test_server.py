"""A finished run over real HTTP."""

import base64
import concurrent.futures
import json
import runpy
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent
HELPERS, CASES = (runpy.run_path(str(file)) for file in (HERE / "conftest.py", HERE.parent / "cases" / "conftest.py"))
running, serving, Chosen = (HELPERS[name] for name in ("running", "serving", "Chosen"))
text_model, make_text_run, text_run, expected_text = (
    CASES[name] for name in ("text_model", "make_text_run", "text_run", "expected_text")
)


@pytest.fixture(scope="module")
def files(finished_run):
    return sorted((finished_run.folder.parent / "images").glob("*/00*"))


@pytest.fixture(scope="module")
def expected(finished_run, files):
    return {file: prediction for file, prediction in zip(files, finished_run.predict(files), strict=True)}


@pytest.fixture(scope="module")
def client(pets):
    with pets.client() as client:
        yield client


def encode(file):
    return {"b64": base64.b64encode(file.read_bytes()).decode()}


def check(answer, prediction):
    assert answer["label"] == prediction.label
    assert answer["score"] == pytest.approx(prediction.score, abs=1e-5)
    assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-5)


def test_predictions_of_form_files_and_base64_match_predict(client, files, expected):
    chosen = [files[0], files[-1]]
    form = [("file", (file.name, file.read_bytes())) for file in chosen]
    body = client.post("/predict", files=form).raise_for_status().json()
    assert (body["model"], [one["input"] for one in body["predictions"]]) == ("pets", [file.name for file in chosen])
    for answer, file in zip(body["predictions"], chosen, strict=True):
        check(answer, expected[file])
    packed = {"files": [encode(file)["b64"] for file in chosen]}
    again = client.post("/predict", json=packed).raise_for_status().json()["predictions"]
    assert [one["probabilities"] for one in again] == [one["probabilities"] for one in body["predictions"]]
    assert [one["input"] for one in again] == ["file 1", "file 2"]


def test_options_of_a_prediction(client, files, expected):
    form = {"file": (files[0].name, files[0].read_bytes())}
    options = {"top_k": 1, "min_confidence": 0.999}
    (answer,) = client.post("/predict", files=form, params=options).raise_for_status().json()["predictions"]
    best = expected[files[0]]
    assert answer["probabilities"] == pytest.approx({best.label: best.score}, abs=1e-5)
    assert answer["abstain"] is True
    for wrong in ({"top_k": 0}, {"top_k": "x"}, {"min_confidence": 2}, {"min_confidence": "nan"}):
        refused = client.post("/predict", files=form, params=wrong)
        assert (refused.status_code, list(refused.json())) == (400, ["error"])


def test_tensorflow_servings_protocol(client, files, expected):
    path = "/v1/models/pets"
    body = {"instances": [encode(files[0]), {"b64": ""}, encode(files[-1])]}
    rows = client.post(f"{path}:predict", json=body).raise_for_status().json()["predictions"]
    assert [row["ok"] for row in rows] == [True, False, True]
    assert (rows[1]["label"], rows[1]["score"]) == ("", 0.0)
    for row, file in ((rows[0], files[0]), (rows[2], files[-1])):
        assert row["names"] == ["cat", "dog"]
        probabilities = dict(zip(row["names"], row["probabilities"], strict=True))
        check({**row, "probabilities": probabilities}, expected[file])
    columns = {"inputs": {"image_bytes": [encode(files[0])]}, "signature_name": "serving_default"}
    # A client need not declare that it sends JSON.
    answer = client.post(f"{path}/versions/1:predict", content=json.dumps(columns)).raise_for_status().json()
    assert answer == {"outputs": {name: [value] for name, value in rows[0].items()}}
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert client.get(path).json() == client.get(f"{path}/versions/1").json() == {"model_version_status": [status]}
    signatures = client.get(f"{path}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert sorted(signatures) == ["classes", "serve_tensor", "serving_default"]
    assert sorted(signatures["serving_default"]["outputs"]) == ["label", "names", "ok", "probabilities", "score"]


def test_pixels_and_files_can_be_predicted_at_the_same_time(client, finished_run, files, expected):
    import tensorflow as tf

    file = files[3]
    pixels = finished_run.reader.decode(tf.constant([file.read_bytes()])).numpy()
    spoiled = pixels * float("nan")
    content = json.dumps({"signature_name": "serve_tensor", "instances": [*pixels.tolist(), *spoiled.tolist()]})
    ask = [lambda: client.post("/v1/models/pets:predict", content=content)] * 3
    ask += [lambda: client.post("/v1/models/pets:predict", json={"instances": [encode(file)]})] * 3
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [future.result().json()["predictions"] for future in [pool.submit(one) for one in ask]]
    assert [[row["ok"] for row in rows] for rows in answers] == [[True, False]] * 3 + [[True]] * 3
    for rows in answers:
        assert rows[0]["score"] == pytest.approx(expected[file].score, abs=1e-4)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        pytest.param("POST", "/v1/models/dogs:predict", 404, "Servable not found for request: Latest(dogs)", id="name"),
        pytest.param(
            "POST",
            "/v1/models/pets/versions/7:predict",
            404,
            "Servable not found for request: Specific(pets, 7)",
            id="v",
        ),
        pytest.param("GET", "/v1/models/dogs", 404, "Could not find any versions of model dogs", id="status"),
        pytest.param(
            "GET", "/v1/models/pets:predict", 400, "Malformed request: GET /v1/models/pets:predict", id="method"
        ),
        pytest.param("POST", "/v1/models/pets", 400, "Malformed request: POST /v1/models/pets", id="no-verb"),
        pytest.param("POST", "/v1/models/pets:train", 400, "Malformed request: POST /v1/models/pets:train", id="verb"),
        pytest.param(
            "POST",
            "/v1/models/pets:classify",
            400,
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
            id="classify",
        ),
        pytest.param("GET", "/nothing", 404, "Not Found: GET /nothing", id="no-route"),
        pytest.param("GET", "/predict", 405, "Method Not Allowed: GET /predict", id="predict-method"),
        pytest.param("GET", "/page/../app.py", 404, "Not Found: GET /app.py", id="no-files"),
    ],
)
def test_errors_have_one_form(client, method, path, status, error):
    answer = client.request(method, path, content=b"{}")
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_probes_metrics_and_description(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.get("/wp-admin/login.php")
    text = client.get("/metrics").text
    assert 'keras_transfer_requests_total{route="/healthz",status="200"}' in text
    assert 'keras_transfer_requests_total{route="other",status="404"}' in text
    assert "wp-admin" not in text
    assert "keras_transfer_waiting_inputs 0.0" in text
    described = client.get("/openapi.json").json()
    assert {"/predict", "/explain", "/healthz", "/readyz", "/metrics", "/model", "/v1/models/pets:predict"} <= set(
        described["paths"]
    )
    assert set(described["paths"]["/predict"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
    }


def test_the_page_and_the_card(client, finished_run):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe" not in policy
    for path in ("/page.js", "/page.css"):
        assert f'"{path[1:]}"' in page.text
        assert client.get(path).status_code == 200
    assert "<script>" not in page.text
    assert "style=" not in page.text
    card = client.get("/model").json()
    assert (card["name"], card["takes"], card["outputs"], card["explains"]) == ("pets", "files", ["cat", "dog"], True)
    report = finished_run.reports["test"]
    assert (card["report"]["name"], card["report"]["rows"]) == ("accuracy", report.n)
    assert card["report"]["value"].replace("\u202f", "").replace(" ", "") == f"{100 * report.accuracy:.1f}%"


def test_explanations(client, files, finished_run):
    file = files[0]
    answer = client.post("/explain", files={"file": (file.name, file.read_bytes())}).raise_for_status().json()
    expected = finished_run.explain([file])[0]
    assert tuple(answer["outputs"]) == expected.outputs
    assert len(answer["overlays"]) == len(expected.heat_maps)
    assert base64.b64decode(answer["overlays"][0].partition(",")[2]).startswith(b"\xff\xd8")
    broken = client.post("/explain", files={"file": ("a.png", b"no image")})
    assert (broken.status_code, broken.json()) == (422, {"error": "a.png: not an image"})


def test_responses_contain_nothing_of_this_machine(client, finished_run, files):
    form = {"file": (files[0].name, files[0].read_bytes())}
    answers = [
        client.post("/predict", files=form),
        client.post("/explain", files=form),
        client.post("/predict", files={"file": ("/etc/passwd", b"no image")}),
        *(client.get(path) for path in ("/", "/model", "/openapi.json", "/metrics", "/v1/models/pets/metadata", "/x")),
    ]
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    for place in (finished_run.folder.parent, Path(sys.prefix), Path.home(), Path(__file__).parents[2]):
        assert str(place) not in told
    assert "server" not in answers[0].headers


def test_a_token(finished_run, files):
    with running(finished_run.folder, token="open-sesame") as served:
        with served.client() as stranger:
            for path in ("/model", "/metrics", "/openapi.json", "/v1/models/pets"):
                refused = stranger.get(path)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert stranger.get("/model", headers={"Authorization": "Bearer open-sesam"}).status_code == 401
            assert stranger.get("/model", headers={"Authorization": "Basic open-sesame"}).status_code == 401
            assert [stranger.get(path).status_code for path in ("/", "/page.js", "/healthz", "/readyz")] == [200] * 4
        with served.client(headers={"Authorization": "bearer open-sesame"}) as client:
            assert client.get("/model").status_code == 200


def test_concurrent_requests_have_their_own_responses(pets, files, expected):
    def ask(number):
        file = files[number % len(files)]
        with pets.client() as client:
            answer = client.post("/predict", files={"file": (file.name, file.read_bytes())}).json()["predictions"][0]
        return file, answer

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for file, answer in pool.map(ask, range(24)):
            check(answer, expected[file])


def test_stopping_and_a_folder_that_was_removed(finished_run, tmp_path, files):
    """A server works from memory; it stops after the requests that it has accepted."""
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    form = {"file": (files[0].name, files[0].read_bytes())}
    begun = threading.Event()

    def slow_down(opened):
        predict = opened.predict_tensors

        def slowly(batch):
            begun.set()
            time.sleep(0.5)
            return predict(batch)

        opened.predict_tensors = slowly

    with running(folder, change=slow_down) as served, served.client() as client:
        shutil.rmtree(folder)
        assert client.get("/model").status_code == client.get("/page.js").status_code == 200
        assert client.post("/explain", files=form).status_code == 200
        begun.clear()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.post, "/predict", files=form)
            assert begun.wait(10)
            served.stop()
            assert asked.result().json()["predictions"][0]["label"] in ("cat", "dog")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 0), ("SIGINT", 130)])
def test_signals(finished_run, name, code):
    import signal

    command = [sys.executable, "-m", "keras_transfer.cli", "serve", str(finished_run.folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert "for this machine only, without a token" in line
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=30)
    assert process.returncode == code, error
    assert "Traceback" not in error


class Letters(CASES["Letters"]):
    """The tokenizer of those runs, also in a graph."""

    vocabulary_size = 64

    def describe(self):
        return {}

    def __call__(self, segments, length):
        import tensorflow as tf

        def encode(*columns):
            texts = [tuple(text.decode() for text in row) for row in zip(*columns, strict=True)]
            ids = self.encode(texts, length)["token_ids"]
            mask = (ids > 0).astype("int32")
            mask[:, 0] = 1  # a text without letters has a token, as those of real tokenizers
            return ids, mask

        columns = tf.numpy_function(encode, list(segments), [tf.int32, tf.int32])
        return {name: tf.ensure_shape(one, [None, length]) for name, one in zip(self.columns, columns, strict=True)}


def open_text_run(run):
    """As an exported model: there is no run folder."""
    opened = SimpleNamespace(**{name: getattr(run, name) for name in ("config", "task", "target", "head", "reader")})
    opened.reader.encoder = Letters()
    opened.predict_tensors = lambda batch: run.model(batch, training=False).numpy()
    return Chosen(opened, "letters", 3)


def test_texts(text_run, expected_text):
    with serving(open_text_run(text_run), text_characters=50) as served, served.client() as client:
        texts = ["a cat", "é\n<b>", "\ud800 no text", "", "x" * 51]
        answers = client.post("/predict", content=json.dumps({"texts": texts})).json()
        assert answers == {"error": answers["error"]}
        answers = client.post("/predict", json={"texts": [*texts[:2], *texts[3:]]}).json()["predictions"]
        for answer, text in zip(answers[:3], (*texts[:2], ""), strict=True):
            assert answer["input"] == text
            assert list(answer["probabilities"].values()) == pytest.approx(expected_text(text).tolist(), abs=1e-5)
        assert answers[3]["error"] == "51 characters; at most 50 are read"
        headers = {"Content-Type": "application/json"}
        answer = client.post("/predict", content=json.dumps({"texts": texts[2:3]}), headers=headers)
        assert answer.status_code == 422
        assert "UTF-8" in answer.json()["predictions"][0]["error"]
        form = client.post("/predict", files={"file": ("a.txt", "é\n<b>".encode())}).json()["predictions"][0]
        assert (form["input"], form["probabilities"]) == ("a.txt", pytest.approx(answers[1]["probabilities"]))
        broken = client.post("/predict", files={"file": ("a.txt", b"\xff")}).json()["predictions"][0]
        assert broken == {"input": "a.txt", "error": "not UTF-8: byte 1 is 0xff"}
        rows = client.post("/v1/models/pets:predict", json={"instances": ["a cat", {"b64": "/w=="}]}).json()[
            "predictions"
        ]
        assert [row["ok"] for row in rows] == [True, False]
        assert rows[0]["probabilities"] == pytest.approx(expected_text("a cat").tolist(), abs=1e-5)
        tokens = {"token_ids": [[1, 2], [1, 99]], "padding_mask": [[1, 1], [1, 1]]}
        body = {"signature_name": "serve_tokens", "inputs": tokens}
        assert client.post("/v1/models/pets/versions/3:predict", json=body).json()["outputs"]["ok"] == [True, False]
        card = client.get("/model").json()
        assert (card["takes"], card["inputs"], card["report"], card["explains"]) == ("texts", ["text"], None, False)
        refused = client.post("/explain", json={"texts": ["a"]})
        assert (refused.status_code, "Only the Keras model" in refused.json()["error"]) == (501, True)


def test_pairs_of_texts(make_text_run, expected_text):
    run = make_text_run(text_pair="answer")
    with serving(open_text_run(run)) as served, served.client() as client:
        answers = client.post("/predict", json={"texts": [["a", "b"], ["a"], "a"]}).json()["predictions"]
        assert list(answers[0]["probabilities"].values()) == pytest.approx(expected_text("a", "b").tolist(), abs=1e-5)
        assert [answer.get("error") for answer in answers[1:]] == ["expected a list of 2 texts"] * 2
        assert client.post("/predict", files={"file": ("a.txt", b"a")}).status_code == 415
        columns = {"inputs": {"text_a": ["a"], "text_b": ["b"]}}
        found = client.post("/v1/models/pets:predict", json=columns).json()["outputs"]
        assert found["probabilities"][0] == pytest.approx(list(answers[0]["probabilities"].values()), abs=1e-6)
