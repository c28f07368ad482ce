"""The contract of heads: the project's own satisfy it, and the check finds those that do not."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_transfer import HEADS, ClassificationHead, ConfigError, ImageClassification, NumberHead, Section
from keras_transfer.config.from_python import read_mark
from keras_transfer.config.heads import HEAD_ENTRIES
from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.heads import make_head
from keras_transfer.testing import check_head

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "heads.md"
OWN = ("class", "multilabel", "number")


@pytest.mark.parametrize("name", OWN)
def test_own_heads_satisfy_the_contract(name):
    assert HEADS[name].target == name
    check_head(HEADS[name])


def test_the_heads_are_those_of_the_targets_and_that_of_pretraining():
    assert [name for name in HEADS if read_mark(name) is None] == [*OWN, "masked", "transcript"]
    assert [name for name in HEAD_ENTRIES if read_mark(name) is None] == list(OWN)


class LabelHead(ClassificationHead):
    target = "label"


class BareSettings(Section):
    scale: float = 1.0


class BareHead(ClassificationHead):
    settings_type = BareSettings


class LambdaHead(ClassificationHead):
    def read_out(self, pooled):
        return keras.layers.Lambda(lambda x: 2 * x)(super().read_out(pooled))


class NamelessHead(ClassificationHead):
    def read_out(self, pooled):
        return keras.layers.Dense(len(self.names))(pooled)


class NanHead(ClassificationHead):
    def loss(self, *, label_smoothing):
        class Broken(keras.losses.Loss):
            def call(self, y_true, y_pred):
                return keras.ops.sum(y_pred, axis=-1) * float("nan")

        return Broken()


class OtherLossHead(ClassificationHead):
    def loss(self, *, label_smoothing):
        return keras.losses.CategoricalHinge()


class ForgetfulHead(NumberHead):
    @classmethod
    def restore(cls, names, config, facts):
        return cls(names, config, (0.0,) * len(names), (1.0,) * len(names))


class ServingHead(ClassificationHead):
    def serving_outputs(self, predicted):
        return {**super().serving_outputs(predicted), "probabilities": 0.5 * predicted}


class SolvedHead(ClassificationHead):
    def solve(self, *arguments, **options):
        solved = super().solve(*arguments, **options)
        return type(solved)(-solved.kernel, -solved.bias, solved.strength, solved.loss)


class ReportHead(ClassificationHead):
    def score(self, predicted, targets, counts):
        return 1.0 - super().score(predicted, targets, counts)


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (LabelHead, "names its target"),
        (BareHead, "every setting has a description"),
        (LambdaHead, "Lambda layer"),
        (NamelessHead, "in the layer `last_layer`"),
        (NanHead, "loss and metrics are finite"),
        (OtherLossHead, r"row_losses\(\) are those of loss"),
        (ForgetfulHead, r"restore\(\) makes the same head"),
        (ServingHead, "served outputs are the predictions"),
        (SolvedHead, "lower loss than a constant"),
        (ReportHead, r"score\(\) is the report's figure"),
    ],
)
def test_a_head_that_breaks_the_contract_is_refused_with_the_rule(head, rule):
    with pytest.raises(AssertionError, match=rule):
        check_head(head)


@pytest.fixture
def registries(monkeypatch):
    """What a test adds is removed after it."""
    for registry in (HEADS, HEAD_ENTRIES):
        monkeypatch.setattr(registry, "_values", dict(registry._values))
        registry.__dict__.pop("_plugins", None)
    yield
    for registry in (HEADS, HEAD_ENTRIES):
        registry.__dict__.pop("_plugins", None)


def run_page():
    space = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), space)
    return space


def parse(head, **data):
    values = {"task": "image_classification", "data": {"source": "x", **data}, "head": head}
    return parse_recipe(values, known={}, where="It")


@pytest.mark.usefixtures("registries")
def test_the_page_on_heads_runs_and_its_head_can_be_given_from_python():
    head = run_page()["CosineHead"]
    recipe = ImageClassification("x", head={"name": head, "settings": {"scale": 4.0}, "dropout": 0.1})
    assert recipe.config.head.name == "<python: CosineHead>"
    made = make_head(recipe.config, ("a", "b"), np.array([0, 1]))
    assert (type(made), made.settings.scale, made.config.dropout) == (head, 4.0, 0.1)
    assert ImageClassification("x", head=head).config.head.settings == {}
    given = head(("a", "b"), made.config)
    assert ImageClassification("x", head=given).config.head.settings == {"scale": 4.0}
    with pytest.raises(ConfigError, match=r"head\.settings\.scale: input should be greater than 0\. Received: -1"):
        ImageClassification("x", head={"name": head, "settings": {"scale": -1}})


def test_a_head_that_was_given_from_python_cannot_be_read_from_a_file():
    with pytest.raises(
        ConfigError, match=r"head\.name: Gone was passed from Python and is not stored in the file\. Pass it again"
    ):
        parse({"name": "<python: Gone>"})


@pytest.mark.usefixtures("registries")
def test_a_head_of_an_installed_package_is_found_by_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "cosines-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: cosines\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[keras_transfer.heads]\ncosine = cosines:CosineHead\n")
    (block, *_) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "cosines.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    config = parse({"name": "cosine", "settings": {"scale": 2.0}})
    made = make_head(config, ("a", "b"), np.array([0, 1]))
    assert type(made).__name__ == "CosineHead" and made.settings.scale == 2.0
    with pytest.raises(ConfigError) as caught:
        parse({"name": "cosine", "settings": {"scal": 2.0}}, target="number")
    message = str(caught.value)
    assert "head.name: cosine is for data.target=class. Received: data.target=number." in message
    assert "head.settings.scal: head cosine does not use this key. Did you mean scale?" in message


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"name": "cosine"}, r"head\.name: there is no 'cosine'\. Known: class, multilabel, number\."),
        ({"name": "number"}, r"head\.name: number is for data\.target=number\. Received: data\.target=class"),
        ({"settings": {"scale": 1}}, r"head\.settings\.scale: head class does not use this key\. It has no settings\."),
    ],
)
def test_a_head_that_does_not_fit_the_recipe(head, message):
    with pytest.raises(ConfigError, match=message):
        parse(head)
