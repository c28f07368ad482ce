"""Predictions of a finished run for one input, as records for users."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from keras_transfer.console.text import one_line
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import ConfigError

_OPTIONAL = "optional"
OPTIONAL = {_OPTIONAL: True}
"""The metadata of a field of predictions that tables and JSON have only if it is not None."""


@dataclass(frozen=True)
class Prediction(ABC):
    """A prediction for one input; each kind of target has its own.

    Attributes:
        input: The file, or the text.
    """

    input: str

    @abstractmethod
    def __str__(self) -> str:
        """The prediction in one line, without the input."""

    @property
    def error(self) -> str | None:
        """Why there is no prediction; None unless the input cannot be read."""
        return None

    @property
    def confidence(self) -> float | None:
        """The probability of the prediction; None if there is none, as for numbers."""
        return None

    def abstain_below(self, min_confidence: float) -> Self:
        """Return the prediction with ``abstain`` set to whether its confidence is below a minimum.

        A prediction that already abstains because of its set still does.

        Args:
            min_confidence: A probability.

        Raises:
            ConfigError: The prediction has no probability.
        """
        if self.confidence is None:
            raise ConfigError(f"min_confidence: a {type(self).__name__} has no probability. Leave it out.")
        abstains = bool(getattr(self, "abstain", None)) or self.confidence < min_confidence
        changes: dict[str, Any] = {"abstain": abstains}
        return replace(self, **changes)

    def describe_abstention(self, names: Sequence[str]) -> str:
        """Return a field of a printed line if the prediction abstains, with the alternatives; else an empty string.

        Args:
            names: Classes or labels, of which up to ten are shown; may be empty.
        """
        if not getattr(self, "abstain", None):
            return ""
        return "\tabstain" + (f": {some(map(one_line, names))}" if names else "")

    def given_fields(self) -> dict[str, Any]:
        """Return the fields by their names, without those that no option of the run or call enables."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) is not None or not one.metadata.get(_OPTIONAL)
        }

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return the prediction as columns of a table, without the input.

        By default, every other field is ``predicted_NAME``, and a mapping has a column per key. A field that
        is :data:`OPTIONAL` has its own name, and no column if it is None.

        Args:
            top_k: For predictions with probabilities: the number of most probable classes to return instead of all of
                them.
        """
        found: dict[str, Any] = {}
        for name, value in self._named_columns():
            if isinstance(value, Mapping):
                found |= {f"predicted_{key}": number for key, number in value.items()}
            else:
                found[name] = value
        return found

    def _named_columns(self) -> list[tuple[str, Any]]:
        optionals = {one.name for one in fields(self) if one.metadata.get(_OPTIONAL)}
        return [
            (name if name in optionals else f"predicted_{name}", value)
            for name, value in self.given_fields().items()
            if name != "input"
        ]


@dataclass(frozen=True)
class BrokenInput(Prediction):
    """Replaces the prediction for an input that cannot be read."""

    problem: str

    @property
    def error(self) -> str:
        return self.problem

    def abstain_below(self, min_confidence: float) -> Self:
        """Return it unchanged: there is no prediction to abstain from."""
        return self

    def __str__(self) -> str:
        return f"error: {self.problem}"

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        return {}


class RankedPrediction(Prediction):
    """A prediction with a probability for every class or label."""

    probabilities: dict[str, float]

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k most probable names with their probabilities, the most probable first.

        Args:
            k: How many, at least 1; if there are fewer names, all of them.

        Raises:
            ConfigError: ``k`` is less than 1.
        """
        if k < 1:
            raise ConfigError(f"The number of most probable names must be at least 1. Received: {k}.")
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return ``predicted_NAME`` for each field, and ``probability_NAME`` of every name.

        Args:
            top_k: The number of columns ``top_1_label``, ``top_1_score`` and so on, instead of ``probability_NAME``.
        """
        found = dict(self._named_columns())
        del found["predicted_probabilities"]
        if top_k is None:
            return found | {f"probability_{name}": value for name, value in self.probabilities.items()}
        for rank, (name, value) in enumerate(self.top(top_k), start=1):
            found |= {f"top_{rank}_label": name, f"top_{rank}_score": value}
        return found
