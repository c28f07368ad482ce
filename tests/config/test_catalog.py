import pytest

from keras_transfer.config import catalog
from keras_transfer.config.catalog import bundled_recipes, find_recipe, recipes_folder
from keras_transfer.errors import ConfigError


def test_every_file_under_recipes_is_listed_by_task_and_name_with_a_summary():
    recipes = bundled_recipes()
    files = {file.relative_to(recipes_folder()).with_suffix("").as_posix() for file in recipes_folder().rglob("*.yaml")}
    assert set(recipes) == files
    assert "image/quickstart" in files
    assert list(recipes) == sorted(recipes)
    assert [name for name, recipe in recipes.items() if not recipe.summary or not recipe.file.is_file()] == []


def test_a_header_has_the_summary_and_the_expected_result(tmp_path, monkeypatch):
    (tmp_path / "image").mkdir()
    header = "# Solar cells: a first run\n# keras-transfer run image/a\n# expected: test accuracy 0.905 +- 0.004\n"
    (tmp_path / "image" / "a.yaml").write_text(header + "task: image_classification\n", encoding="utf-8")
    (tmp_path / "image" / "b.yaml").write_text("task: image_classification\n", encoding="utf-8")
    monkeypatch.setattr(catalog, "recipes_folder", lambda: tmp_path)
    recipes = bundled_recipes()
    assert recipes["image/a"].summary == "Solar cells: a first run"
    assert recipes["image/a"].expected == "test accuracy 0.905 +- 0.004"
    assert (recipes["image/b"].summary, recipes["image/b"].expected) == ("", "")


def test_a_recipe_is_found_by_bundled_name_or_as_a_file(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("task: image_classification\n", encoding="utf-8")
    assert find_recipe("image/quickstart") == recipes_folder() / "image" / "quickstart.yaml"
    assert find_recipe(str(own)) == own


@pytest.mark.parametrize("name", ["image/quickstrat", "quickstart"])
def test_an_unknown_recipe_is_refused_with_the_nearest_name(name):
    with pytest.raises(ConfigError) as caught:
        find_recipe(name)
    assert repr(name) in str(caught.value)
    assert "Did you mean image/quickstart" in str(caught.value)
