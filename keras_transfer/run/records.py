"""The schemas of files that are read back from a run folder: anything else is an error that names the file."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from keras_transfer.config.records import Count, Names, Record
from keras_transfer.heads.evaluation import Report

_R = TypeVar("_R", bound=Report)
_MOST_TOKENS = 1_000_000


def _name_first(row: list[Any]) -> list[Any]:
    if not isinstance(row[0], str):
        raise ValueError("a row begins with the name of its example")
    return row


_Row = Annotated[list[Any], Field(min_length=2), AfterValidator(_name_first)]


class _SplitRecord(Record):
    count: Count
    fingerprint: str
    rows: list[_Row]


class _Corrections(Record):
    excluded: dict[str, list[str]] = Field(default={})
    relabelled: dict[str, dict[str, str | list[str] | list[float]]] = Field(default={})


class ServedRecord(Record):
    """The part of data.json that an exported model contains."""

    class_names: Names | None = None
    label_names: Names | None = None
    number_names: Names | None = None
    predict_length: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    pads_to_longest: bool | None = None


class DataRecord(ServedRecord):
    """The content of data.json."""

    splits: dict[str, _SplitRecord]
    corrections: _Corrections | None = None


class PhaseRecord(Record):
    """A phase in phases.json.

    Attributes:
        epochs: Number of passes over the training rows, at most.
        solve: Whether the head was solved instead of trained.
        stage_count: How many stages the backbone has.
        trained: Number of parameters that trained.
        total: Number of all parameters.
    """

    name: str
    epochs: Count
    solve: bool
    stages: list[str]
    stage_count: Count
    trained: Count
    total: Count


class PhasesRecord(Record):
    """The content of phases.json."""

    phases: list[PhaseRecord]


class _Position(Record):
    phase: Count
    epoch: Count
    step: Count


class _SplitSum(Record):
    count: Count
    fingerprint: str


class _Choice(Record):
    policy: str
    estimated_seconds: dict[str, float]


class _Origin(Record):
    recipe: dict[str, Any]
    resolved: dict[str, Any]
    environment: dict[str, Any]
    splits: dict[str, _SplitSum]
    choice: _Choice | None


class RunState(Record):
    """What every checkpoint has. Each part of a run checks its own state."""

    position: _Position
    run: _Origin
    baseline: dict[str, Any] | None
    held_out: Any
    untrained: Any


def check_report(report: _R) -> _R:
    """Return a report with every field of the type that its class declares.

    Raises:
        ValueError: A field has another type.
    """
    try:
        adapter = TypeAdapter(type(report))
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):  # a package's own type
        return report
    return adapter.validate_python(_fields(report))


def _fields(value: Any) -> Any:
    """Records as mappings. ``dataclasses.asdict`` would copy the 25 million counts of 5,000 classes one by one."""
    if dataclasses.is_dataclass(value):
        return {field.name: _fields(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return tuple(map(_fields, value))
    return {key: _fields(part) for key, part in value.items()} if isinstance(value, Mapping) else value
