"""Parts that a recipe names, alone or with settings: trackers, export formats."""

from typing import Any, ClassVar

from pydantic import ValidationError

from keras_transfer.config.section import Section
from keras_transfer.errors import ConfigError


class NoSettings(Section):
    """No settings."""


class Configurable:
    """A part that declares its own settings, which a recipe gives beside its name.

    Args:
        settings: As :attr:`Settings` declares them.

    Raises:
        ConfigError: A setting is unknown or has a wrong type.
    """

    Settings: ClassVar[type[Section]] = NoSettings
    """The settings that there are, each with a default."""

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
        """Return what messages call the part."""
        return cls.__name__
