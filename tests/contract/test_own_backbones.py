"""The contract of backbones, as the author of a plugin runs it."""

import re
from dataclasses import fields, replace
from pathlib import Path

import keras
import pytest

from keras_transfer import BACKBONES, BackboneError, InputContract
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.testing import check_backbone

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "backbones.md"
FAST = ("efficientnet_lite0",)
NAMES = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
    for name in BACKBONES
    if BACKBONES[name].parameters < 25_000_000
]


@pytest.fixture(scope="module", autouse=True)
def forget_networks():
    yield
    keras.backend.clear_session()


@pytest.mark.parametrize("name", NAMES)
def test_own_backbones_satisfy_the_contract(name):
    check_backbone(BACKBONES[name])


BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
CHECKS = [block for block in BLOCKS if "check_backbone(" in block]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """What the page on backbones defines; what it adds is removed after the test. Its checks are for one test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(BACKBONES, "_values", dict(BACKBONES._values))
    space = {"__name__": "page"}
    for block in BLOCKS:
        if block not in CHECKS:
            exec(compile(block, str(PAGE), "exec"), space)
    return space


@pytest.mark.slow
def test_the_rows_of_the_page_on_backbones_satisfy_the_contract(page):
    assert [sorted(re.findall(r"check_backbone\((\w+)\)", block)) for block in CHECKS] == [
        ["shapes", "sounds", "words"]
    ]
    exec(compile(CHECKS[0], str(PAGE), "exec"), page)


def test_the_page_on_backbones_runs_and_its_rows_load(page, tmp_path):
    assert not page["shapes"].available and not page["words"].available
    with pytest.raises(BackboneError, match="text backbone words"):
        page["words"].load()
    random = BACKBONES["shapes"].load(weights="none")
    random.network.save_weights(tmp_path / "shapes.weights.h5")
    assert BACKBONES["shapes"].available
    loaded = BACKBONES["shapes"].load(image_size=32)
    assert (loaded.image_size, str(loaded.weights)) == (32, "pretrained")
    assert all((a == b).all() for a, b in zip(loaded.network.get_weights(), random.network.get_weights(), strict=True))
    BACKBONES.add("words", page["words"])
    assert load_text_backbone("words", weights="none", pooling="masked").family == "bert"


def linear(size):
    pixels = keras.Input((size, size, 3))
    return keras.Model(pixels, keras.layers.Conv2D(4, 3, name="one")(pixels))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"parameters": 1}, "it has the row's parameters"),
        ({"stages": 4}, "as many stages as the row says"),
        ({"minimum_size": 128}, "image_size is at least minimum_size"),
        ({"weights_source": ""}, "weights_source says"),
        ({"build": linear, "parameters": 112, "stages": 1}, "its graph can be cut into stages"),
    ],
)
def test_a_row_that_breaks_the_contract_is_refused_with_the_rule(page, change, rule):
    with pytest.raises(AssertionError, match=rule):
        check_backbone(replace(page["shapes"], **change))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"stages": 4}, "as many stages as the row says"),
        ({"samples": 1600}, "it can be built for `samples`"),
        (
            {"front_end": lambda samples: keras.ops.reshape(samples[:, :3200], (-1, 16, 200, 1))},
            "the front end gives the shape",
        ),
    ],
)
def test_a_row_for_recordings_that_breaks_the_contract_is_refused_with_the_rule(page, change, rule):
    with pytest.raises(AssertionError, match=rule):
        check_backbone(replace(page["sounds"], **change))


def test_a_network_that_redraws_its_weights_breaks_the_contract(page):
    class Forgetful(type(page["shapes"])):
        def load(self, *, weights="pretrained", image_size=None):
            backbone = super().load(weights=weights, image_size=image_size)
            backbone.network.set_weights([weight + 1 for weight in backbone.network.get_weights()])
            return backbone

    values = {field.name: getattr(page["shapes"], field.name) for field in fields(page["shapes"])}
    with pytest.raises(AssertionError, match="weights come back from"):
        check_backbone(Forgetful(**values))


def test_a_contract_that_is_not_applied_breaks_the_contract(page):
    class Raw(type(page["shapes"])):
        def load(self, **options):
            return replace(super().load(**options), contract=InputContract())

    values = {field.name: getattr(page["shapes"], field.name) for field in fields(page["shapes"])}
    with pytest.raises(AssertionError, match="applies the input contract"):
        check_backbone(Raw(**values))
