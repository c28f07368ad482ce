"""Sections with several alternatives, of which the ``name`` chooses one."""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError, core_schema

from keras_transfer.config.section import Section
from keras_transfer.console.text import show_value
from keras_transfer.errors import TransferError
from keras_transfer.registry import Registry, did_you_mean, nearest_names


class ByName:
    """Annotates a field of a recipe: its ``name`` chooses the section, and with it the valid keys.

    Pydantic's own tagged unions are closed; here a package that is installed later can add a section.

    Args:
        sections: The sections by name; each has a field ``name`` whose only value is that name.
        default: The name if a recipe does not set one.
        without: Names that this task does not support.

    Example:
        >>> from typing import Annotated
        >>> from keras_transfer.config.policies import POLICY_SECTIONS, PolicyConfig
        >>> class Recipe(Section):
        ...     policy: Annotated[PolicyConfig, ByName(POLICY_SECTIONS, default="lp_ft")]
        >>> Recipe.model_validate({"policy": {"name": "lora", "rank": 4}}).policy.rank
        4
    """

    def __init__(self, sections: Registry[Any], *, default: str, without: Collection[str] = ()) -> None:
        self._sections = sections
        self._without = frozenset(without)
        self.default = default

    @staticmethod
    def of(field: FieldInfo) -> "ByName | None":
        """Return what annotates a field, or None."""
        return next((marker for marker in field.metadata if isinstance(marker, ByName)), None)

    @property
    def names(self) -> list[str]:
        """All valid names."""
        return [name for name in self._sections if name not in self._without]

    def choose(self, value: object) -> type[Section]:
        """Return the section for a value; for an unknown name, that of the nearest name."""
        if isinstance(value, Section):
            return type(value)
        name = value.get("name", self.default) if isinstance(value, Mapping) else self.default
        if name in self.names:
            return self._find(name)
        near = nearest_names(name, self.names) if isinstance(name, str) else []
        return self._find(near[0] if near else self.default)

    def _find(self, name: str) -> type[Section]:
        section: type[Section] = self._sections[name]
        return section

    def explain_name(self, value: object) -> str | None:
        """Return the problem with the name in a value, or None if it is valid."""
        name = value.get("name", self.default) if isinstance(value, Mapping) else self.default
        if not isinstance(name, str):
            return f"expected a name. Received: {show_value(name)}. Choose one of: {', '.join(sorted(self.names))}."
        if name in self.names:
            return None
        if name in self._without:
            return f"this task does not support {name!r}. Choose one of: {', '.join(sorted(self.names))}."
        return f"there is no {name!r}. {did_you_mean(name, self.names)}"

    def explain_key(self, value: object, key: str, *, section: str) -> str:
        """Return the problem with a key that the chosen section does not have."""
        chosen, users = self.choose(value), []
        for name in self.names:
            with contextlib.suppress(TransferError):  # a broken plugin is reported when it is chosen
                if key in self._find(name).model_fields:
                    users.append(name)
        if users and self.explain_name(value):
            return f"this key is used by: {', '.join(users)}."
        if users:
            name = chosen.model_fields["name"].default
            return (
                f"{name} does not use this key. It is used by: {', '.join(users)}. Leave it out; on the command line, "
                f"{section}={name} drops the other keys of the section."
            )
        return f"unknown key. {did_you_mean(key, chosen.model_fields)}"

    def _validate(self, value: Any) -> Section:
        if not isinstance(value, Section | Mapping):
            raise PydanticKnownError("model_type", {"class_name": "Section"})
        # The name of a section that was chosen as the nearest one is refused by the section itself.
        return self.choose(value).model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validate with the chosen section, and serialize with it."""
        write = core_schema.plain_serializer_function_ser_schema(
            lambda section, info: section.model_dump(mode=info.mode), info_arg=True
        )
        return core_schema.no_info_plain_validator_function(self._validate, serialization=write)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe one alternative per name; only the default is valid without a name."""
        alternatives = []
        for name in sorted(self.names, key=lambda name: name != self.default):
            keys = handler(self._find(name).__pydantic_core_schema__)
            # Not in the definition that it may refer to: tasks share that, but have other defaults.
            alternatives.append(keys if name == self.default else {**keys, "required": ["name"]})
        return {"oneOf": alternatives}
