"""What a quantized export loses: measured on labelled rows, bounded, and printed."""

import json
import shutil
from hashlib import sha256

import numpy as np
import pytest
from scipy.stats import binom

from keras_transfer import ConfigError, DataError, ExportError, Run
from keras_transfer.config.schema import HeadConfig
from keras_transfer.config.section import Section
from keras_transfer.data.splits.splits import Split
from keras_transfer.export import Exporter
from keras_transfer.export.metric_drop import measure_drop
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead

PROBE = """
import hashlib, json, pathlib, numpy as np

def load(artifact, inputs):
    facts = json.loads((pathlib.Path(artifact) / "facts.json").read_text())

    def run(batch):
        keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in batch[inputs[0]]]
        return {"probabilities": np.array([facts[key] for key in keys], np.float32)}

    return run, ["cat", "dog"]
"""


class Settings(Section):
    quantize: str | None = "int8"
    max_drop: float = 0.01
    wrong: int = 0
    factor: float = 1.0


class Lookup(Exporter):
    """Looks up the model's predictions for all rows of the run, and swaps some that were right."""

    name, title, endpoint, Settings = "lookup", "lookup table", "tensors", Settings

    def calibrates(self, reader):
        return True

    def write(self, served, artifact):
        facts = {}
        for pixels, predicted, targets in self.known:
            rows = predicted.copy()
            right = np.flatnonzero(rows.argmax(axis=1) == targets)[: self.settings.wrong]
            rows[right] = rows[right, ::-1]
            facts |= {
                sha256(x.tobytes()).hexdigest(): [self.settings.factor * p for p in row.tolist()]
                for x, row in zip(pixels, rows, strict=True)
            }
        (artifact / "facts.json").write_text(json.dumps(facts))
        if served.calibration is not None:
            np.save(artifact / "seen.npy", np.concatenate([batch["pixels"] for batch in served.calibration_batches()]))


class Uncalibrated(Lookup):
    """The same without training examples."""

    def calibrates(self, reader):
        return False


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lookup")
    (folder / "lookup_probe.py").write_text(PROBE)
    Lookup.probe, Lookup.known = folder / "lookup_probe.py", []
    for split in map(finished_run.load_split, ("train", "validation", "test")):
        batches = finished_run.reader.evaluation_batches(split, batch_size=32)
        pixels = np.concatenate([np.array(x) for x in batches])
        Lookup.known.append((pixels, np.asarray(finished_run.model(pixels)), split.targets))
    return finished_run


def test_an_export_that_loses_no_more_than_allowed(run, tmp_path):
    test, train = run.load_split("test"), run.load_split("train")
    n, before = len(test), run.evaluate().accuracy
    folder, drop = run.export(tmp_path / "out", format=Lookup(wrong=1, max_drop=1 / n))
    assert (drop.before, drop.after, drop.drop) == pytest.approx((before, before - 1 / n, 1 / n))
    assert (drop.examples, drop.split, drop.quantize) == (n, "test", "int8")
    low, high = binom.ppf([0.025, 0.975], n, 1 / n) / n
    assert drop.interval == pytest.approx((low, high), abs=1e-9)
    assert str(drop) == (
        f"int8, verified in a fresh process on {n} rows (test): {before:.1%} right before, {before - 1 / n:.1%} right "
        f"after: {-100 / n:+.3g} points, 95 % interval {-100 * high:+.3g} to {-100 * low + 0.0:+.3g}, allowed "
        f"{-100 / n:+.3g}"
    )
    # Training images without augmentation, in the order of their rows.
    expected = np.concatenate([np.array(x) for x in run.reader.evaluation_batches(train, batch_size=7)])
    np.testing.assert_array_equal(np.load(folder / "seen.npy"), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"wrong": 1}, r"int8 loses more than max_drop: 0.01 on 7 .*before, .*--max-drop", id="too much"),
        pytest.param({"factor": 1e39}, r"predicts NaN or infinite values for (\d+) of \1 test", id="infinite"),
    ],
)
def test_an_export_that_loses_more_leaves_nothing_behind(settings, message, run, tmp_path):
    with pytest.raises(ExportError, match=message):
        run.export(tmp_path / "out" / "1", format=Uncalibrated(**settings))
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:.*rows are training rows of this run")
@pytest.mark.slow
def test_other_rows_replace_those_of_the_run(run, tmp_path):
    """Without training rows, some of the rows calibrate and the others verify."""
    images = run.config.data.source
    folder, drop = run.export(tmp_path / "1", format=Lookup(), data=images)
    seen = len(np.load(folder / "seen.npy"))
    assert (seen, drop.examples, drop.drop) == (16, 16, 0.0)
    assert run.export(tmp_path / "2", format=Uncalibrated(), data=images)[1].examples == 32


def test_rows_that_are_not_on_this_machine(run, tmp_path):
    data = json.loads((run.folder / "data.json").read_text())
    moved = Run(shutil.copytree(run.folder, tmp_path / "run"))
    recipe = moved.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(run.config.data.source, str(tmp_path / "gone")))
    with pytest.raises(DataError, match=r"int8 is checked on the test rows of the run, which cannot .*gone.*--data\."):
        Run(moved.folder).export(tmp_path / "out", format=Lookup())
    moved.record = {**data, "splits": {**data["splits"], **{key: {"count": 0} for key in ("test", "validation")}}}
    with pytest.raises(DataError, match=r"no test rows and no validation rows\. Name .*--data\."):
        moved.export(tmp_path / "out", format=Lookup())
    with pytest.raises(ConfigError, match=r"--data is only used to check a quantized export"):
        run.export(tmp_path / "out", format=Lookup(quantize=None), data=tmp_path)
    assert not (tmp_path / "out").exists()


NAMES, CONFIG = ("a", "b"), HeadConfig()
ROWS = 4


def rows_of(targets):
    return Split("test", list(range(len(targets))), targets, np.ones(len(targets), np.float32))


@pytest.mark.parametrize(
    ("head", "targets", "before", "after", "drop"),
    [
        pytest.param(
            ClassificationHead(NAMES, CONFIG),
            np.array([0, 1, 1, 0]),
            [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]],
            [[0.4, 0.6], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]],
            0.75 - 0.5,
            id="class",
        ),
        pytest.param(
            MultilabelHead(NAMES, CONFIG, (0.5, 0.5)),
            np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32),
            [[0.9, 0.1], [0.1, 0.9], [0.8, 0.8], [0.2, 0.2]],
            # The second label's rows are ranked 1, 3 of 4: average precision (1 + 2 / 3) / 2.
            [[0.9, 0.7], [0.1, 0.9], [0.8, 0.5], [0.2, 0.2]],
            (1 - 5 / 6) / 2,
            id="labels",
        ),
        pytest.param(
            NumberHead(("a",), CONFIG, (10.0,), (4.0,)),
            np.array([[8.0], [10.0], [12.0], [14.0]], np.float32),
            [[8.0], [10.0], [12.0], [15.0]],
            [[9.0], [10.0], [12.0], [16.0]],
            (3 - 1) / 4 / 4.0,
            id="number",
        ),
        pytest.param(
            NumberHead(NAMES, CONFIG, (0.0, 0.0), (2.0, 10.0)),
            np.zeros((4, 2), np.float32),
            np.zeros((4, 2)),
            [[1.0, 0.0], [0.0, 0.0], [0.0, 5.0], [0.0, 0.0]],
            (1 / 2 + 5 / 10) / 8,
            id="numbers",
        ),
    ],
)
def test_a_drop_is_a_difference_of_scores_with_an_interval(head, targets, before, after, drop):
    before, after = np.array(before, np.float32), np.array(after, np.float32)
    measured = measure_drop(Lookup(), head, before, after, rows_of(targets))
    assert measured.drop == pytest.approx(drop, abs=1e-6)
    low, high = measured.interval
    assert low <= measured.drop <= high
    assert (measured.before, measured.after) == (
        head.score_once(before, targets),
        head.score_once(after, targets),
    )
    assert json.loads(json.dumps(measured.to_json()))["metric"] == head.figure.name
    if isinstance(head, NumberHead):
        assert "standard deviations, 95 % interval" in str(measured)
