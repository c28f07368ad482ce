import copy
import functools
import json

import pytest
import yaml

from keras_transfer.config.catalog import bundled_recipes
from keras_transfer.config.recipe_file import describe_recipes, parse_recipe
from keras_transfer.config.schema import SCHEMAS
from keras_transfer.errors import ConfigError

jsonschema = pytest.importorskip("jsonschema")


@functools.cache
def validator_of(task):
    schema = describe_recipes(task)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    return validator


def errors(values, task=None):
    found = validator_of(task).iter_errors(values)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


@pytest.mark.parametrize("name", sorted(bundled_recipes()))
def test_bundled_recipes_are_valid_and_those_with_a_wrong_key_or_value_are_not(name):
    values = yaml.safe_load(bundled_recipes()[name].file.read_text(encoding="utf-8"))
    assert errors(values) == []
    assert errors(values, values["task"]) == []
    (error,) = errors({**values, "trainin": {}}, values["task"])
    assert "'trainin' was unexpected" in error
    (error,) = errors({**values, "training": {**values.get("training", {}), "epochs": 0}}, values["task"])
    assert error == "training.epochs: 0 is less than the minimum of 1"


@pytest.mark.parametrize("task", sorted(SCHEMAS))
def test_a_recipe_that_a_run_writes_is_valid(task):
    config = parse_recipe({"task": task, "data": {"source": "x"}}, known={}, where="It")
    assert errors(config.model_dump(mode="json"), task) == []


@pytest.mark.parametrize(
    ("policy", "valid"),
    [
        ({}, True),
        ({"stages": 3}, True),
        ({"name": "lora", "rank": 4}, True),
        ({"name": "lp_ft", "rank": 4}, False),
        ({"rank": 4}, False),
        ({"name": "lpft"}, False),
        ({"name": "head", "head_solver": "solv"}, False),
        ("lora", False),
    ],
)
def test_a_policy_has_its_own_keys(policy, valid):
    values = {"task": "image_classification", "data": {"source": "x"}, "policy": policy}
    assert (errors(values) == []) is valid


def test_pretraining_has_its_own_default_and_list_of_policies():
    values = {"task": "text_pretraining", "data": {"source": "x"}, "policy": {"batch_norm": "frozen"}}
    assert errors(values) == []
    assert errors({**values, "policy": {"stages": 3}}) != []  # a key of lp_ft, which is not the default here
    assert errors({**values, "policy": {"name": "auto"}}) != []


def test_every_key_has_a_description():
    def bare(schema, path):
        for key, value in schema.get("properties", {}).items():
            is_section = "properties" in value or {"$ref", "allOf", "oneOf", "anyOf"} & set(value)
            if not is_section and not value.get("description") and key not in ("task", "name"):
                yield f"{path}.{key}"

    schema = describe_recipes()
    assert [line for name, inner in schema["$defs"].items() for line in bare(copy.deepcopy(inner), name)] == []


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"There is no task 'image'\. Known: audio_classification, image_classification, speech_",
    ):
        describe_recipes("image")


def test_the_command_prints_the_schema_of_a_task_or_of_all(command):
    one = json.loads(command("schema", "text_pretraining").stdout)
    assert one == describe_recipes("text_pretraining")
    assert json.loads(command("schema").stdout) == describe_recipes()
    result = command("schema", "text_pretrain")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: There is no task 'text_pretrain'. Did you mean text_pretraining?\n"
