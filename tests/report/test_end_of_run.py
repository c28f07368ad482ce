"""What a run does about its page when it ends; a finished run that is resumed ends without training again."""

import io
import shutil

import pytest
from rich.console import Console

from keras_transfer import ImageClassification, Run
from keras_transfer.errors import TransferWarning
from keras_transfer.recipe import fitting


@pytest.fixture
def folder(finished_run, tmp_path):
    return shutil.copytree(finished_run.folder, tmp_path / "run")


def resume(folder, finished_run):
    output = io.StringIO()
    recipe = ImageClassification(finished_run.config.data.source)
    recipe.fit(folder, resume=True, console=Console(file=output, width=500))
    return output.getvalue()


def test_a_run_writes_its_page_and_predictions(finished_run):
    page = (finished_run.folder / "report.html").read_text(encoding="utf-8")
    report = finished_run.reports["test"]
    assert f'<data value="{report.accuracy!r}">' in page
    assert {name: len(rows.predicted) for name, rows in finished_run.predictions.items()} == {
        name: part.n for name, part in finished_run.reports.items()
    }
    (phase,) = finished_run.phases
    assert (phase.name, len(phase.stages), 0 < phase.trained < phase.total) == ("last_stages", 1, True)


def test_a_missing_page_is_written_when_the_run_is_resumed(folder, finished_run):
    (folder / "report.html").unlink()
    assert f"Report: {folder / 'report.html'}" in resume(folder, finished_run)
    assert (folder / "report.html").is_file()


def test_report_false_leaves_the_page_out(folder, finished_run):
    (folder / "report.html").unlink()
    recipe = folder / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    assert "report: true" in text
    recipe.write_text(text.replace("report: true", "report: false"), encoding="utf-8")
    assert "Report:" not in resume(folder, finished_run)
    assert not (folder / "report.html").exists()
    assert Run(folder).config.report is False


def test_a_page_that_cannot_be_written_does_not_end_the_run(folder, finished_run, monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("no colours left")

    (folder / "report.html").unlink()
    monkeypatch.setattr(fitting, "write_page", fail)
    with pytest.warns(TransferWarning, match=r"could not be written: no colours left. The run is finished.*report"):
        resume(folder, finished_run)
