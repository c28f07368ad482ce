"""The page of a run: what it shows is what metrics.json has, and it is one safe file whatever the run holds."""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from keras_transfer import Run
from keras_transfer.heads import MaskedReport
from keras_transfer.heads.evaluation import Report
from keras_transfer.report.content import Content, Rows, read_content
from keras_transfer.report.page import make_page, write_page

CHECKS = runpy.run_path(str(Path(__file__).with_name("html_checks.py")))
check, parse = CHECKS["check"], CHECKS["parse"]

CELLS = {"train": 90, "validation": 30, "test": 60}
ODD = (
    "قطة",
    "\U0001f408\u200d\u2b1b black cat",
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "a" * 3000,
    "tab\t\x1b[31m\u202ertl\nend",
)


def numbers_of(values):
    """All numbers in JSON."""
    if isinstance(values, dict):
        return set().union(*(numbers_of(value) for value in values.values()), set())
    if isinstance(values, list):
        return set().union(*(numbers_of(value) for value in values), set())
    return {float(values)} if isinstance(values, int | float) and not isinstance(values, bool) else set()


def anchors(page):
    return [element.attributes["id"] for element in page.all("section")]


WHOLE = ["overview", "confusion", "classes", "thresholds", "calibration", "abstention", "training", "counts", "details"]


@pytest.mark.parametrize(
    ("made", "expected", "words"),
    [
        pytest.param({}, WHOLE, ["on 40 test rows"], id="two-classes"),
        pytest.param({"names": ODD, "rows": CELLS}, WHOLE, ["قطة", "\\u001b[31m\\u202ertl\\nend"], id="odd-names"),
        pytest.param({"names": [f"c{i}" for i in range(200)], "rows": {**CELLS, "test": 400}}, WHOLE, [], id="200"),
        pytest.param(
            {"kind": "multilabel", "names": ("a", "b", "<b>"), "rows": CELLS},
            [name for name in WHOLE if name != "confusion"],
            ["mean average precision"],
            id="multilabel",
        ),
        pytest.param(
            {"kind": "number", "names": ("weight", "<i>"), "rows": CELLS},
            ["overview", "classes", "residuals", "calibration", "training", "counts", "details"],
            ["in standard deviations"],
            id="numbers",
        ),
        pytest.param(
            {"rows": {**CELLS, "test": 0}},
            WHOLE,
            ["The run has no test rows. This page shows its validation rows.", "on 30 validation rows"],
            id="no-test-rows",
        ),
        pytest.param({"rows": {**CELLS, "validation": 0}}, WHOLE, ["on 60 test rows"], id="no-validation-rows"),
        pytest.param(
            {"rows": {"train": 60, "validation": 0, "test": 0}},
            ["overview", "training", "counts", "details"],
            ["neither validation nor test rows"],
            id="only-training-rows",
        ),
        pytest.param(
            {"only": 1}, [name for name in WHOLE if name != "thresholds"], ["Without rows"], id="one-class-in-test"
        ),
        pytest.param(
            {"with_predictions": False, "with_gain": False},
            ["overview", "confusion", "classes", "calibration", "training", "counts", "details"],
            ["Some sections are missing: the run folder has no predictions.npz"],
            id="earlier-version",
        ),
    ],
)
def test_pages_of_all_kinds(write_run, tmp_path, made, expected, words):
    run = write_run(tmp_path / "run", **made)
    page = check(write_page(run).read_text(encoding="utf-8"))
    found = anchors(page)
    assert [name for name in found if name in WHOLE or name == "residuals"] == expected
    text = page.elements[0].text
    assert [word for word in words if word not in text] == []
    assert Run(run.folder).config == run.config, "the page does not break the seal"


@pytest.mark.parametrize("kind", ["class", "multilabel", "number"])
def test_numbers_match_metrics_json(write_run, tmp_path, kind):
    run = write_run(tmp_path / "run", kind=kind, names=("a", "b", "c"), rows=CELLS)
    recorded = numbers_of(json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))["test"])
    page = check(write_page(run).read_text(encoding="utf-8"))
    shown = {section: set(parse(_section(run, section)).values()) for section in ("classes",)}
    assert shown["classes"] and shown["classes"] <= recorded
    # The page has every number of the report, except for the parts of the gain, which a sentence states.
    metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    gain = metrics.pop("gain")
    everywhere = set(page.values())
    assert numbers_of(metrics) - everywhere == set()
    assert str(run.reports["test"].gain) in page.elements[0].text
    assert next(value for key, value in gain.items() if key.startswith("head_")) in everywhere


def _section(run, name):
    from keras_transfer.report.sections import SECTIONS

    content = read_content(run)
    made = [section for make in SECTIONS if (section := make(content)) is not None]
    return str(next(section.body for section in made if section.anchor == name))


def _compared(page):
    """The table next to the headline: values by name."""
    rows, elements = {}, page.elements
    start = next(i for i, element in enumerate(elements) if element.attributes.get("class") == "compare")
    for i, element in enumerate(elements[start:], start=start):
        if element.tag == "th" and element.attributes["scope"] == "row":
            rows[element.text] = next(float(e.attributes["value"]) for e in elements[i:] if e.tag == "data")
        if element.attributes.get("class") == "tiles":
            return rows
    return rows


def test_the_headline_is_compared_with_the_same_prediction_for_every_row(write_run, tmp_path):
    """Majority, base rates and mean come from the training rows, and their scores from the test rows."""
    for kind in ("class", "multilabel", "number"):
        run = write_run(tmp_path / kind, kind=kind, names=("a", "b", "c"), rows={**CELLS, "train": 91})
        rows = {name: split["rows"] for name, split in run.record["splits"].items()}
        train, test = ([row[1] for row in rows[name]] for name in ("train", "test"))
        shown = _compared(parse(make_page(read_content(run))))
        if kind == "class":
            majority = max("abc", key=train.count)
            assert shown[f"always {majority}"] == test.count(majority) / len(test)
        elif kind == "multilabel":
            rates = [np.mean([label in labels for labels in test]) for label in "abc"]
            assert shown["always the base rates"] == pytest.approx(np.mean(rates))
        else:
            errors = np.abs(np.array(test) - np.mean(train, axis=0)) / np.std(train, axis=0)
            assert shown["always the mean"] == pytest.approx(errors.mean(), rel=1e-4)
        assert shown["this run"] == getattr(run.reports["test"], run.head.figure.name)


@dataclass(frozen=True, kw_only=True)
class CostReport(Report):
    """A report that a package brings along."""

    cost: float

    def figures(self):
        return {"cost": self.cost, "words": "none"}

    @classmethod
    def read_figures(cls, values):
        return {"cost": values["cost"]}


@pytest.mark.parametrize(
    ("report", "words", "values"),
    [
        pytest.param(
            MaskedReport(split="test", n=5, loss=2.0, masked=40, accuracy=0.25),
            "of the masked tokens predicted correctly on 5 test rows",
            {0.25, 2.0},
            id="pre-training",
        ),
        pytest.param(CostReport(split="test", n=5, loss=2.0, cost=7.5), "cost", {2.0, 7.5}, id="plugin"),
    ],
)
def test_reports_without_targets_have_fewer_sections(write_run, tmp_path, report, words, values):
    page = check(make_page(Content(write_run(tmp_path / "run"), report)))
    assert [name for name in anchors(page) if name in WHOLE] == ["overview", "training", "counts", "details"]
    assert words in page.elements[0].text and values <= set(page.values())


def test_examples_that_are_predicted_from_another_source(write_run, tmp_path, monkeypatch):
    """``report --data`` shows the rows of the source, not those of the run."""
    from keras_transfer.report import content, page

    run = write_run(tmp_path / "run", names=("a", "b"))
    rows = Rows(("x.png", "y.png"), np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]], np.float32))
    monkeypatch.setattr(content, "predict_rows", lambda run, split: rows)
    monkeypatch.setattr(Run, "read_source", lambda self, data, root=None: type("Split", (), {"name": "test"})())
    written = page.write_source_page(run, "/data/other images/<b>.csv")
    assert written == run.folder / "report-b-.csv.html"
    text = check(written.read_text(encoding="utf-8")).elements[0].text
    assert "on 2 test rows" in text and "50.0" in text


def test_levels_of_confidence_match_counts():
    from keras_transfer.report.sections.abstention import find_levels

    random = np.random.default_rng(0)
    confidence = random.integers(1, 9, 60) / 10  # many ties
    right = random.random(60) < confidence
    levels = find_levels(confidence, right)
    assert [level.confidence for level in levels] == sorted(set(confidence), reverse=True)
    for level in levels:
        kept = confidence >= level.confidence
        assert (level.rows, level.coverage) == (kept.sum(), kept.mean())
        assert level.accuracy == pytest.approx(right[kept].mean())


def _write_export(run, version, proof):
    """An export of which the page reads nothing but its description and its size."""
    folder = run.folder / "export" / "saved_model" / version
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(bytes(1_490_000))
    tensor = {"name": "pixels", "dtype": "float32", "shape": [None, 8, 8, 3]}
    described = {
        **{"format_version": 1, "keras_transfer": "0.1.0", "task": run.config.task, "names": list(run.target.names)},
        **{"inputs": [tensor], "outputs": [], "predictions_output": "probabilities", "preprocessing": {}, "head": {}},
        **{"recipe": {}, "record": {}, "quantize": "int8", "proof": proof},
    }
    (folder / "assets.extra" / "keras_transfer.json").write_text(json.dumps(described), encoding="utf-8")


def test_quantized_exports_and_their_metric_drops(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    proof = {
        **{"quantize": "int8", "metric": "accuracy", "split": "test", "rows": 656, "before": 0.878, "after": 0.8763},
        **{"drop": 0.0017, "interval": [-0.0122, 0.0152], "max_drop": 0.01},
    }
    _write_export(run, "1", proof)
    _write_export(run, "2", {**proof, "interval": [None, None], "split": "<b>"})
    # Not quantized, and untrusted values.
    for number, odd in enumerate((None, {}, {**proof, "metric": "x"}, {**proof, "interval": [0]}), start=3):
        _write_export(run, str(number), odd)
    page = check(write_page(run).read_text(encoding="utf-8"))
    (section,) = [one for one in page.all("section") if one.attributes["id"] == "quantized"]
    assert "export/saved_model/1" in section.text and "export/saved_model/3" not in section.text
    minus, space = "\u2212", "\u202f"
    for shown in ("int8", "656 test", f"87.8{space}%", f"87.6{space}%", f"{minus}0.17{space}%", f"{minus}1.00{space}%"):
        assert shown in section.text
    assert f"{minus}1.52{space}% to +1.22{space}%" in section.text
    assert {656.0, 0.878, 0.8763, -0.0017, -0.0152, 0.0122, -0.01} <= set(page.values())
    assert any(1.49 < value < 1.492 for value in page.values()), "in megabytes, with the description"


def test_a_page_is_small_however_many_classes_there_are(write_run, tmp_path):
    names = [f"species {number:04} of the large family" for number in range(300)]
    run = write_run(tmp_path / "run", names=names, rows={"train": 300, "validation": 0, "test": 300}, with_gain=False)
    text = write_page(run).read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert "and 100 more in metrics.json" in check(text).elements[0].text


@pytest.mark.slow
def test_five_thousand_classes(write_run, tmp_path):
    names = [f"species {number:04}" for number in range(5000)]
    run = write_run(tmp_path / "run", names=names, rows={"train": 5000, "validation": 0, "test": 5000}, with_gain=False)
    text = write_page(run).read_text(encoding="utf-8")
    assert len(text) < 600_000 and check(text)


# Colours.


def _palettes():
    """The colours of the style sheet, in light and in dark."""
    import re

    from keras_transfer.report.html import _ENVIRONMENT

    style = _ENVIRONMENT.get_template("style.css").render()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    light, dark = (dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks)
    shades = r"\.matrix \.(right|wrong)\.l(\d) \{ background: rgba\(var\(--\w+\), ([\d.]+)\)"
    levels = re.findall(shades, style)
    return {"light": light, "dark": {**light, **dark}}, levels


def _rgb(colour):
    if colour.startswith("#"):
        return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)
    return np.array([float(part) for part in colour.split(",")])


def _contrast(first, second):
    """WCAG 2.2, contrast ratio."""

    def luminance(rgb):
        share = rgb / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_aa_in_both_schemes(scheme):
    palettes, levels = _palettes()
    colours = palettes[scheme]
    usual = ("ink", "soft", "accent")
    grounds = {"page": usual, "card": usual, "note": ("ink",), "rail": ("soft",)}
    for ground, texts in grounds.items():
        for text in texts:
            assert _contrast(_rgb(colours[text]), _rgb(colours[ground])) >= 4.5, (text, ground)
    for line in [f"c{number}" for number in range(1, 9)]:
        assert _contrast(_rgb(colours[line]), _rgb(colours["page"])) >= 3, line
    assert len(levels) == 20
    for kind, level, share in levels:
        shade = float(share) * _rgb(colours[kind]) + (1 - float(share)) * _rgb(colours["page"])
        assert _contrast(_rgb(colours["ink"]), shade) >= 4.5, (kind, level)


# Cross-validation.


@pytest.fixture
def several(write_run, tmp_path):
    from keras_transfer.recipe.cross_validation import _summarise
    from keras_transfer.run.folder import write_json

    folder = tmp_path / "several"
    runs = [write_run(folder / f"fold-{number + 1}", names=("a", "b", "c"), seed=number) for number in range(3)]
    summary = _summarise([run.reports["test"].to_json() for run in runs])
    write_json(folder / "summary.json", {**summary, "runs": [run.folder.name for run in runs]})
    return folder


def test_the_page_of_a_cross_validation_pools_its_test_rows(several, command):
    result = command("report", several)
    assert (result.exit_code, result.stdout) == (0, f"Report: {several / 'report.html'}\n")
    page = check((several / "report.html").read_text(encoding="utf-8"))
    summary = json.loads((several / "summary.json").read_text(encoding="utf-8"))
    assert numbers_of({name: figure for name, figure in summary["test"].items()}) - set(page.values()) == set()
    assert numbers_of(summary["confusion"]) - set(page.values()) == set()
    assert "mean of 3 runs" in page.elements[0].text
    losses = {"before": [], "after": []}
    for run in (Run(several / name) for name in summary["runs"]):
        part, temperature = run.predictions["test"], run.head.calibration.values[0]
        logits = np.log(part.predicted.astype(np.float64))
        for name, each in (("before", temperature * logits), ("after", logits)):
            losses[name] += (-log_softmax(each, axis=1)[np.arange(len(each)), part.targets]).tolist()
    for expected in map(np.mean, losses.values()):
        assert min(abs(expected - value) for value in page.values()) < 1e-5
    assert abs(np.mean(losses["before"]) - np.mean(losses["after"])) > 1e-3
    assert "each run is calibrated on rows of its own" in page.elements[0].text
    again = command("report", several, "--out", "other.html")
    assert again.stdout == "Report: other.html\n"


# predictions.npz.


def test_predictions_match_the_rows_in_data_json(write_run, tmp_path):
    run = write_run(tmp_path / "run", names=("a", "b", "c"))
    predicted = run.predictions["test"]
    rows = run.record["splits"]["test"]["rows"]
    assert [run.target.names[index] for index in predicted.targets] == [row[1] for row in rows]
    again = run.head.report("test", predicted.predicted, predicted.targets)
    recorded = run.reports["test"]
    assert (again.loss, again.confusion) == (recorded.loss, recorded.confusion)
