"""Heads in recipes: their names, the targets that they are for, and their settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from keras_transfer.config.from_python import read_mark
from keras_transfer.config.schema import HeadConfig, ThresholdConfig
from keras_transfer.config.section import Section
from keras_transfer.errors import ConfigError
from keras_transfer.registry import Registry, did_you_mean

TARGETS = ("class", "multilabel", "number")
"""The values of ``data.target``."""


@dataclass(frozen=True)
class HeadEntry:
    """What the schema of recipes needs from a head.

    Attributes:
        target: The ``data.target`` that the head is for.
        settings: The keys of ``head.settings``, with their types and defaults.
    """

    target: str
    settings: type[Section]

    @classmethod
    def read(cls, head: Any) -> "HeadEntry":
        """Read the entry from the class of a head.

        Args:
            head: A subclass of :class:`keras_transfer.heads.TargetHead`.

        Raises:
            ConfigError: ``head`` is not such a class.
        """
        target, settings = getattr(head, "target", None), getattr(head, "settings_type", None)
        if not isinstance(head, type) or target not in TARGETS:
            raise ConfigError(
                f"A head must be a subclass of ClassificationHead, MultilabelHead, NumberHead or TargetHead. "
                f"Received: {head!r}. See docs/extend/heads.md."
            )
        if not (isinstance(settings, type) and issubclass(settings, Section)):
            raise ConfigError(
                f"The settings_type of head {head.__name__} must be a subclass of Section. Received: {settings!r}. "
                "See docs/extend/heads.md."
            )
        return cls(target, settings)


HEAD_ENTRIES: Registry[HeadEntry] = Registry("head", ConfigError, group="keras_transfer.heads", take=HeadEntry.read)
"""Heads by name, found without importing a head of the package itself."""

for _target in TARGETS:
    HEAD_ENTRIES.add(_target, HeadEntry(_target, Section))


def explain_head(head: HeadConfig, target: str) -> Iterator[str]:
    """Yield the problems with a recipe's head, one line each.

    Args:
        target: The recipe's ``data.target``.
    """
    name = target if head.name is None else head.name
    if name not in HEAD_ENTRIES:
        given = read_mark(name)
        if given is not None:
            yield (
                f"head.name: {given} was passed from Python and is not stored in the file. Pass it again: head={given}."
            )
        else:
            names = [known for known in HEAD_ENTRIES if read_mark(known) is None]
            yield f"head.name: there is no {name!r}. {did_you_mean(name, names)}"
        return
    entry = HEAD_ENTRIES[name]
    if entry.target != target:
        yield (
            f"head.name: {name} is for data.target={entry.target}. Received: data.target={target}. "
            f"Leave head.name out, or set data.target={entry.target}."
        )
    yield from _explain_settings(name, entry.settings, head.settings)


def explain_threshold(threshold: ThresholdConfig, target: str, *, validates: bool) -> Iterator[str]:
    """Yield the problems with ``head.threshold``, one line each; names are checked when the data is read.

    Args:
        target: The recipe's ``data.target``.
    """
    if target == "number":
        yield "head.threshold: numbers have no thresholds, and data.target is number. Leave it out."
        return
    given = [key for key in ("value", "metric", "costs") if getattr(threshold, key) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none of them"
        yield f"head.threshold: expected one of value, metric and costs. Received: {found}. Keep one."
    for key in ("metric", "costs"):
        if key in given and not validates:
            yield (
                f"head.threshold.{key}: thresholds are chosen on validation rows, and data.validation is 0. "
                "Set data.validation, or head.threshold.value."
            )
    if threshold.positive is not None and target == "multilabel":
        yield "head.threshold.positive: each label has a threshold of its own (data.target=multilabel). Leave it out."
    elif threshold.positive is not None and threshold.costs is not None:
        yield "head.threshold.positive: head.threshold.costs names both classes, so it changes nothing. Leave it out."


def _explain_settings(name: str, section: type[Section], values: Mapping[str, Any]) -> Iterator[str]:
    try:
        section.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = ".".join(str(part) for part in detail["loc"])
            keys = list(section.model_fields)
            if detail["type"] == "extra_forbidden":
                hint = did_you_mean(path, keys) if keys else "It has no settings."
                yield f"head.settings.{path}: head {name} does not use this key. {hint}"
            else:
                message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
                yield f"head.settings.{path}: {message}. Received: {detail['input']!r:.80}."
