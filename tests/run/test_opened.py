"""Exported models: evaluate and predict match the run, and files that cannot be used are named."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from keras_transfer import CheckpointError, ConfigError, DataError, ExportError, Run
from keras_transfer.errors import TransferWarning
from keras_transfer.export import EXPORTERS
from keras_transfer.run.opened import ExportedModel, open_model

FORMATS = ["saved_model", "onnx", "litert"]


@pytest.fixture
def images(finished_run):
    return finished_run.folder.parent / "images"


@pytest.fixture(scope="module")
def answers(finished_run):
    """What the run itself predicts for two files, and its report on all of them."""
    images = finished_run.folder.parent / "images"
    files = [images / "cat" / "000.png", images / "dog" / "001.jpg"]
    with pytest.warns(TransferWarning, match="21 of 32 rows are training rows"):
        report = finished_run.evaluate(str(images))
    return files, finished_run.predict(files), report


@pytest.mark.parametrize("name", FORMATS)
def test_an_exported_model_predicts_as_its_run(exported, finished_run, answers, images, name):
    opened = open_model(exported(name))
    assert isinstance(opened, ExportedModel)
    assert (opened.exporter.name, opened.target.names, opened.task) == (name, ("cat", "dog"), finished_run.task)
    files, predictions, expected = answers
    for own, ours in zip(opened.predict(files), predictions, strict=True):
        assert (own.input, own.label) == (ours.input, ours.label)
        assert own.probabilities == pytest.approx(ours.probabilities, abs=1e-5)
    report = opened.evaluate(str(images))
    assert (report.split, report.confusion, report.n) == (expected.split, expected.confusion, expected.n)
    assert report.loss == pytest.approx(expected.loss, abs=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_predictions_of_tensors_match_the_model(exported, finished_run, name):
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(finished_run.model(pixels))
    for predictor in (finished_run, open_model(exported(name))):
        np.testing.assert_allclose(predictor.predict_tensors({"pixels": pixels}), expected, atol=1e-5)


@pytest.mark.slow
def test_an_exported_model_of_texts_predicts_as_its_run(finished_text_run, tmp_path, monkeypatch):
    """In another folder, with its tokenizer: texts that are empty, unknown, or longer than the model takes."""
    run = finished_text_run
    monkeypatch.setattr("tf2onnx.optimizer._optimizers", {})  # they take longer than everything else here
    folder, proof = run.export(tmp_path / "1", format="onnx")
    assert str(proof).endswith("serve.py gives the same answers")
    opened = open_model(shutil.move(folder, tmp_path / "moved") / "model.onnx")
    assert (opened.exporter.name, opened.task, opened.target.names) == ("onnx", run.task, ("cat", "dog"))
    texts = ["the cat", "", "a dog " * 30, "caf\u00e9 \u65e5\u672c"]
    for own, ours in zip(opened.predict(texts), run.predict(texts), strict=True):
        assert (own.input, own.label) == (ours.input, ours.label)
        assert own.probabilities == pytest.approx(ours.probabilities, abs=1e-5)
    np.testing.assert_allclose(opened.embed(texts), run.embed(texts), atol=1e-5)
    table = run.config.data.source
    with pytest.warns(TransferWarning, match="of 48 rows are training rows"):
        expected = run.evaluate(table)
    report = opened.evaluate(table)
    assert (report.confusion, report.n) == (expected.confusion, 48)
    assert report.loss == pytest.approx(expected.loss, abs=1e-5)


def test_a_file_may_be_moved_and_renamed(exported, images, tmp_path, command):
    file = shutil.copy(exported("litert") / "model.tflite", tmp_path / "cats.TFLITE")
    result = command("predict", file, images / "cat" / "000.png", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(json.loads(result.stdout)[0]["probabilities"]) == {"cat", "dog"}


def test_the_graph_of_a_saved_model_names_it(exported):
    assert open_model(exported("saved_model") / "saved_model.pb").exporter.name == "saved_model"


def test_a_run_folder_is_a_run(finished_run):
    assert isinstance(open_model(finished_run.folder), Run)


def test_it_has_no_rows_and_no_keras_model(exported, images):
    opened = open_model(exported("onnx"))
    assert opened.known_rows() is None
    with pytest.raises(ConfigError, match=r"which holds no rows of its run\. Name labelled examples with --data"):
        opened.evaluate()
    with pytest.raises(ExportError, match=r"this operation needs the Keras model.*Name the run folder instead"):
        _ = opened.model
    with pytest.raises(DataError, match="cannot be read"):
        opened.predict(images / "cat" / "absent.png")


def change(name, folder, edit):
    """Put another description into a copy of an artifact."""
    if name == "saved_model":
        file = folder / "assets.extra" / "keras_transfer.json"
        file.write_text(edit(file.read_text()))
    elif name == "onnx":
        import onnx

        file = folder / "model.onnx"
        model = onnx.load(file)
        (entry,) = (entry for entry in model.metadata_props if entry.key == "keras_transfer")
        entry.value = edit(entry.value)
        onnx.save(model, file)
    else:
        file = folder / "model.tflite"
        with zipfile.ZipFile(file) as archive:
            content = archive.read("keras_transfer.json").decode()
        start = min(entry.header_offset for entry in archive.infolist())
        network = file.read_bytes()[:start]
        file.write_bytes(network)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("keras_transfer.json", edit(content))


def put(*path, value):
    """An edit of a description: another value at a place."""

    def edit(content):
        values = json.loads(content)
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return json.dumps(values)

    return edit


TENSOR = {"name": "pixels", "dtype": "float32"}


@pytest.mark.parametrize(
    ("name", "edit", "match"),
    [
        pytest.param("saved_model", lambda content: content[:99], "is damaged", id="truncated"),
        pytest.param("litert", lambda content: " " * 40_000_000, "more than 32,000,000 bytes", id="zip bomb"),
        pytest.param("onnx", lambda content: "null", "is damaged", id="null"),
        pytest.param("onnx", put("record", "class_names", value=["a", "b"]), "different names", id="other names"),
        pytest.param("onnx", put("record", "class_names", value=3), "record.class_names", id="number"),
        pytest.param("onnx", put("record", value={}), "class_names", id="no record"),
        pytest.param("onnx", put("head", value={"temperature": "hot"}), "head: ", id="head"),
        pytest.param("onnx", put("recipe", "task", value="image_clasification"), "there is no", id="task"),
        pytest.param("onnx", put("task", value="text_classification"), "its task is text_classification", id="tasks"),
        pytest.param("onnx", put("recipe", "data", "max_pixels", value=-1), "max_pixels", id="recipe"),
        pytest.param("onnx", put("inputs", value=[{**TENSOR, "shape": [None]}]), "inputs or record", id="rank"),
        pytest.param("onnx", put("inputs", value=[{**TENSOR, "shape": [None] * 4}]), "inputs or record", id="open"),
        pytest.param(
            "onnx", put("inputs", value=[{**TENSOR, "shape": [None, 32, 32, 1]}]), "inputs do not match", id="channels"
        ),
        pytest.param("onnx", put("inputs", value=[{**TENSOR, "shape": [None, 32, 32, 3]}]), "cannot be run", id="size"),
        pytest.param("onnx", put("predictions_output", value="x"), "its predictions output is x", id="no output"),
        pytest.param("onnx", put("predictions_output", value="score"), "output is score; expected", id="other output"),
    ],
)
def test_an_untrusted_description_is_refused(exported, images, tmp_path, refused, name, edit, match):
    folder = shutil.copytree(exported(name), tmp_path / "1")
    change(name, folder, edit)
    refused("predict", folder, images / "cat" / "000.png", needs=[folder, match])


def test_names_of_another_model(exported, tmp_path, refused, images):
    folder = shutil.copytree(exported("saved_model"), tmp_path / "1")
    change("saved_model", folder, lambda content: content.replace('"dog"', '"wolf"'))
    refused("predict", folder, images / "cat" / "000.png", needs=[folder, "its names are not those of the model"])


@pytest.mark.parametrize("words", [["predict", "{path}", "x.png"], ["evaluate", "{path}", "--data", "x"]])
@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("no.onnx", ["is damaged"]),
        ("no.tflite", ["has no description by keras_transfer"]),
        ("folder.onnx", ["not a finished run"]),
        ("no.txt", ["There is no run folder", "onnx", "litert"]),
        ("versions", ["holds exported models", "versions/1"]),
        ("link", ["is a link to /"]),
        ("absent.onnx", ["There is no run folder"]),
    ],
)
def test_a_path_that_is_not_an_exported_model(exported, tmp_path, refused, words, kind, needs):
    path = tmp_path / kind
    if kind.startswith("no."):
        path.write_bytes(b"no model")
    elif kind == "versions":
        shutil.copytree(exported("saved_model"), path / "1")
    elif kind == "link":
        shutil.copytree(exported("saved_model"), path)
        (path / "assets.extra" / "keras_transfer.json").unlink()
        (path / "assets.extra" / "keras_transfer.json").symlink_to("/etc/passwd")
    elif kind == "folder.onnx":
        path.mkdir()
    refused(*[word.format(path=path) for word in words], needs=[path, *needs])


def test_a_runtime_that_is_not_installed(exported, tmp_path, refused, images, monkeypatch):
    folder, probe = exported("litert"), tmp_path / "probe.py"
    probe.write_text("import no_such_runtime_7f3a")
    monkeypatch.setattr(EXPORTERS["litert"], "probe", probe)
    needs = ["is a LiteRT model", "no_such_runtime_7f3a", "pip install 'keras-transfer[litert]'"]
    refused("predict", folder, images / "cat" / "000.png", needs=needs)


def test_a_model_that_was_removed_meanwhile(exported, tmp_path, images):
    folder = shutil.copytree(exported("litert"), tmp_path / "1")
    opened = open_model(folder)
    shutil.rmtree(folder)
    with pytest.raises(ExportError, match=r"LiteRT model .* cannot be loaded"):
        opened.predict(images / "cat" / "000.png")
    with pytest.raises(CheckpointError, match="There is no run folder"):
        open_model(folder)
