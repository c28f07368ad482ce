"""docs/formats.md: what benchmarks/formats.py measured, for every family that the project lists."""

import runpy
from pathlib import Path

from keras_transfer.backbones import BACKBONES

ROOT = Path(__file__).parents[2]


def test_the_table_has_every_family(monkeypatch):
    # Other tests of the same process may have added a backbone of theirs.
    ours = {name: row for name, row in BACKBONES._values.items() if name != "pebble"}
    monkeypatch.setattr(BACKBONES, "_values", ours)
    families = runpy.run_path(str(ROOT / "benchmarks" / "formats.py"))["families"]()
    lines = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:]
    assert rows == list(families)
