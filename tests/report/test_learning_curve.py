"""The section of the page on more labels."""

import runpy
from pathlib import Path

from keras_transfer.report.page import write_page
from keras_transfer.run.folder import LEARNING_CURVE, seal, write_json

check = runpy.run_path(str(Path(__file__).with_name("html_checks.py")))["check"]
CURVE = {
    "figure": {"name": "accuracy", "unit": "points", "is_error": False},
    "rows": 300,
    "held_out": {"rows": 712, "what": "validation and test rows"},
    "points": [{"rows": rows, "scores": [0.7 + rows / 2000, 0.71 + rows / 2000]} for rows in (75, 150, 300)],
    "level": 0.9,
    "forecasts": [{"rows": 300 * n, "score": 0.8 + 0.05 * n, "interval": [0.8, 0.83 + 0.05 * n]} for n in (1, 2)],
    "twice": {"rows": 600, "gain": 0.018, "interval": [0.006, 0.029]},
    "error_power_law": {"floor": 0.1, "factor": 2.0, "exponent": 0.5},
}


def page_of(run, curve):
    write_json(run.folder / LEARNING_CURVE, curve)
    seal(run.folder)
    page = check(write_page(run).read_text(encoding="utf-8"))
    return next((one for one in page.all("section") if one.attributes["id"] == "learning-curve"), None)


def test_the_section_has_the_forecast_and_a_figure(write_run, tmp_path):
    section = page_of(write_run(tmp_path / "run"), CURVE)
    assert "With twice as many labels (600 training rows)" in section.text
    assert "+1.8 points (90 % interval +0.6 to +2.9)" in section.text
    assert "712 validation and test rows" in section.text
    assert "Accuracy by number of labels" in section.text


def test_the_section_reports_why_nothing_was_measured_and_is_left_out_of_older_runs(write_run, tmp_path):
    section = page_of(write_run(tmp_path / "run"), {"reason": "too few training rows: 9 in <3> classes"})
    assert "Not measured: too few training rows: 9 in <3> classes." in section.text
    page = check(write_page(write_run(tmp_path / "older")).read_text(encoding="utf-8"))
    assert "learning-curve" not in [one.attributes["id"] for one in page.all("section")]
