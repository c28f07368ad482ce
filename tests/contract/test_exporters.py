"""The contract of exporters: the project's own satisfy it, and the check finds those that do not."""

import json
from dataclasses import replace

import pytest
import tensorflow as tf

from keras_transfer import EXPORTERS, Exporter
from keras_transfer.testing import check_exporter


@pytest.mark.slow  # three exports of a real format
@pytest.mark.parametrize("name", list(EXPORTERS))
def test_own_exporters_satisfy_the_contract(name, finished_run):
    check_exporter(EXPORTERS[name](), finished_run)


PROBE = """
import json, pathlib

def load(artifact, inputs):
    record = json.loads((pathlib.Path(artifact) / "record.json").read_text())
    rows = iter(record["rows"])
    return lambda batch: {"probabilities": Rows(next(rows) for _ in batch[inputs[0]])}, record["names"]

class Rows(list):
    def tolist(self):
        return list(self)
"""


class Recorder(Exporter):
    """Records the predictions for the run's own examples: quick, and equal to the model's."""

    name, title, endpoint = "recorder", "record", "tensors"

    def write(self, served, artifact):
        files = sorted((served.run / "samples").iterdir())
        inputs = [served.reader.decode(tf.constant([file.read_bytes()])) for file in files]
        rows = [served.model(pixels, training=False).numpy()[0].tolist() for pixels in inputs]
        (artifact / "record.json").write_text(json.dumps({"rows": rows, "names": list(served.head.names)}))


class Forgetful(Recorder):
    """Ignores the class names of the head."""

    def write(self, served, artifact):
        super().write(replace(served, head=replace(served.head, names=("cat", "dog"))), artifact)


class Untidy(Recorder):
    """Writes into the run folder."""

    def write(self, served, artifact):
        super().write(served, artifact)
        (served.run / "left.json").write_text("{}")


@pytest.fixture
def probe(tmp_path, monkeypatch):
    (tmp_path / "recorder_probe.py").write_text(PROBE)
    monkeypatch.setattr(Recorder, "probe", tmp_path / "recorder_probe.py", raising=False)


@pytest.mark.usefixtures("probe")
def test_an_exporter_of_a_plugin(finished_run):
    check_exporter(Recorder(), finished_run)


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize(
    ("exporter", "rule"),
    [
        (Untidy, "does not change the run folder"),
        pytest.param(Forgetful, "other class names is an ExportError", marks=pytest.mark.slow),
    ],
)
def test_an_exporter_that_breaks_the_contract_is_refused_with_the_rule(exporter, rule, finished_run):
    with pytest.raises(AssertionError, match=f"The contract of exporter 'recorder': .*{rule}"):
        check_exporter(exporter(), finished_run)
