"""The work on each part of the inputs, on this machine or on another one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import pandas as pd
import tensorflow as tf

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import InputKind, InputRows, Inputs
from keras_transfer.data.inputs.base import refuse_all
from keras_transfer.errors import ConfigError
from keras_transfer.heads import Prediction
from keras_transfer.registry import did_you_mean
from keras_transfer.run.predictor import Predictor


@dataclass(frozen=True)
class Settings:
    """The settings on which the predictions for given inputs of a given run depend.

    Attributes:
        columns: The inputs' own columns that are copied, in this order.
        top_k: The number of most probable names, instead of all of them.
        min_confidence: As for :meth:`Run.predict`.
        skip_broken: Whether an input that cannot be read has an empty prediction.
        embeddings: Whether there is a column of pooled features.
        predictions: Whether there are columns of predictions.
        table: The given options for reading tables of inputs.
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
    """Return the names of the columns that are copied.

    Args:
        wanted: Names, or several names with commas between them; "" is none. None for all columns.

    Raises:
        ConfigError: There is no such column, or a value is ambiguous.
    """
    if wanted is None:
        return tuple(columns)
    chosen: list[str] = []
    for given in wanted:
        parts = [part.strip() for part in given.split(",")] if given else []
        if given in columns and len(parts) > 1 and set(parts) <= set(columns):
            raise ConfigError(
                f"--columns is ambiguous: {given!r} is a column, and so are {', '.join(map(repr, parts))}. "
                "Rename one of them, or leave --columns out."
            )
        chosen += [given] if given in columns else parts
    for name in chosen:
        if name not in columns:
            raise ConfigError(f"--columns: the inputs have no column {name!r}. {did_you_mean(name, columns)}")
    return tuple(dict.fromkeys(chosen))


EMBEDDING = "embedding"


@dataclass(frozen=True)
class Answered:
    """The predictions for a part of the inputs.

    Attributes:
        own: The inputs' own columns that are copied.
        answers: A column for each value of a prediction; none if there is no prediction.
        errors: The problem of each input; None unless broken ones are skipped.
        broken: How many inputs cannot be read.
        abstained: How many predictions abstain; None if abstention is not used.
    """

    own: pd.DataFrame
    answers: pd.DataFrame
    errors: list[Any] | None
    broken: int
    abstained: int | None


@dataclass(frozen=True)
class Worker:
    """Reads inputs and predicts for them."""

    run: Predictor
    kind: InputKind
    settings: Settings

    def check(self, piece: InputRows) -> list[tuple[str, str]]:
        """Return the name and the problem of each input that cannot be read."""
        problems = self.kind.find_broken(piece.values, piece.names)
        return [(piece.names[place], problems[place]) for place in sorted(problems)]

    def answer(self, piece: InputRows) -> Answered:
        """Predict.

        Args:
            piece: A part of the inputs. Unless broken ones are skipped, :meth:`check` has found no problem in it.

        Raises:
            DataError: Some can no longer be read, or are damaged. All of them are named.
        """
        if self.settings.skip_broken:
            return self._answer(piece, *self.kind.read(piece.values, piece.names))
        try:
            return self._answer(piece, self.kind.read_again(piece.values, piece.names), {})
        except (OSError, tf.errors.OpError) as error:  # the latter of a graph that decodes
            _, problems = self.kind.read(piece.values, piece.names)
            if not problems:
                raise
            raise refuse_all(piece.names, problems) from error

    def _answer(self, piece: InputRows, examples: Examples, problems: Mapping[int, str]) -> Answered:
        settings, inputs = self.settings, Inputs(piece.names, examples, problems, piece.table)
        options: dict[str, Any] = {"skip_broken": True, "min_confidence": settings.min_confidence}
        features: list[Any] | None = None
        if settings.embeddings:
            predictions, features = self.run.predict_with_features(inputs, **options)
        else:
            predictions = self.run.predict_inputs(inputs, **options)
        errors = [prediction.error for prediction in predictions] if settings.skip_broken else None
        predictions = predictions if settings.predictions else []
        answers = to_columns(predictions, settings.top_k).reindex(range(len(inputs)))
        if features is not None and len(inputs.examples):
            answers[EMBEDDING] = pd.Series(features, answers.index, dtype=object)
        own = take_columns(inputs.table.reset_index(drop=True), settings.columns)
        return Answered(own, answers, errors, len(inputs.problems), count_abstaining(predictions))


def take_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return columns of a table; missing ones are empty, with a type that does not change numbers."""
    empty = pd.Series([None] * len(table), table.index, dtype=object)
    columns = {name: table[name] if name in table.columns else empty for name in names}
    return pd.DataFrame(columns, table.index)


def to_columns(predictions: Sequence[Prediction], top_k: int | None) -> pd.DataFrame:
    """Return predictions as columns, empty for unreadable inputs."""
    rows = [prediction.columns(top_k) for prediction in predictions]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    return pd.DataFrame(columns, pd.RangeIndex(len(rows)))


def count_abstaining(predictions: Sequence[Prediction]) -> int | None:
    """Return how many predictions abstain; None if neither the run nor the call uses abstention."""
    found = [getattr(prediction, "abstain", None) for prediction in predictions if prediction.error is None]
    return sum(map(bool, found)) if any(abstains is not None for abstains in found) else None


Step = Literal["check", "answer"]
"""A method of :class:`Worker`."""

Piece = tuple[int, InputRows]
"""A part of the inputs, with its number."""


class Engine(Protocol):
    """Applies a step to parts of the inputs."""

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        """Apply a step to each part.

        Yields:
            The number of each part and the result, in the order of the parts.
        """


@dataclass(frozen=True)
class LocalEngine:
    """This process, one part after the other; TensorFlow uses all cores or the GPU of the machine."""

    worker: Worker

    def apply(self, step: Step, pieces: Iterable[Piece]) -> Iterator[tuple[int, Any]]:
        function = getattr(self.worker, step)
        for number, piece in pieces:
            yield number, function(piece)
