"""YAML in recipes: plain data, without values that YAML reads in a surprising way."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import yaml

from keras_transfer.errors import ConfigError, first_line


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses duplicate keys and octal numbers, and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a duplicate key: PyYAML would use the last one."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key if isinstance(key, str) else None)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse 010, which YAML 1.1 reads as 8, and 1:30, which it reads as 90."""
        if re.match(r"[-+]?0[0-9_]", node.value) or ":" in node.value:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{node.value} can be read as a number or as text. Write the number without leading zeros or colons, "
                f'or the text in quotes: "{node.value}"',
                node.start_mark,
            )
        return super().construct_yaml_int(node)


StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_yaml_int)

# YAML 1.1, which PyYAML follows, requires a dot in a float: 1e-3 would be a string.
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        ConfigError: It is not YAML, or not plain data; the message has the line.
    """
    with _explained(where):
        return yaml.load(text, StrictLoader)


def compose_yaml(text: str, where: str) -> yaml.Node | None:
    """Return a YAML document as nodes, before plain scalars become numbers, booleans and dates.

    Raises:
        ConfigError: It is not YAML; the message has the line.
    """
    with _explained(where):
        return yaml.compose(text, StrictLoader)


@contextlib.contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem or error)
        if "could not determine a constructor" in problem:
            problem = "YAML tags (!...) are refused, because a recipe is plain data"
        raise ConfigError(f"{where}{line}: {problem}. Fix the YAML there.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not YAML: {first_line(error)}. Save it as plain UTF-8 text.") from error
