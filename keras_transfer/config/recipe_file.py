"""From YAML and overrides to a checked recipe, and back to YAML."""

import copy
import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from keras_transfer.config.contradictions import find_contradictions
from keras_transfer.config.schema import (
    SCHEMAS,
    RecipeConfig,
)
from keras_transfer.errors import ConfigError
from keras_transfer.registry import did_you_mean


def parse_recipe(values: Mapping[str, Any], *, known: Mapping[str, Iterable[str]], where: str) -> RecipeConfig:
    """Check a recipe's values and fill in the defaults.

    Args:
        values: Nested sections as they come out of YAML.
        known: For each dotted path that names a registered thing, the names there are.
        where: What the values come from, for messages: a file or "the arguments".

    Returns:
        The recipe.

    Raises:
        ConfigError: All mistakes at once, a line each, with its path and the nearest known name.
    """
    task = values.get("task")
    schema = _find_schema(task)
    if schema is None:
        problem = "missing" if task is None else f"there is no {_shown(task)}"
        raise ConfigError(f"{where} has a mistake:\n  task: {problem}. {did_you_mean(str(task), SCHEMAS)}")
    unknown = {}
    for path, names in {"task": SCHEMAS, **known}.items():
        for place, value in _names_at(values, path):
            if value not in (names := list(names)):
                unknown[place] = f"{place}: there is no {value!r}. {did_you_mean(value, names)}"
    problems = list(unknown.values())
    config: RecipeConfig | None
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        problems += [line for path, line in _explain(error, schema).items() if path not in unknown]
        config = _salvage(values, error, schema)
    problems += find_contradictions(config) if config else []
    if problems or config is None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(f"{where} has {count}:\n" + "\n".join(f"  {line}" for line in problems))
    return config


def _find_schema(task: object) -> type[RecipeConfig] | None:
    """The schema of a task; of the nearest one where its name is misspelt, so that other mistakes are told along."""
    nearest = difflib.get_close_matches(str(task), SCHEMAS, n=1)
    return SCHEMAS[nearest[0]] if nearest else None


def _salvage(values: Mapping[str, Any], error: ValidationError, schema: type[RecipeConfig]) -> RecipeConfig | None:
    """What a recipe says without its mistakes, so that contradictions in the rest are told along with them."""
    rest = copy.deepcopy(dict(values))
    for detail in error.errors(include_url=False):
        section: Any = rest
        for key in detail["loc"]:
            if not isinstance(section, dict) or not isinstance(section.get(key), dict):
                break
            section = section[key]
        if isinstance(section, dict):
            section.pop(key, None)
    try:
        return schema.model_validate(rest)
    except ValidationError:  # a key that cannot be done without is missing
        return None


def _value_at(values: object, path: str) -> object:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _names_at(values: object, path: str) -> list[tuple[str, str]]:
    """The name that stands at a path, or the names in a list: each alone or with settings, ``{name: NAME}``."""
    value = _value_at(values, path)
    items = {f"{path}.{n}": item for n, item in enumerate(value)} if isinstance(value, list) else {path: value}
    named = {place: item.get("name") if isinstance(item, Mapping) else item for place, item in items.items()}
    return [(place, name) for place, name in named.items() if isinstance(name, str)]


def _explain(error: ValidationError, schema: type[RecipeConfig]) -> dict[str, str]:
    """A line a key: a union of types gives one error a type, which are told together."""
    messages: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        names = [str(part) for part in detail["loc"]]
        if detail["type"] in ("extra_forbidden", "invalid_key"):
            names = [name for name in names if name != "[key]"]
            message = f"unknown key. {did_you_mean(names[-1], _keys_at(names[:-1], schema))}"
        elif detail["type"] == "missing":
            message = "missing. Give it a value."
        elif detail["type"] == "model_type":
            keys = _listed(_keys_at(names, schema))
            message = f"a section of keys is due here. Received: {_shown(detail['input'])}. Keys: {keys}."
        else:
            # A union puts the type that it tried behind the key, as in data.test.float.
            names = [*names[:2], *(name for name in names[2:3] if not _UNION_TAG.fullmatch(name)), *names[3:]]
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}. Received: {_shown(detail['input'])}."
        messages.setdefault(".".join(names), []).append(message)
    return {path: f"{path}: {' Or: '.join(texts)}" for path, texts in messages.items()}


_UNION_TAG = re.compile(r"(constrained-)?(float|int|str)|(literal|dict|list)\[.*\]")


def _shown(value: object) -> str:
    """A short form: YAML's aliases make values of a few bytes whose full form fills a memory."""
    short = reprlib.Repr()
    short.maxstring, short.maxother, short.maxlevel = 80, 80, 2
    return short.repr(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _keys_at(path: Sequence[str], schema: type[RecipeConfig]) -> list[str]:
    section: type[BaseModel] = schema
    for key in path:
        if key.isdecimal():  # an item of a list, whose type the list's annotation names
            continue
        annotation = section.model_fields[key].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(section.model_fields)


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which moreover refuses a key that stands twice and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else None)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML follows, wants a dot in a float: 1e-3 would be a string.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _load_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem or error)
        if "could not determine a constructor" in problem:
            problem = "a recipe is plain data: YAML tags (!...) are refused"
        raise ConfigError(f"{where}{line}: {problem}. Mend the YAML there.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is no YAML: {str(error).splitlines()[0]}. Save it as plain UTF-8 text.") from error


def read_recipe(file: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe file and apply overrides; nothing is checked but the form.

    Args:
        file: The YAML file.
        overrides: ``section.key=value`` each, the value in YAML.

    Returns:
        Nested sections.

    Raises:
        ConfigError: The file cannot be read, does not parse, or an override has no ``=``.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"Recipe {file} cannot be read: {reason}. Name a recipe file.") from error
    values = _load_yaml(text, str(file))
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file} holds no recipe: sections such as `task:` and `data:` are due. See `keras-transfer list`."
        )
    for override in overrides:
        _apply_override(values, override)
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"An override is KEY=VALUE. Received: {override!r}. Write, say, training.epochs=3.")
    section = values
    for depth, key in enumerate(keys[:-1], start=1):
        inner = section.setdefault(key, {})
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"Override {override!r}: {'.'.join(keys[:depth])} is a value, not a section.")
        section = inner
    section[keys[-1]] = _load_yaml(text, f"Override {override!r}")


def write_recipe(config: RecipeConfig, file: Path) -> None:
    """Write a recipe with every default spelled out, so that it runs again whatever the defaults become."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
