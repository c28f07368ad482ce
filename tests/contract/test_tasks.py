"""The contract of tasks: the project's own satisfy it, and the check finds those that do not."""

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from keras_transfer import (
    SCHEMAS,
    TASKS,
    ConfigError,
    ImageClassification,
    ImageClassificationTask,
    Recipe,
    Run,
    TextClassification,
    TextPretraining,
)
from keras_transfer.testing import check_task

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "extend" / "tasks.md"
SMALL = runpy.run_path(str(TESTS / "recipe" / "test_text_recipe.py"))
preset, table = SMALL["preset"], SMALL["table"]

QUICK = {"policy": "full", "training": {"epochs": 1, "batch_size": 8}, "export": {"formats": []}}


@pytest.fixture
def registries(monkeypatch):
    """What a test adds is removed after it."""
    for registry in (TASKS, SCHEMAS):
        monkeypatch.setattr(registry, "_values", dict(registry._values))


def test_image_classification_satisfies_the_contract(images, pebble):
    recipe = ImageClassification(str(images), backbone="pebble", **QUICK)
    check_task(recipe, inputs=sorted(map(str, images.glob("*/*")))[::9])


@pytest.mark.slow
def test_text_classification_satisfies_the_contract(table, preset):
    recipe = TextClassification(str(table), text="review", label="animal", backbone=preset, **QUICK)
    check_task(recipe, inputs=["the cat, a sofa", "bark", "the dog in a park"])


@pytest.mark.slow
def test_text_pretraining_satisfies_the_contract(table, preset):
    check_task(TextPretraining(str(table), text="review", backbone=preset, **QUICK))


class Shuffled(ImageClassificationTask):
    """Predicts in the wrong order."""

    def predict(self, run, examples):
        return sorted(super().predict(run, examples), key=lambda prediction: prediction.input)


class Forgetful(ImageClassificationTask):
    """Reports something else after the run."""

    def evaluate(self, run, split):
        return replace(super().evaluate(run, split), loss=9.0)


class Opaque(ImageClassificationTask):
    """Records what is not JSON."""

    def describe_examples(self, reader, loaded, prepared):
        return (), {"reader": reader}


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        pytest.param(Shuffled(), "in the order of the inputs", marks=pytest.mark.slow),
        pytest.param(Forgetful(), "gives the recorded loss", marks=pytest.mark.slow),
        (Opaque(), "plain JSON"),
    ],
)
def test_a_task_that_breaks_the_contract_is_refused_with_the_rule(task, rule, images, pebble, monkeypatch):
    monkeypatch.setitem(TASKS._values, "image_classification", task)
    recipe = ImageClassification(str(images), backbone="pebble", **QUICK)
    inputs = sorted(map(str, images.glob("*/*")))[::16]
    with pytest.raises(AssertionError, match=f"The contract of task 'image_classification': .*{rule}"):
        check_task(recipe, inputs=inputs)


@pytest.mark.slow
@pytest.mark.usefixtures("registries")
def test_the_page_on_tasks_runs_and_its_task_makes_a_run(images, pebble, tmp_path):
    space = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), space)
    recipe = space["CostedImages"](str(images), backbone="pebble", cost={"miss": 5.0}, **QUICK)
    run = recipe.fit(tmp_path / "run")
    metrics = json.loads((run.folder / "metrics.json").read_text())["test"]
    right = [
        prediction.label == Path(prediction.input).parent.name
        for prediction in run.predict([images / name for name, _ in run.record["splits"]["test"]["rows"]])
    ]
    assert metrics["cost"] == pytest.approx(5.0 * (1 - sum(right) / len(right)))
    assert Run(run.folder).evaluate().cost == pytest.approx(metrics["cost"])
    with pytest.raises(ConfigError, match=r"cost\.mis: unknown key\. Did you mean miss\?"):
        Recipe(str(images), task="costed_classification", cost={"mis": 1.0})


def test_a_recipe_without_a_task_is_an_error_that_names_the_known_tasks():
    with pytest.raises(ConfigError, match="Known: audio_classification, image_classification, speech_to_text, text_"):
        Recipe("images/")
    with pytest.raises(ConfigError, match=r"There is no task named 'image_clasification'. Did you mean"):
        Recipe("images/", task="image_clasification")
