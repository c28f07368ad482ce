"""What a user gets from a finished run that transcribes: lines, JSON, tables, and clear refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from keras_transfer import CheckpointError
from keras_transfer.benchmark.metric import measure_metric
from keras_transfer.cli import main
from keras_transfer.report.pooled import write_pooled_page


@pytest.fixture(scope="module")
def folder(finished_speech_run):
    return finished_speech_run.folder.parent


@pytest.fixture(scope="module")
def files(folder):
    return [folder / f"{number:02}.wav" for number in (3, 0)]


@pytest.fixture(scope="module")
def expected(finished_speech_run, files):
    return finished_speech_run.predict(files)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    file = tmp_path_factory.mktemp("broken") / "broken.wav"
    file.write_text("no sound")
    return file


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_predictions_are_printed_and_written(finished_speech_run, files, expected, broken, tmp_path):
    run = finished_speech_run.folder
    texts = [prediction.text for prediction in expected]
    printed = call("predict", run, *files)
    assert printed.exit_code == 0
    assert printed.stdout.splitlines() == [f"{file}\t{text}" for file, text in zip(files, texts, strict=True)]
    given = json.loads(call("predict", run, *files, "--json").stdout)
    assert [one["text"] for one in given] == texts
    assert all(one["score"] <= 0 for one in given)
    written = call("predict", run, *files, broken, "--skip-broken", "--out", tmp_path / "texts.csv")
    assert written.exit_code == 0
    table = pd.read_csv(tmp_path / "texts.csv", keep_default_na=False)
    assert table["predicted_text"].tolist() == [*texts, ""]
    assert "score" in table and table["error"].tolist()[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--top-k", "2"], "this run predicts text", id="top-k"),
        pytest.param(["--min-confidence", "0.5"], "this run predicts text, which has none", id="min-confidence"),
    ],
)
def test_options_for_probabilities_are_refused(finished_speech_run, files, options, message):
    found = call("predict", finished_speech_run.folder, files[0], *options)
    assert found.exit_code == 2 and message in found.output


def test_a_broken_recording_is_named(finished_speech_run, files, broken):
    found = call("predict", finished_speech_run.folder, files[0], broken)
    assert found.exit_code == 2 and "broken.wav: not a recording" in found.output


def test_methods_that_need_features_or_classes_are_unsupported(finished_speech_run, files):
    unlabelled = (np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), 16_000)
    with pytest.raises(CheckpointError, match="has no features"):
        finished_speech_run.suggest([unlabelled], count=1)
    with pytest.raises(CheckpointError, match="has no features"):
        finished_speech_run.embed(files)
    assert [one.note for one in finished_speech_run.explain(files)] == ["Task speech_to_text has no explanations."] * 2


def test_a_benchmark_has_the_word_error_rate(finished_speech_run):
    found, report = measure_metric(finished_speech_run, finished_speech_run.load_split("test")), None
    report = finished_speech_run.reports["test"]
    assert (found["name"], found["value"]) == ("wer", pytest.approx(report.wer))
    assert found["interval"] == pytest.approx(list(report.wer_interval))


def test_the_report_of_the_run_plays_its_errors(finished_speech_run):
    page = (finished_speech_run.folder / "report.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert 'id="error-rates"' in page and 'id="worst"' in page
    assert "<audio" in page and "The same network on the same rows" in page


def test_the_page_of_a_cross_validation_has_the_texts_of_all_runs(finished_speech_run, tmp_path):
    run = finished_speech_run
    values = [run.reports["test"].wer] * 2
    summary = {"test": {"wer": {"mean": values[0], "std": 0.0, "values": values}}}
    page = write_pooled_page(tmp_path, [run, run], summary, file=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "wer, mean of 2 runs" in page and "standard deviation" in page
    assert 'id="worst"' in page and 'id="error-rates"' in page
