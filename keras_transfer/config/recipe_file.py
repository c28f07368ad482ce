"""From YAML and overrides to a validated recipe, and back to YAML."""

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from keras_transfer.config.by_name import ByName
from keras_transfer.config.contradictions import find_contradictions
from keras_transfer.config.from_python import find_marks
from keras_transfer.config.overrides import apply_override
from keras_transfer.config.schema import SCHEMAS, RecipeConfig
from keras_transfer.config.section import Configurable
from keras_transfer.config.yaml_text import load_yaml
from keras_transfer.console.text import show_value
from keras_transfer.errors import ConfigError, TransferError
from keras_transfer.registry import Registry, did_you_mean

# Sections that mainly consist of a name.
_NAMED_SECTIONS = ("backbone", "head", "policy")


def expand_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Expand the short forms in a recipe: ``policy: full`` is short for ``policy: {name: full}``."""
    return {
        key: {"name": value} if key in _NAMED_SECTIONS and isinstance(value, str) else value
        for key, value in values.items()
    }


def parse_recipe(values: Mapping[str, Any], *, known: Mapping[str, Iterable[str]], where: str) -> RecipeConfig:
    """Validate a recipe's values and fill in the defaults.

    Args:
        known: The known names for each dotted path that refers to a registered object. If they are a registry of
            :class:`Configurable` parts, the settings next to a name are validated too.

    Raises:
        ConfigError: There are mistakes; all are reported at once, one line each, with the path and the nearest known
            name.
    """
    task = values.get("task")
    schema = _find_schema(task)
    if schema is None:
        problem = "missing" if task is None else f"there is no {_shown(task)}"
        hint = did_you_mean(task if isinstance(task, str) else "", SCHEMAS)
        raise ConfigError(f"{where} has a mistake:\n  task: {problem}. {hint}")
    unknown = {}
    for path, names in {"task": SCHEMAS, **known}.items():
        for place, value in _names_at(values, path):
            if value not in (names := list(names)):
                unknown[place] = f"{place}: there is no {value!r}. {did_you_mean(value, names)}"
    for key, by_name in _sections_by_name(schema):
        problem_of_name = by_name.explain_name(values.get(key))
        if problem_of_name:
            unknown[f"{key}.name"] = f"{key}.name: {problem_of_name}"
    problems = list(unknown.values())
    config: RecipeConfig | None
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        problems += [line for path, line in _explain(error, schema, values).items() if path not in unknown]
        config = _salvage(values, error, schema)
    for path, names in known.items():
        problems += _explain_settings(values, path, names) if isinstance(names, Registry) else ()
    problems += find_contradictions(config) if config else []
    if problems or config is None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(f"{where} has {count}:\n" + "\n".join(f"  {line}" for line in problems))
    return config


def _find_schema(task: object) -> type[RecipeConfig] | None:
    """The schema of a task; if the name is misspelt, of the nearest task, so that all mistakes are reported at once."""
    nearest = difflib.get_close_matches(task, SCHEMAS, n=1) if isinstance(task, str) else []
    return SCHEMAS[nearest[0]] if nearest else None


def _sections_by_name(schema: type[BaseModel]) -> list[tuple[str, ByName]]:
    return [(key, by_name) for key, field in schema.model_fields.items() if (by_name := ByName.of(field))]


def _salvage(values: Mapping[str, Any], error: ValidationError, schema: type[RecipeConfig]) -> RecipeConfig | None:
    """The recipe without its mistakes, so that contradictions in the rest are reported, too."""
    rest = copy.deepcopy(dict(values))
    for detail in error.errors(include_url=False):
        section: Any = rest
        place = _place(detail["loc"])
        if not place:  # a key that is not text
            return None
        for key in place:
            if not isinstance(section, dict) or not isinstance(section.get(key), dict):
                break
            section = section[key]
        if isinstance(section, dict):
            section.pop(key, None)
    for key, by_name in _sections_by_name(schema):
        if isinstance(rest.get(key), dict):  # the other keys belong to the name that was probably meant
            rest[key]["name"] = by_name.choose(values[key]).model_fields["name"].default
    try:
        return schema.model_validate(rest)
    except ValidationError:  # a required key is missing
        return None


def _value_at(values: object, path: str) -> object:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _items_at(values: object, path: str) -> dict[str, object]:
    """The value at a path or, if it is a list, its items, each with its own path."""
    value = _value_at(values, path)
    return {f"{path}.{n}": item for n, item in enumerate(value)} if isinstance(value, list) else {path: value}


def _names_at(values: object, path: str) -> list[tuple[str, str]]:
    """The name at a path, or the names in a list: each alone or with settings, ``{name: NAME}``."""
    items = _items_at(values, path).items()
    named = {place: item.get("name") if isinstance(item, Mapping) else item for place, item in items}
    return [(place, name) for place, name in named.items() if isinstance(name, str)]


def _explain_settings(values: object, path: str, parts: Registry[Any]) -> Iterator[str]:
    """One line per mistake in the settings next to a name, according to the part of that name."""
    for place, item in _items_at(values, path).items():
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or name not in parts:
            continue
        try:
            part = parts[str(name)]
        except TransferError as error:  # a plugin that cannot be loaded
            yield f"{place}: {error}"
            continue
        settings = {key: value for key, value in item.items() if key != "name"}
        if isinstance(part, type) and issubclass(part, Configurable):
            try:
                part.Settings.model_validate(settings)
            except ValidationError as error:
                yield from (f"{place}.{line}" for line in _explain(error, part.Settings, settings).values())


def _explain(error: ValidationError, schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, str]:
    """One line per key: a union of types results in one error per type, which are reported together."""
    messages: dict[str, list[str]] = {}
    details = error.errors(include_url=False)
    places = [_place(detail["loc"]) for detail in details]
    for detail, names in zip(details, places, strict=True):
        inside = any(other[: len(names)] == names and len(other) > len(names) for other in places)
        if isinstance(detail["input"], Mapping) and inside:
            continue  # it is a mapping, and the problem in it is reported
        if detail["type"] in ("extra_forbidden", "invalid_key"):
            message = _explain_unknown(names, schema, values)
        elif detail["type"] == "missing":
            message = "missing. Give it a value."
        elif detail["type"] == "model_type":
            keys = ", ".join(_section_at(names, schema, values).model_fields)
            message = f"expected a mapping. Received: {_shown(detail['input'])}. Keys: {keys}."
        else:
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}. Received: {_shown(detail['input'])}."
        messages.setdefault(".".join(names) or "a key", []).append(message)
    return {path: f"{path}: {' Or: '.join(texts)}" for path, texts in messages.items()}


def _place(loc: Sequence[int | str]) -> list[str]:
    """The keys of an error, without the types that pydantic tried, as in data.test.float."""
    names = [str(part) for part in loc]
    return [*names[:1], *(name for name in names[1:] if name != "[key]" and not _UNION_TAG.fullmatch(name))]


def _explain_unknown(names: Sequence[str], schema: type[BaseModel], values: Mapping[str, Any]) -> str:
    for key, by_name in _sections_by_name(schema):
        if names[:-1] == [key]:
            return by_name.explain_key(values[key], names[-1], section=key)
    return f"unknown key. {did_you_mean(names[-1], _section_at(names[:-1], schema, values).model_fields)}"


_UNION_TAG = re.compile(r"(constrained-)?(float|int|str)|(literal|dict|list)\[.*\]|OtherSource")


def _shown(value: object) -> str:
    """A short form of a value: with YAML's aliases, a few bytes can expand to a value that fills the memory."""
    return show_value(value, maxstring=80, maxother=80, maxlevel=2)


def _section_at(path: Sequence[str], schema: type[BaseModel], values: Mapping[str, Any]) -> type[BaseModel]:
    section: type[BaseModel] = schema
    for key in path:
        if key.isdecimal():  # an item of a list, whose type the list's annotation names
            continue
        field = section.model_fields[key]
        by_name = ByName.of(field)
        if by_name is not None:
            section = by_name.choose(values.get(key))
            continue
        candidates = [field.annotation, *get_args(field.annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return section


def read_recipe(file: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe file and apply overrides; the keys and values are validated by :func:`parse_recipe`.

    Args:
        overrides: Each ``section.key=value``, with the value in the format of the key's type: a number, a text, or a
            list or mapping in YAML.

    Raises:
        ConfigError: The file cannot be read or parsed, or an override has no ``=``.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"Recipe {file} cannot be read: {reason}. Name a recipe file.") from error
    values = load_yaml(text, str(file))
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file} is not a recipe: expected sections such as `task:` and `data:`. See `keras-transfer list`."
        )
    return apply_overrides(values, overrides)


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a recipe with overrides.

    Args:
        values: Nested sections; modified in place.
        overrides: Each ``section.key=value``.

    Raises:
        ConfigError: An override has no ``=``.
    """
    for override in sorted(overrides, key=lambda override: not override.startswith("task=")):
        apply_override(values, override, _find_schema(values.get("task")))
    return expand_names(values)


def write_recipe(config: RecipeConfig, file: Path) -> None:
    """Write a recipe with every default spelled out, so that it runs the same if defaults change later."""
    values = config.model_dump(mode="json")
    given = list(find_marks(values))
    note = (
        "# This file alone does not repeat the run. These were given from Python, and have to be given again:\n"
        f"# {', '.join(given)}\n"
    )
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    file.write_text((note if given else "") + text, encoding="utf-8")


def describe_recipes(task: str | None = None) -> dict[str, Any]:
    """Return the JSON schema of recipes.

    Args:
        task: The task whose recipes are described; None for all tasks.

    Returns:
        A schema of JSON Schema draft 2020-12. It has the keys, types, ranges and defaults of every section;
        contradictory settings are found by `keras-transfer check`.

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
