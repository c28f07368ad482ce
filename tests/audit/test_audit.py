import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_transfer import ImageClassification, Recipe
from keras_transfer.audit.result import Audit
from keras_transfer.data.checks.findings import Finding, read_findings
from keras_transfer.errors import ConfigError, TransferError
from keras_transfer.recipe.source_task import find_task, names_recipe
from keras_transfer.report.page import write_audit_page

SMALL = ["backbone.name=tiny", "backbone.weights=none", "data.image_size=32"]


@pytest.fixture
def flawed(images):
    """Two classes of 16 images, with a copy of another class, a broken file, a blank one, and a class of one image."""
    shutil.copy(images / "cat" / "002.png", images / "dog" / "copy.png")
    shutil.copy(images / "cat" / "004.png", images / "cat" / "again.png")
    (images / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (64, 64)).save(images / "cat" / "blank.png")
    (images / "Cat ").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(images / "Cat " / "a.png")
    return images


def test_a_folder_is_audited_and_corrected(flawed, command, tiny, tmp_path):
    out = tmp_path / "audit"
    result = command("audit", flawed, *SMALL, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"Written to {out}: audit.csv, relabel.csv, audit.html" in result.stdout
    assert "The rows cannot be divided as a run would do it" in result.stdout  # one class has one row
    found = read_findings(out / "audit.csv")
    by_kind = {kind: sorted(one.example for one in found if one.kind == kind) for kind in (one.kind for one in found)}
    expected = {
        "broken": ["dog/broken.png"],
        "blank": ["cat/blank.png"],
        "conflicting_labels": ["cat/002.png", "dog/copy.png"],
        "duplicate": ["cat/again.png"],
        "label_twins": [""],
        "few_rows": [""],
        "imbalance": [""],
    }
    assert {kind: by_kind[kind] for kind in expected} == expected
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "Conflicting labels (2)" in page
    assert ">dog/copy.png</bdi>" in page

    # What the user leaves in the file is left out of a run; the class of one image is merged into the other.
    kept = [line for line in (out / "audit.csv").read_text().splitlines() if ",suspicious_label," not in line]
    (out / "audit.csv").write_text("\n".join(kept))
    recipe = ImageClassification(
        {"source": str(flawed), "image_size": 32, "exclude": out / "audit.csv", "merge_labels": True},
        backbone={"name": "tiny", "weights": "none"},
        policy="head",
    )
    record = recipe.prepare().record
    assert record["skipped"] == []
    left = {row[0]: row[1] for split in record["splits"].values() for row in split["rows"]}
    assert len(left) == 32  # of 37: without the broken and the blank one, both copies of 002, and a copy of 004
    assert "dog/copy.png" not in left
    assert left["Cat /a.png"] == "cat"


def test_from_python(images, tiny):
    found = Recipe.for_source(str(images), SMALL).audit()
    values = json.loads(json.dumps(found.to_json()))
    assert values["rows"] == {"train": 21, "validation": 4, "test": 7}
    assert [one["example"] for one in values["findings"]] == [one.example for one in found.findings]
    assert found.to_frame().columns.tolist()[:4] == ["example", "split", "label", "kind"]


def test_suggested_labels_are_written_once():
    findings = (
        Finding("suspicious_label", "a", "train", "x", "", 0.9, "y"),
        Finding("conflicting_labels", "a", "train", "x", "", 0.8, "z"),
        Finding("label_twins", label="x", suggested_label="X"),
        Finding("suspicious_label", "a", "test", "x", "", 0.7, "w"),
    )
    table = Audit("s", {}, findings).suggested_labels()
    assert table.to_dict("list") == {"example": ["a", "a"], "split": ["train", "test"], "label": ["y", "w"]}


def test_the_page_escapes_names(tmp_path):
    finding = Finding("outlier", "<script>x", "train", "\u202eab", "\x1b[31m", 1.0)
    audit = Audit("<b>", {"train": 3}, (finding,), previews={("train", "<script>x"): "<i>text"})
    page = write_audit_page(audit, tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in page and "<i>" not in page and "\x1b" not in page
    assert "&lt;script&gt;x" in page and "&lt;i&gt;text" in page


def test_the_task_is_inferred_from_the_source(tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("review,stars\ngood,5\n", encoding="utf-8")
    (tmp_path / "both.csv").write_text("path,text,label\na.png,good,5\n", encoding="utf-8")
    (tmp_path / "texts" / "good").mkdir(parents=True)
    (tmp_path / "texts" / "good" / "1.txt").write_text("good")
    image, text = "image_classification", "text_classification"
    assert find_task("reviews.csv", ["data.text=review", "data.label=stars"]) == text
    assert [find_task(name, []) for name in (str(images), "texts", "solar_cells", "bbc_headlines")] == [
        image,
        text,
        image,
        text,
    ]
    assert find_task("both.csv", ["task=text_classification"]) == text
    assert find_task("both.csv", ["data.image_size=64"]) == image
    for source, match in (
        ("both.csv", "ambiguous: 2 tasks can read it. Add one of: task=image_classification, task=text_classification"),
        ("reviews.csv", r"is unknown. Set data.path=COLUMN \(recordings or images\) or data.text=COLUMN \(texts\)"),
        ("tfds:x", "3 tasks can read it"),
        ("nowhere", "Data source 'nowhere' not found"),
    ):
        with pytest.raises(TransferError, match=match):
            find_task(source, [])
    shutil.copy(images / "cat" / "000.png", tmp_path / "texts" / "good")
    with pytest.raises(ConfigError, match="2 tasks can read it"):
        find_task("texts", [])
    assert names_recipe("text/bbc_news")
    assert not names_recipe("texts")
    (tmp_path / "text" / "bbc_news").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"it is a bundled recipe and also data in .*write ./text/bbc_news"):
        names_recipe("text/bbc_news")


def test_check_prints_what_was_found(flawed, command, tiny):
    shutil.rmtree(flawed / "Cat ")
    (flawed / "dog" / "broken.png").unlink()
    recipe = flawed.parent / "own.yaml"
    recipe.write_text(f"task: image_classification\ndata: {{source: {flawed}}}\n", encoding="utf-8")
    result = command("check", recipe, *SMALL)
    assert result.exit_code == 0, result.output
    assert "conflicting_labels" in result.stdout
    assert "`keras-transfer audit` lists all of them" in result.stdout
