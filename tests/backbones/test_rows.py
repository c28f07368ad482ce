"""Backbones that installed packages offer: one entry-point group for images and texts."""

import json
import re
from pathlib import Path

import pytest

from keras_transfer import BACKBONES, BackboneError, TransferWarning
from keras_transfer.backbones.rows import find_row, list_rows
from keras_transfer.backbones.texts.rows import TextBackboneRow, load_text_backbone

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "backbones.md"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install("shapes = page:shapes")``: a package whose module ``page`` is the page on backbones."""
    monkeypatch.setattr(BACKBONES, "_values", dict(BACKBONES._values))

    def call(*entries):
        folder = tmp_path / "drawn-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: drawn\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("\n".join(["[keras_transfer.backbones]", *entries]) + "\n")
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        (tmp_path / "page.py").write_text("\n".join(blocks[:2]))
        monkeypatch.syspath_prepend(tmp_path)
        BACKBONES.__dict__.pop("_plugins", None)

    yield call
    BACKBONES.__dict__.pop("_plugins", None)


def test_a_package_adds_backbones_for_images_and_texts(install, command, images):
    install("shapes = page:shapes", "words = page:words")
    assert BACKBONES["shapes"].load(weights="none", image_size=32).image_size == 32
    assert load_text_backbone("words", weights="none").family == "bert"
    rows = {row["name"]: row for row in json.loads(command("backbones", "--json").stdout) if "family" not in row}
    assert (rows["shapes"]["modality"], rows["words"]["modality"]) == ("image", "text")
    assert rows["words"]["available"] is False
    settings = ("backbone.name=shapes", "backbone.weights=none", "data.image_size=32", "policy.name=head")
    recipe = Path("own.yaml")
    recipe.write_text(f"task: image_classification\ndata: {{source: {images}}}\n", encoding="utf-8")
    assert command("check", recipe, *settings).exit_code == 0
    wrong = command("check", recipe, "backbone.name=words")
    assert wrong.exit_code == 2
    assert "Backbone words is for text input, and this recipe has image input." in wrong.stderr


def test_a_broken_package_does_not_hide_others(install):
    install("gone = page:no_such_name", "wrong = page:build", "words = page:words")
    with pytest.warns(TransferWarning) as warned:
        names = {row.name for row in list_rows("text")}
    assert names == {"minilm", "words"}
    messages = [str(warning.message) for warning in warned]
    assert any("'gone' cannot be loaded from page:no_such_name" in message for message in messages)
    with pytest.raises(BackboneError, match="must be an ImageBackboneRow, a TextBackboneRow or an AudioBackboneRow"):
        find_row("wrong", TextBackboneRow)
