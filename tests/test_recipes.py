"""The bundled recipes: whole headers, and nothing against them."""

from pathlib import Path

import pytest

from keras_transfer import Recipe
from keras_transfer.config.catalog import bundled_recipes

RECIPES = bundled_recipes()
FAST = ("image/quickstart",)


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_has_the_command_and_the_expected_result(name):
    text = RECIPES[name].file.read_text()
    assert f"keras-transfer run {name}" in text
    figures = ("accuracy", "mean average precision", "mean absolute error", "word error rate")
    assert any(figure in RECIPES[name].expected for figure in figures) and "seed" in RECIPES[name].expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_states_only_what_differs_from_the_defaults(name):
    import yaml

    from keras_transfer.config.schema import SCHEMAS

    values = yaml.safe_load(RECIPES[name].file.read_text())
    bare = SCHEMAS[values["task"]].model_validate({"task": values["task"], "data": {"source": "x"}}).model_dump()
    same = [
        f"{section}.{key}"
        for section, keys in values.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
        if bare[section].get(key) == value
    ]
    assert same == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in RECIPES]
)
def test_it_has_no_problems(name):
    recipe, header = Recipe.from_file(name), RECIPES[name].file.read_text()
    if "audio_data.py" in header and not Path(recipe.config.data.source).exists():
        pytest.skip(f"no {recipe.config.data.source}: python benchmarks/audio_data.py sounds makes it")
    recipe.check()
