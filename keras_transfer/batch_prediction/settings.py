"""What a table of predictions has."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_transfer.errors import ConfigError
from keras_transfer.registry import did_you_mean


@dataclass(frozen=True)
class Settings:
    """What decides the answers for given inputs of a given run.

    Attributes:
        columns: Those of the inputs' own columns that go along, in this order.
        top_k: The number of most probable names, in place of all of them.
        min_confidence: As for :meth:`Run.predict`.
        skip_broken: Whether an input that cannot be read has an empty prediction.
        embeddings: Whether there is a column of pooled features.
        predictions: Whether there are columns of predictions.
        table: How tables of inputs are read, as far as that was said.
    """

    columns: tuple[str, ...]
    top_k: int | None = None
    min_confidence: float | None = None
    skip_broken: bool = False
    embeddings: bool = False
    predictions: bool = True
    table: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return {**asdict(self), "columns": list(self.columns), "table": dict(self.table)}


def choose_columns(wanted: Sequence[str] | None, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns that go along.

    Args:
        wanted: Names, or several names with commas between them; "" is none. None for all columns.

    Raises:
        ConfigError: There is no such column, or a value can be read in two ways.
    """
    if wanted is None:
        return tuple(columns)
    chosen: list[str] = []
    for given in wanted:
        parts = [part.strip() for part in given.split(",")] if given else []
        if given in columns and len(parts) > 1 and set(parts) <= set(columns):
            raise ConfigError(
                f"--columns: {given!r} is a column, and so is each of {', '.join(map(repr, parts))}. Rename one of "
                "them, or leave --columns out."
            )
        chosen += [given] if given in columns else parts
    for name in chosen:
        if name not in columns:
            raise ConfigError(f"--columns: the inputs have no column {name!r}. {did_you_mean(name, columns)}")
    return tuple(dict.fromkeys(chosen))
