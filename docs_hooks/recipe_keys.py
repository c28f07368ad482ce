"""Every recipe key with its values, its default and what it does, from the schema of recipes."""

import json
from collections.abc import Container, Iterator
from typing import Any

from generated import add_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

from keras_transfer.config.schema import SCHEMAS

WORDS = {"object": "mapping", "boolean": "`true` or `false`", "null": "`null`"}
PLURALS = {"string": "strings", "number": "numbers", "integer": "integers", "mapping": "mappings"}
Schema = dict[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page per task."""
    add_pages({f"reference/recipes/{task}.md": _page(task) for task in SCHEMAS}, files, config)
    return files


def _page(task: str) -> str:
    schema = SCHEMAS[task].model_json_schema()
    definitions, keys = schema.get("$defs", {}), schema["properties"]
    plain = {key: value for key, value in keys.items() if not _sections(value, definitions)}
    parts = [
        f"# {task}",
        schema.get("description", ""),
        f"```sh\nkeras-transfer schema {task}\n```",
        "This prints what is on this page as a JSON schema, for editors. A recipe states what differs from the "
        "defaults; the `recipe.yaml` of a run has every key. On the command line: `SECTION.KEY=VALUE`.",
        "## Keys outside of sections",
        _list("", plain, definitions),
    ]
    for name, value in keys.items():
        choices = _sections(value, definitions)
        parts += [f"## {name}"] if choices else []
        for choice in choices:
            chosen = choice["properties"].get("name", {}).get("const") if len(choices) > 1 else None
            parts += [f"### {name}: {chosen}"] if chosen else []
            rows = {key: inner for key, inner in choice["properties"].items() if not (chosen and key == "name")}
            parts += [choice.get("description", ""), _list(f"{name}.", rows, definitions, choice.get("required", ()))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(value: Schema, definitions: Schema) -> list[Schema]:
    """The sections that a key may have: one, or several to choose from by name; none if its value is not a section."""
    if "$ref" in value:
        return _sections(definitions[value["$ref"].rpartition("/")[2]], definitions)
    if "oneOf" in value:
        return [section for choice in value["oneOf"] for section in _sections(choice, definitions)]
    return [value] if "properties" in value else []


def _list(prefix: str, keys: Schema, definitions: Schema, required: Container[str] = ()) -> str:
    return "\n\n".join(_entries(prefix, keys, definitions, required))


def _entries(prefix: str, keys: Schema, definitions: Schema, required: Container[str]) -> Iterator[str]:
    """Definitions: what fits on a phone is a list, not a table of four columns."""
    for key, value in keys.items():
        inner = _sections(value, definitions)
        if inner and isinstance(value.get("default"), dict):  # a section of a section, such as early_stopping
            yield from _entries(f"{prefix}{key}.", inner[0]["properties"], definitions, inner[0].get("required", ()))
            continue
        is_required = key in required or ("default" not in value and "const" not in value)
        default = "required" if is_required else f"default `{_yaml(value.get('const', value.get('default')))}`"
        described = value.get("description", "").replace("<", "&lt;") or "the task of the recipe"
        yield f"`{prefix}{key}`\n:   {described}\n\n    {default}; {_values(value, definitions)}"


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _values(value: Schema, definitions: Schema) -> str:
    """The type of a key with its range, in words."""
    if "const" in value:
        return f"always `{value['const']}`"
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    for several in ("anyOf", "oneOf"):
        if several in value:
            return " or ".join(dict.fromkeys(_values(choice, definitions) for choice in value[several]))
    if "$ref" in value:
        return _values(definitions[value["$ref"].rpartition("/")[2]], definitions)
    kind = value.get("type", "any value")
    if isinstance(kind, list):
        return " or ".join(WORDS.get(one, one) for one in kind)
    if kind == "array":
        items = _values(value["items"], definitions) if "items" in value else "values"
        return f"list of {' or '.join(PLURALS.get(item, item) for item in items.split(' or '))}"
    return f"{WORDS.get(kind, kind)}{_range(value)}"


def _range(value: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "&lt;"}
    numbers = {key: f"{value[key]:,}".removesuffix(".0") for key in signs if key in value}
    bounds = [f"{signs[key]} {number}" for key, number in numbers.items()]
    return f" {' and '.join(bounds)}" if bounds else ""
