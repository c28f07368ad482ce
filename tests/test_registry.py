import sys

import pytest

from keras_transfer.errors import BackboneError, PolicyError
from keras_transfer.registry import Registry, did_you_mean, nearest_names


@pytest.fixture
def colours():
    registry = Registry("colour", PolicyError)
    registry.add("black", 1)
    registry.add("green", 2)
    registry.add("blue", 3)
    return registry


def test_values_are_found_by_name_and_listed_in_insertion_order(colours):
    assert list(colours) == ["black", "green", "blue"]
    assert [colours[name] for name in colours] == [1, 2, 3]
    assert len(colours) == 3
    assert "black" in colours
    assert "Black" not in colours


def test_add_returns_the_value():
    assert Registry("thing", BackboneError).add("a", "value") == "value"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("grren", "Did you mean green?"), ("GREEN", "Did you mean green?"), ("xyz", "Known: black, blue, green.")],
)
def test_an_unknown_name_is_refused_with_a_suggestion(colours, name, hint):
    with pytest.raises(PolicyError) as caught:
        colours[name]
    assert str(caught.value) == f"There is no colour named {name!r}. {hint}"


def test_a_duplicate_name_is_refused_and_its_value_is_unchanged(colours):
    with pytest.raises(PolicyError, match=r"There is a colour named .black. already\. Choose another name\."):
        colours.add("black", 9)
    assert colours["black"] == 1


def test_nearest_names_are_at_most_three_best_first():
    known = ["ResNet50", "ResNet50V2", "ResNet101", "ResNet152", "VGG16"]
    assert nearest_names("resnet50", known)[0] == "ResNet50"
    assert len(nearest_names("resnet", known)) == 3
    assert nearest_names("zzz", known) == []


def test_did_you_mean_lists_all_names_if_none_is_near():
    assert did_you_mean("zzz", ["b", "a"]) == "Known: a, b."


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """``offer("a-package", "red", "module:NAME")``: a package that offers an entry point, on the import path."""

    def call(package, name, value):
        folder = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[keras_transfer.colours]\n{name} = {value}\n")

    (tmp_path / "paint_box.py").write_text("RED = {'code': 4}\n")
    (tmp_path / "spilt_box.py").write_text("raise RuntimeError('no paint')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return call


def plugged(**options):
    registry = Registry("colour", PolicyError, group="keras_transfer.colours", **options)
    registry.add("green", 2)
    return registry


def test_an_entry_point_is_loaded_only_when_its_name_is_looked_up(offer):
    offer("paint-box", "red", "paint_box:RED")
    registry = plugged(take=lambda loaded: loaded["code"])
    sys.modules.pop("paint_box", None)
    assert list(registry) == ["green", "red"]
    assert len(registry) == 2
    assert "red" in registry
    assert "paint_box" not in sys.modules
    assert registry["red"] == 4
    assert list(registry) == ["green", "red"]


def test_an_unknown_name_is_refused_with_the_names_of_plugins_too(offer):
    offer("paint-box", "red", "paint_box:RED")
    with pytest.raises(PolicyError, match=r"^There is no colour named 'blue'\. Known: green, red\.$"):
        plugged()["blue"]


def test_a_plugin_that_cannot_be_imported_is_named_with_its_package(offer):
    offer("spilt-box", "red", "spilt_box:RED")
    with pytest.raises(PolicyError, match=r"cannot be loaded from spilt_box:RED \(spilt-box\): RuntimeError: no paint"):
        plugged()["red"]


def test_two_plugins_of_one_name_are_both_named(offer):
    offer("paint-box", "red", "paint_box:RED")
    offer("other-box", "red", "other_box:RED")
    with pytest.raises(PolicyError, match=r"other_box:RED \(other-box\), paint_box:RED \(paint-box\)"):
        plugged()["red"]


def test_built_ins_take_precedence_over_plugins_of_the_same_name(offer):
    offer("paint-box", "green", "paint_box:RED")
    assert plugged()["green"] == 2
