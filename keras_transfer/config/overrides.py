"""Overrides on the command line: ``section.key=value``, parsed according to the type of the key.

YAML alone would read ``data.label=007`` as a number, ``data.label=yes`` as a boolean, and ``data.separator=#`` as null.
"""

import contextlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from keras_transfer.config.by_name import ByName
from keras_transfer.config.yaml_text import StrictLoader, compose_yaml, load_yaml
from keras_transfer.errors import ConfigError

_ANYTHING = (Any, object)
_PLAIN_TAGS = ("str", "null", "bool", "int", "float", "timestamp", "seq", "map", "merge", "value")


@dataclass(frozen=True)
class _Expected:
    """The types that a key accepts, flattened: a union has several."""

    types: tuple[Any, ...]

    @classmethod
    def of(cls, annotation: Any) -> "_Expected":
        return cls(tuple(_flatten(annotation)))

    @property
    def is_known(self) -> bool:
        """Whether the types determine how to read a value."""
        return bool(self.types) and not any(one in _ANYTHING for one in self.types)

    @property
    def sections(self) -> list[type[BaseModel]]:
        return [one for one in self.types if isinstance(one, type) and issubclass(one, BaseModel)]

    @property
    def takes_text(self) -> bool:
        # A section that mainly consists of a name can be given by its name.
        return str in self.types or any("name" in section.model_fields for section in self.sections)

    def takes(self, value: Any) -> bool:
        """Whether the key accepts a number, a boolean or null."""
        if value is None:
            return type(None) in self.types
        if isinstance(value, bool):
            return bool in self.types
        return isinstance(value, (int, float)) and bool({int, float} & set(self.types))

    def takes_literally(self, text: str) -> bool:
        return any(get_origin(one) is Literal and text in get_args(one) for one in self.types)

    def inside(self, container: type) -> "tuple[Any, ...] | None":
        """The type arguments of the list or mapping among the types, or None."""
        for one in self.types:
            origin = get_origin(one) or one
            if origin is container or (container is list and origin is tuple):
                return get_args(one) or (Any, Any)
        return None


def _flatten(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _flatten(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _flatten(one)
    else:
        yield annotation


def apply_override(values: dict[str, Any], override: str, schema: type[BaseModel] | None) -> None:
    """Set one key of a recipe.

    Args:
        values: Nested sections; modified in place.
        override: ``section.key=value``.
        schema: The schema of the recipe's task; None if the task is unknown: values are then read as YAML.

    Raises:
        ConfigError: There is no ``=``, a part of the path is a value, or a list or mapping is not YAML.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"Expected an override KEY=VALUE, such as training.epochs=3. Received: {override!r}.")
    section, expected = values, _Expected((schema,) if schema else ())
    for depth, key in enumerate(keys[:-1], start=1):
        expected = _inside(expected, key, section)
        inner = section.setdefault(key, {})
        if inner is None:
            inner = section[key] = {}
        if isinstance(inner, str) and any("source" in one.model_fields for one in expected.sections):
            inner = section[key] = {"source": inner}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"Override {override!r}: {'.'.join(keys[:depth])} is a value, not a section. Name a section."
            )
        section = inner
    try:
        section[keys[-1]] = _parse(text, _inside(expected, keys[-1], section), f"Override {override!r}")
    except RecursionError as error:  # an anchor within itself
        raise ConfigError(f"Override {keys[-1]!r}: the value contains itself. Write it out.") from error


def _inside(expected: _Expected, key: str, values: Mapping[str, Any]) -> _Expected:
    """The types of a key of a section or of a mapping; the section's name among its values may determine the keys."""
    for section in expected.sections:
        field = section.model_fields.get(key)
        if field is None:
            continue
        by_name = ByName.of(field)
        if by_name is not None:
            value = values.get(key)
            return _Expected((by_name.choose({"name": value} if isinstance(value, str) else value),))
        return _Expected.of(field.annotation)
    mapping = expected.inside(dict)
    return _Expected(()) if mapping is None else _Expected.of(mapping[1])


def _parse(text: str, expected: _Expected, where: str) -> Any:
    if not expected.is_known:
        # The key is unknown, or may have any value; an unknown key is reported with all other mistakes.
        with contextlib.suppress(ConfigError):
            return load_yaml(text, where)
        return text
    plain = text.strip()
    sections = bool(expected.sections)
    collections = {
        "[": sections or expected.inside(list) is not None,
        "{": sections or expected.inside(dict) is not None,
    }
    if collections.get(plain[:1]) or not (expected.takes_text or _has_literals(expected)):
        return _construct(compose_yaml(text, where), expected, where)
    if plain[:1] in ("'", '"'):
        with contextlib.suppress(yaml.YAMLError):
            node = yaml.compose(text, StrictLoader)
            if isinstance(node, yaml.ScalarNode) and node.style == plain[0]:
                return node.value
    # White space alone may be a separator.
    return _convert(plain if plain or not expected.takes_text else text, expected)


def _has_literals(expected: _Expected) -> bool:
    return any(get_origin(one) is Literal for one in expected.types)


def _convert(text: str, expected: _Expected) -> Any:
    """A number, a boolean or null if the key accepts it, else the text."""
    if expected.takes_literally(text):
        return text
    value = None if text == "" else text
    # In YAML, ~ is also null; on the command line it is an ordinary character.
    if text not in ("", "~"):
        with contextlib.suppress(ConfigError):
            loader = StrictLoader("")
            tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            node = yaml.ScalarNode(tag, text)
            value = text if node.tag.endswith(":str") else _construct_scalar(node)
    return value if expected.takes(value) or not expected.takes_text else text


def _construct_scalar(node: yaml.ScalarNode) -> Any:
    loader = StrictLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError):
        return node.value


def _construct(node: yaml.Node | None, expected: _Expected, where: str) -> Any:
    """The value of a YAML node, in which plain scalars are text if text is expected."""
    if node is None:
        return None
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _PLAIN_TAGS:
        raise ConfigError(f"{where}: YAML tags (!...) are refused, because a recipe is plain data. Remove them.")
    if isinstance(node, yaml.ScalarNode):
        if node.style is not None or node.tag.endswith(":str"):
            return node.value
        return _convert(node.value, expected) if expected.is_known else _construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        items = expected.inside(list)
        inner = _Expected.of(items[0]) if items else _Expected(())
        return [_construct(item, inner, where) for item in node.value]
    values: dict[str, Any] = {}
    for key_node, value in node.value:
        key = str(key_node.value)
        if key in values:
            raise ConfigError(f"{where}: duplicate key {key!r}. Keep one.")
        values[key] = _construct(value, _inside(expected, key, {}), where)
    return values
