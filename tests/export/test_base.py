"""What all formats share: verification in a fresh process, and a folder that is written completely or not at all."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import ConfigError, ExportError
from keras_transfer.config.schema import HeadConfig
from keras_transfer.config.section import NamedSettings, Section
from keras_transfer.export import EXPORTERS, Exporter, export_run, make_exporters
from keras_transfer.export.proof import tolerance_of
from keras_transfer.heads import ClassificationHead, NumberHead
from keras_transfer.heads.coverage import Coverage

PROBE = """
import json, pathlib, numpy as np

def load(artifact, inputs):
    facts = json.loads((pathlib.Path(artifact) / "facts.json").read_text())
    weights = np.load(pathlib.Path(artifact) / "weights.npz")

    def run(batch):
        pixels = np.asarray(batch[inputs[0]])
        assert pixels.shape[1:] == (64, 64, 3)
        logits = pixels.reshape(len(pixels), -1).mean(axis=1)[:, None] * weights["kernel"]
        return {"probabilities": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)}

    return run, facts["names"]
"""


class Settings(Section):
    scale: float = 1.0


class Mean(Exporter):
    """A model that looks at the mean of the pixels, so that what it predicts can be computed here."""

    name, title, endpoint, backend = "mean", "mean model", "tensors", None
    Settings = Settings

    def write(self, served, artifact):
        (artifact / "facts.json").write_text(json.dumps({"names": self.names(served)}))
        np.savez(artifact / "weights.npz", kernel=np.array([[0.0, self.settings.scale]]))

    def names(self, served):
        return list(served.head.names)


@pytest.fixture
def probe(tmp_path, monkeypatch):
    file = tmp_path / "mean_probe.py"
    file.write_text(PROBE)
    monkeypatch.setattr(Mean, "probe", file, raising=False)
    return file


@pytest.fixture
def served(finished_run):
    return finished_run.served


@pytest.fixture
def samples(finished_run):
    return finished_run.folder / "samples"


def expected_of(finished_run, samples, scale):
    """Means of the pixels that the reader gives, by NumPy."""
    rows = []
    for file in sorted(samples.iterdir()):
        pixels = finished_run.reader.decode(tf.constant([file.read_bytes()])).numpy()
        second = 1 / (1 + np.exp(-float(pixels.mean()) * scale))
        rows.append([1 - second, second])
    return np.array(rows, np.float32)


@pytest.mark.usefixtures("probe")
def test_a_format_that_takes_tensors_is_verified_on_decoded_examples(served, samples, finished_run, tmp_path):
    expected = expected_of(finished_run, samples, 0.01)
    parity = export_run(Mean(scale=0.01), served, tmp_path / "out" / "1", samples=samples, expected=expected)
    assert parity.examples == len(list(samples.iterdir()))
    assert parity.largest_difference < 1e-5
    assert str(parity).startswith(f"verified in a fresh process: {parity.examples} examples match within ")
    assert sorted(file.name for file in (tmp_path / "out" / "1").iterdir()) == ["facts.json", "weights.npz"]


@pytest.mark.usefixtures("probe")
def test_predictions_that_differ_are_refused_and_nothing_is_left(served, samples, finished_run, tmp_path):
    expected = expected_of(finished_run, samples, 0.02)
    with pytest.raises(ExportError, match=r"mean model differs from the model: probabilities by up to .* Nothing was"):
        export_run(Mean(scale=0.01), served, tmp_path / "out" / "1", samples=samples, expected=expected)
    assert not (tmp_path / "out").exists()


LOOKUP = """
import hashlib, json, pathlib, numpy as np

FAULT = None

def load(artifact, inputs):
    facts = json.loads((pathlib.Path(artifact) / "facts.json").read_text())

    def run(batch):
        rows = [facts["rows"].get(hashlib.sha256(content).hexdigest()) for content in batch["image_bytes"]]
        ok = np.array([row is not None for row in rows])
        probabilities = np.array([row or [0.0, 0.0] for row in rows])
        label = np.array(facts["names"])[probabilities.argmax(axis=1)]
        if FAULT == "says that all could be read":
            ok[:] = True
        if FAULT == "spoils the others" and not ok.all():
            probabilities[:] = 0.5
        outputs = {"probabilities": probabilities, "label": label, "names": np.tile(facts["names"], (len(rows), 1))}
        return outputs if FAULT == "says nothing" else {**outputs, "ok": ok}

    return run, facts["names"]
"""


class Lookup(Mean):
    """Looks up the predictions for the run's own examples, by their bytes."""

    name, endpoint = "lookup", "raw"

    def write(self, served, artifact):
        files = sorted((served.run / "samples").iterdir())
        rows = {sha256(file.read_bytes()).hexdigest(): [0.25, 0.75] for file in files}
        (artifact / "facts.json").write_text(json.dumps({"rows": rows, "names": self.names(served)}))


@pytest.mark.parametrize("fault", [None, "says that all could be read", "spoils the others", "says nothing"])
def test_an_input_that_cannot_be_read_does_not_affect_the_others(fault, served, samples, tmp_path, monkeypatch):
    (tmp_path / "lookup_probe.py").write_text(LOOKUP.replace("FAULT = None", f"FAULT = {fault!r}"))
    monkeypatch.setattr(Lookup, "probe", tmp_path / "lookup_probe.py", raising=False)
    expected = np.full((len(list(samples.iterdir())), 2), [0.25, 0.75], np.float32)
    if fault is None:
        assert export_run(Lookup(), served, tmp_path / "1", samples=samples, expected=expected).largest_difference == 0
        return
    with pytest.raises(ExportError, match=r"must return ok: bool\[batch\], false for an input that cannot be read"):
        export_run(Lookup(), served, tmp_path / "1", samples=samples, expected=expected)
    assert not (tmp_path / "1").exists()


@pytest.mark.usefixtures("probe")
def test_class_names_in_another_order_are_refused(served, samples, finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(Mean, "names", lambda self, served: ["dog", "cat"])
    expected = expected_of(finished_run, samples, 0.01)
    with pytest.raises(ExportError, match=r"other class names than the model: dog, cat\. Expected: cat, dog\."):
        export_run(Mean(scale=0.01), served, tmp_path / "1", samples=samples, expected=expected)
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("import keras_transfer", "the probe must not import keras_transfer"),
        ("raise OSError('no runtime')", "does not load or run in a fresh process: OSError: no runtime"),
    ],
)
def test_a_fresh_process_has_only_the_runtime(change, problem, probe, served, samples, finished_run, tmp_path):
    probe.write_text(f"{change}\n{PROBE}")
    expected = expected_of(finished_run, samples, 0.01)
    with pytest.raises(ExportError, match=problem):
        export_run(Mean(scale=0.01), served, tmp_path / "1", samples=samples, expected=expected)
    assert not (tmp_path / "1").exists()


FULL = tf.errors.ResourceExhaustedError(None, None, "{{node}} /tmp/x; No space left on device [Op:SaveV2]")


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (NotImplementedError("no GELU"), "cannot be written: NotImplementedError: no GELU"),
        (FULL, r"cannot be written to the folder for temporary files: No space left on device\. .*Set TMPDIR"),
        (None, "wrote no files"),
    ],
    ids=["unsupported", "full disk", "writes nothing"],
)
def test_a_writer_that_fails_leaves_nothing_behind(fault, match, served, samples, tmp_path, monkeypatch):
    def write(self, served, artifact):
        if fault is not None:
            (artifact / "half.bin").write_bytes(b"x")
            raise fault

    monkeypatch.setattr(Mean, "write", write)
    with pytest.raises(ExportError, match=match):
        export_run(Mean(), served, tmp_path / "1", samples=samples, expected=np.zeros((1, 2), np.float32))
    assert not (tmp_path / "1").exists()


def test_settings_belong_to_the_format(monkeypatch):
    monkeypatch.setattr(EXPORTERS, "_values", {**EXPORTERS._values, "mean": Mean})
    made = make_exporters([NamedSettings(name="saved_model"), NamedSettings(name="mean", scale=2)])
    assert [(exporter.name, exporter.settings.model_dump()) for exporter in made] == [
        ("saved_model", {}),
        ("mean", {"scale": 2.0}),
    ]
    with pytest.raises(ConfigError, match=r"export\.formats: mean: scal: .* Settings: scale\."):
        make_exporters([NamedSettings(name="mean", scal=2)])
    with pytest.raises(ConfigError, match=r"no export format named 'saved_modle'\. Did you mean saved_model\?"):
        EXPORTERS["saved_modle"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("mixed_float16", 5e-3), ("mixed_bfloat16", 2e-2)])
def test_the_tolerance_depends_on_the_precision(dtype, tolerance):
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype=dtype)])
    model = keras.Model(inputs, keras.layers.Softmax(dtype="float32")(inner(inputs)))
    assert tolerance_of(model) == tolerance


def test_the_probe_of_a_saved_model_is_a_file_of_the_package():
    assert Path(EXPORTERS["saved_model"].probe).is_file()


COVERED = """
import hashlib, json, pathlib, numpy as np

def load(artifact, inputs):
    facts = json.loads((pathlib.Path(artifact) / "facts.json").read_text())

    def run(batch):
        known = np.array([hashlib.sha256(content).hexdigest() in facts["rows"] for content in batch["image_bytes"]])
        outputs = {name: np.array([values] * len(known)) for name, values in facts["outputs"].items()}
        return {**outputs, "ok": known}

    return run, facts["names"]
"""


class Covered(Lookup):
    """Returns the same prediction for each of the run's examples."""

    name, outputs = "covered", {}

    def write(self, served, artifact):
        super().write(served, artifact)
        facts = json.loads((artifact / "facts.json").read_text())
        (artifact / "facts.json").write_text(json.dumps({**facts, "outputs": self.outputs}))


CLASSES = {"probabilities": [0.25, 0.75], "label": "dog", "names": ["cat", "dog"]}
SETS = {**CLASSES, "in_set": [True, True], "abstain": True}
NUMBERS = {"values": [5.0, 7.0], "names": ["cat", "dog"]}
SPANS = {**NUMBERS, "low": [4.0, 5.0], "high": [6.0, 9.0]}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        pytest.param(SETS, None, id="sets"),
        pytest.param(CLASSES, "lacks the outputs in_set, abstain", id="no sets"),
        pytest.param({**SETS, "in_set": [False, True]}, "in_set or abstain in 4 of 4 examples", id="other sets"),
        pytest.param(SPANS, None, id="intervals"),
        pytest.param(NUMBERS, "lacks the outputs low, high", id="no intervals"),
        pytest.param({**SPANS, "low": [4.0, 5.1]}, "other bounds of intervals than the model: low", id="other bounds"),
    ],
)
def test_sets_and_intervals_are_verified_too(outputs, message, served, samples, tmp_path, monkeypatch):
    names, config, few = ("cat", "dog"), HeadConfig(coverage=0.9), tmp_path / "samples"
    few.mkdir()
    for file in sorted(samples.iterdir())[:4]:
        (few / file.name).write_bytes(file.read_bytes())
    head = ClassificationHead(names, config, coverage=Coverage(0.9, 20, (0.2,)))
    if "values" in outputs:
        head = NumberHead(names, config, (5.0, 7.0), (1.0, 1.0), coverage=Coverage(0.9, 20, (1.0, 2.0)))
    (tmp_path / "covered_probe.py").write_text(COVERED)
    monkeypatch.setattr(Covered, "probe", tmp_path / "covered_probe.py", raising=False)
    monkeypatch.setattr(Covered, "outputs", outputs)
    expected = np.array([outputs[head.predictions_output]] * 4, np.float32)
    served = replace(served, head=head)
    if message is None:
        assert export_run(Covered(), served, tmp_path / "1", samples=few, expected=expected).examples == 4
        return
    with pytest.raises(ExportError, match=message):
        export_run(Covered(), served, tmp_path / "1", samples=few, expected=expected)
