"""The page on writing a tracker is true: its tracker records a run, and a package offers it to recipes."""

import csv
import re
import sys
from pathlib import Path

from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.section import NamedSettings
from keras_transfer.registry import Registry
from keras_transfer.trackers import TRACKERS
from keras_transfer.trackers.base import make_trackers
from keras_transfer.trackers.composite import Trackers

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "trackers.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def block(language, number):
    return [text for kind, text in BLOCKS if kind == language][number]


def test_the_example_records_a_run_and_satisfies_the_contract(play, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    exec(block("python", 0), names)
    play.whole(Trackers([names["Leaderboard"](file="cells.csv")]))
    with open("cells.csv", newline="") as file:
        assert list(csv.reader(file)) == [["mine", "3", "0.875"]]
    exec(block("python", 2), names)
    with open("test.csv", newline="") as file:
        assert list(csv.reader(file)) == [["check-tracker", "3", "0.75"]]


def test_a_package_that_offers_it_adds_its_name_to_recipes(tmp_path, monkeypatch):
    entry = re.search(r"leaderboard = \"(\w+):(\w+)\"", block("toml", 0))
    (tmp_path / f"{entry[1]}.py").write_text(block("python", 0), encoding="utf-8")
    metadata = tmp_path / f"{entry[1]}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {entry[1]}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(block("toml", 0).replace('"', "").replace("[project.entry-points.", "["))
    monkeypatch.syspath_prepend(tmp_path)
    fresh = Registry("tracker", TRACKERS._error, group=TRACKERS._group, take=TRACKERS._take)
    recipe = {"task": "image_classification", "data": {"source": "cells"}}
    recipe["trackers"] = [{"name": "leaderboard", "file": "cells.csv"}]
    config = parse_recipe(recipe, known={"trackers": fresh}, where="The page")
    assert config.trackers == [NamedSettings(name="leaderboard", file="cells.csv")]
    monkeypatch.setattr("keras_transfer.trackers.base.TRACKERS", fresh)
    (tracker,) = make_trackers(config.trackers)
    assert type(tracker).__name__ == entry[2]
    assert tracker.settings.file == "cells.csv"
    monkeypatch.delitem(sys.modules, entry[1])
