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


def test_values_come_back_by_name_in_the_order_in_which_they_were_added(colours):
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
def test_an_unknown_name_is_answered_with_the_nearest(colours, name, hint):
    with pytest.raises(PolicyError) as caught:
        colours[name]
    assert str(caught.value) == f"There is no colour named {name!r}. {hint}"


def test_a_name_that_is_taken_is_refused_and_keeps_its_value(colours):
    with pytest.raises(PolicyError, match=r"There is a colour named .black. already\. Choose another name\."):
        colours.add("black", 9)
    assert colours["black"] == 1


def test_nearest_names_are_the_best_first_and_three_at_most():
    known = ["ResNet50", "ResNet50V2", "ResNet101", "ResNet152", "VGG16"]
    assert nearest_names("resnet50", known)[0] == "ResNet50"
    assert len(nearest_names("resnet", known)) == 3
    assert nearest_names("zzz", known) == []


def test_did_you_mean_lists_all_where_none_is_near():
    assert did_you_mean("zzz", ["b", "a"]) == "Known: a, b."
