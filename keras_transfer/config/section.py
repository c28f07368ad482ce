"""What all sections of a recipe share, and the types of their values."""

import os
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from keras_transfer.errors import ConfigError


def _write_number(value: object) -> object:
    """YAML reads the class 3 as a number and the class true as a boolean; in sources, both are text."""
    return str(value) if isinstance(value, int | float) else value


Name = Annotated[StrictStr, BeforeValidator(_write_number), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""The name of a class or a label, which a recipe may write as a number."""

FileName = Annotated[
    StrictStr,
    BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value),
    WithJsonSchema({"type": "string"}),
]
"""A file, which Python may give as a ``pathlib.Path``."""

Share = Annotated[StrictFloat, Field(ge=0.0, lt=1.0)]
Amount = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Probability = Annotated[StrictFloat, Field(gt=0.0, lt=1.0)]
Alpha = Annotated[StrictFloat, Field(ge=0.0)]
Count = Annotated[StrictInt, Field(ge=1)]
Rate = Annotated[StrictFloat, Field(gt=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of a recipe: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def is_set(section: Section, key: str) -> bool:
    """Return whether a key has a value other than its default."""
    default = type(section).model_fields[key].get_default(call_default_factory=True)
    return bool(getattr(section, key) != default)


class Configurable:
    """A part with its own settings, which a recipe gives next to its name.

    Args:
        settings: As :attr:`Settings` declares them.

    Raises:
        ConfigError: A setting is unknown or has a wrong type.
    """

    Settings: ClassVar[type[Section]] = Section
    """The settings that there are, each with a default; none by default."""

    settings: Any
    """The settings given, an instance of :attr:`Settings`."""

    def __init__(self, **settings: Any) -> None:
        try:
            self.settings = self.Settings(**settings)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            known = ", ".join(self.Settings.model_fields) or "none"
            raise ConfigError(f"{self.title_in_messages()}: {problems}. Settings: {known}.") from error

    @classmethod
    def title_in_messages(cls) -> str:
        """Return the name of the part in messages."""
        return cls.__name__


class NamedSettings(Section):
    """A registered part: ``NAME``, or ``{name: NAME, ...}`` with settings that the part declares."""

    model_config = ConfigDict(extra="allow")

    name: StrictStr

    @property
    def settings(self) -> dict[str, Any]:
        """The settings next to the name."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="before")
    @classmethod
    def _take_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _give_name(self, serialize: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        return serialize(self) if self.settings else self.name

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A name alone is also valid."""
        return {"anyOf": [{"type": "string"}, handler(core)]}
