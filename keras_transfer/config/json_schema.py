"""Recipes as a JSON schema, by which editors complete and check recipe files."""

from typing import Any

from pydantic.json_schema import models_json_schema

from keras_transfer.config.schema import SCHEMAS
from keras_transfer.errors import ConfigError
from keras_transfer.registry import did_you_mean


def describe_recipes(task: str | None = None) -> dict[str, Any]:
    """Return the JSON schema of recipes.

    Args:
        task: The task whose recipes are described; None for all tasks.

    Returns:
        A schema of JSON Schema draft 2020-12. It has the keys, types, ranges and defaults of every section; settings
        that contradict each other are found by `keras-transfer check`.

    Raises:
        ConfigError: There is no such task.
    """
    if task is not None and task not in SCHEMAS:
        raise ConfigError(f"There is no task {task!r}. {did_you_mean(task, SCHEMAS)}")
    names = list(SCHEMAS) if task is None else [task]
    references, definitions = models_json_schema([(SCHEMAS[name], "validation") for name in names])
    recipes = [references[SCHEMAS[name], "validation"] for name in names]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A recipe of keras-transfer"}
    return {**head, **(recipes[0] if task else {"oneOf": recipes}), **definitions}
