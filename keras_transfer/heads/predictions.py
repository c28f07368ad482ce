"""What a finished run predicts for one input, as a record for users."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from keras_transfer.errors import ConfigError


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
        """Why there is no prediction: None unless the input cannot be read."""
        return None

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return the prediction as columns of a table, without the input.

        By default, every other field is ``predicted_NAME``, and a mapping has a column per key.

        Args:
            top_k: With probabilities: the number of most probable classes, in place of all of them.
        """
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Mapping):
                found |= {f"predicted_{key}": number for key, number in value.items()}
            elif field.name != "input":
                found[f"predicted_{field.name}"] = value
        return found


@dataclass(frozen=True)
class BrokenInput(Prediction):
    """In place of a prediction: an input that cannot be read.

    Attributes:
        problem: What is wrong with it.
    """

    problem: str

    @property
    def error(self) -> str:
        """Why there is no prediction."""
        return self.problem

    def __str__(self) -> str:
        """The problem."""
        return f"error: {self.problem}"

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """There are none."""
        return {}


class RankedPrediction(Prediction):
    """A prediction with a probability for every class or label."""

    probabilities: dict[str, float]

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k most probable names with their probabilities, the most probable first.

        Args:
            k: Their number, at least 1; all of them if there are fewer.

        Raises:
            ConfigError: It is less than 1.
        """
        if k < 1:
            raise ConfigError(f"The number of most probable names must be at least 1. Received: {k}.")
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def columns(self, top_k: int | None = None) -> dict[str, Any]:
        """Return ``predicted_NAME`` for each field, and ``probability_NAME`` of every name.

        Args:
            top_k: In place of the latter ``top_1_label``, ``top_1_score`` and so on up to this number.
        """
        found = {f"predicted_{field.name}": getattr(self, field.name) for field in fields(self)}
        del found["predicted_input"], found["predicted_probabilities"]
        if top_k is None:
            return found | {f"probability_{name}": value for name, value in self.probabilities.items()}
        for rank, (name, value) in enumerate(self.top(top_k), start=1):
            found |= {f"top_{rank}_label": name, f"top_{rank}_score": value}
        return found
