"""Which format of a run is served."""

import functools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from keras_transfer import ConfigError
from keras_transfer.run.opened import ExportedModel
from keras_transfer.run.run import Run
from keras_transfer.serving import choose as chooser
from keras_transfer.serving.card import make_card
from keras_transfer.serving.choose import choose, count_rows, find_exports, measure, read_batch, shrink
from keras_transfer.serving.limits import Limits
from keras_transfer.serving.model import ServedModel


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """Two versions of a SavedModel, and what is none."""
    folder = shutil.copytree(finished_run.folder, tmp_path_factory.mktemp("choose") / "run")
    exports = folder / "export"
    shutil.copytree(exports / "saved_model" / "1", exports / "saved_model" / "10")
    (exports / "saved_model" / "notes.txt").touch()
    (exports / "broken" / "2").mkdir(parents=True)
    (exports / "empty").mkdir()
    return folder


@pytest.fixture(autouse=True, scope="module")
def opened_once():
    """Opening a SavedModel takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chooser, "open_model", functools.cache(chooser.open_model))
        yield


def test_the_latest_version_of_each_format(folder):
    assert find_exports(folder) == {
        name: folder / "export" / name / str(n) for name, n in (("broken", 2), ("saved_model", 10))
    }


def test_a_named_format_predicts_as_the_run(folder, finished_run):
    chosen = choose(folder, "saved_model", batch_size=4)
    assert (type(chosen.opened), chosen.format, chosen.version) == (ExportedModel, "saved_model", 10)
    card = make_card("pets", chosen, ServedModel(chosen.opened), Limits())
    assert (card["report"]["name"], card["facts"]["Data"], card["explains"]) == ("accuracy", "images", False)
    batch = read_batch(finished_run, 20)
    assert {len(values) for values in batch.values()} == {20}
    np.testing.assert_allclose(
        chosen.opened.predict_tensors(batch), finished_run.predict_tensors(batch), rtol=0, atol=1e-5
    )
    keras = choose(folder, "keras", batch_size=4)
    assert (type(keras.opened), keras.format) == (Run, "keras")
    with pytest.raises(ConfigError, match=r"no export 'saved_modle'\. Did you mean saved_model"):
        choose(folder, "saved_modle", batch_size=4)
    alone = choose(folder / "export" / "saved_model" / "10", "auto", batch_size=4)
    assert (type(alone.opened), alone.format, alone.version) == (ExportedModel, "saved_model", 10)
    assert make_card("pets", alone, ServedModel(alone.opened), Limits())["report"] is None
    with pytest.raises(ConfigError, match=r"is saved_model\. Received: keras"):
        choose(folder / "export" / "saved_model" / "10", "keras", batch_size=4)


@pytest.mark.parametrize(
    ("seconds", "rate", "format_name"), [(0.95, "4.2", "keras"), (0.25, "16", "saved_model"), (2.0, "2", "keras")]
)
def test_auto_is_the_fastest_format_or_keras_if_the_difference_is_small(
    folder, monkeypatch, seconds, rate, format_name
):
    times = iter([1.0, seconds])
    monkeypatch.setattr(chooser, "measure", lambda predict, batch: next(times))
    chosen = choose(folder, "auto", batch_size=4)
    assert chosen.format == format_name
    left_out, rates = chosen.notes
    assert left_out.startswith("Left out: broken: ")
    assert rates == f"Inputs per second in batches of 4: keras 4, saved_model {rate}"


def test_quantized_exports_are_served_if_they_are_named(folder, monkeypatch):
    monkeypatch.setattr(chooser, "measure", lambda predict, batch: 1.0)
    real = chooser.open_model

    def open_quantized(path):
        opened = real(path)
        if isinstance(opened, ExportedModel):
            monkeypatch.setattr(opened, "description", replace(opened.description, quantize="int8"))
        return opened

    monkeypatch.setattr(chooser, "open_model", open_quantized)
    chosen = choose(folder, "auto", batch_size=4)
    assert chosen.format == "keras"
    assert "Left out: saved_model is int8, unlike the run; --format saved_model serves it" in chosen.notes
    assert choose(folder, "saved_model", batch_size=4).format == "saved_model"


def test_measured_time_is_the_median_after_a_warm_up(monkeypatch):
    durations = iter([9.0, 9.0, 0.1, 0.3, 0.2, 5.0])
    clock = [0.0]
    monkeypatch.setattr(chooser, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert measure(lambda batch: clock.__setitem__(0, clock[0] + next(durations)), {}) == pytest.approx(0.25)


@pytest.mark.parametrize(("seconds", "rows"), [(0.001, 32), (0.0, 32), (0.5, 10), (2.0, 2), (7.0, 1)])
def test_a_slow_model_is_measured_on_fewer_rows(monkeypatch, seconds, rows):
    clock = [0.0]
    monkeypatch.setattr(chooser, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    taken = [9.0, seconds]  # the first builds a graph

    def predict(batch):
        clock[0] += taken.pop(0) * count_rows(batch)

    assert count_rows(shrink(predict, {"samples": np.zeros((32, 3)), "length": np.zeros(32)})) == rows
