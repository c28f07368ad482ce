"""The new layers on top of a backbone, with their loss, metrics, report and outputs for serving."""

import itertools
from collections.abc import Mapping
from typing import Any, cast

from keras_transfer.config.from_python import mark_object
from keras_transfer.config.heads import HEAD_ENTRIES, HeadEntry
from keras_transfer.config.schema import HeadConfig, RecipeConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import ConfigError
from keras_transfer.heads.base import LOGITS, Head
from keras_transfer.heads.classification import ClassificationHead, ClassificationReport, ClassPrediction, ClassReport
from keras_transfer.heads.epoch_metrics import EpochMetric, Mode
from keras_transfer.heads.masked import MaskedLanguageHead, MaskedReport, evaluate_masked
from keras_transfer.heads.multilabel import LabelReport, MultilabelHead, MultilabelPrediction, MultilabelReport
from keras_transfer.heads.number import NumberHead, NumberPrediction, NumberReport, RegressionReport
from keras_transfer.heads.predictions import BrokenInput, Prediction, RankedPrediction
from keras_transfer.heads.target import TargetHead
from keras_transfer.heads.transcripts import Segment, Transcript, TranscriptHead, TranscriptReport
from keras_transfer.heads.word_errors import measure_transcripts
from keras_transfer.networks.types import JsonObject
from keras_transfer.registry import Registry

__all__ = [
    "HEADS",
    "LOGITS",
    "BrokenInput",
    "ClassPrediction",
    "ClassReport",
    "ClassificationHead",
    "ClassificationReport",
    "EpochMetric",
    "Head",
    "LabelReport",
    "MaskedLanguageHead",
    "MaskedReport",
    "Mode",
    "MultilabelHead",
    "MultilabelPrediction",
    "MultilabelReport",
    "NumberHead",
    "NumberPrediction",
    "NumberReport",
    "Prediction",
    "RankedPrediction",
    "RegressionReport",
    "Segment",
    "TargetHead",
    "Transcript",
    "TranscriptHead",
    "TranscriptReport",
    "evaluate_masked",
    "find_head",
    "make_head",
    "measure_transcripts",
    "name_head",
    "restore_head",
]


class _Heads(Registry[type[Head]]):
    """A head that is added also adds its settings to the schema of recipes."""

    def add(self, name: str, value: type[Head]) -> type[Head]:
        super().add(name, value)
        if name not in HEAD_ENTRIES and issubclass(value, TargetHead):
            HEAD_ENTRIES.add(name, HeadEntry.read(value))
        return value


HEADS: Registry[type[Head]] = _Heads("head", ConfigError, group="keras_transfer.heads")
"""The heads by the recipe's ``head.name``, by default its ``data.target``; ``masked`` is that of pre-training, and
``transcript`` that of speech recognition."""

for _head in (ClassificationHead, MultilabelHead, NumberHead):
    HEADS.add(_head.target, _head)
HEADS.add("masked", MaskedLanguageHead)
HEADS.add("transcript", TranscriptHead)


def name_head(value: Any) -> Any:
    """Name a head that was given from Python, so that the ``head`` section of a recipe can hold it.

    The class is added to :data:`HEADS` under a unique name. A class that is defined again, as in a notebook, replaces
    the earlier one.

    Args:
        value: A section; a class of heads; an instance, whose class and section are used; or a section whose ``name``
            is a class or an instance.

    Returns:
        The section, in which ``name`` is a string if it is set.

    Raises:
        ConfigError: The class is not a head for targets.
    """
    section = value.get("name") if isinstance(value, Mapping) else value
    if isinstance(section, TargetHead):
        own = section.config.model_dump(exclude_unset=True)
        section = type(section)
    elif isinstance(section, type):
        own = {}
    else:
        return value
    entry, name = HeadEntry.read(section), _name_class(section)
    HEADS.replace(name, section)
    HEAD_ENTRIES.replace(name, entry)
    return {**own, **(value if isinstance(value, Mapping) else {}), "name": name}


def _name_class(head: type[TargetHead]) -> str:
    def origin(cls: type) -> tuple[str, str]:
        return cls.__module__, cls.__qualname__

    for number in itertools.count(1):
        name = mark_object(head.__name__ if number == 1 else f"{head.__name__} {number}")
        if name not in HEADS or origin(HEADS[name]) == origin(head):
            break
    return name


def make_head(config: RecipeConfig, names: tuple[str, ...], targets: Targets) -> TargetHead:
    """Make the head that a recipe asks for.

    Raises:
        ConfigError: There is no such head; it does not support ``head.threshold`` or ``head.coverage``; or the names in
            ``training.class_weights`` or ``head.threshold`` are not those of the classes.
    """
    kind = find_head(config)
    if _section(config).threshold is not None and not kind.has_thresholds:
        raise ConfigError(f"head.threshold: the head {kind.__name__} has no decision thresholds. Leave it out.")
    if _section(config).coverage is not None and not kind.has_coverage:
        raise ConfigError(f"head.coverage: the head {kind.__name__} predicts no sets or intervals. Leave it out.")
    head = kind.fit(names, _section(config), targets)
    head.class_weights(targets, config.training.class_weights)  # before training, not in its first step
    return head


def restore_head(config: RecipeConfig, names: tuple[str, ...], facts: JsonObject) -> TargetHead:
    """Restore the head of a finished run.

    Raises:
        KeyError: A value is missing from ``facts``.
        ConfigError: The package that provides the head is not installed.
    """
    return find_head(config).restore(names, _section(config), facts)


def find_head(config: RecipeConfig) -> type[TargetHead]:
    """Return the class of the head that a recipe asks for.

    Raises:
        ConfigError: There is no such head.
    """
    head = HEADS[_section(config).name or config.data.target]
    return cast(type[TargetHead], head)  # others are refused when the recipe is read


def _section(config: RecipeConfig) -> HeadConfig:
    return cast(HeadConfig, config.head)  # pre-training, whose head has other settings, makes it by itself
