"""Format predictions for the command line."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_transfer.console.text import one_line
from keras_transfer.data.tables.write import WRITABLE
from keras_transfer.errors import ConfigError
from keras_transfer.heads import Prediction, RankedPrediction

ERROR = "error"
"""The column, and the key in JSON, of what is wrong with an input."""

_INSTEAD = {
    "values": "have none. Leave it out. head.coverage in the recipe gives each number an interval.",
    "text": "has none. Leave it out. The score of a transcript shows which ones are less sure than others.",
}


def check_out(file: Path, suffixes: Sequence[str] = WRITABLE) -> None:
    """Refuse a table of predictions that cannot be written, before anything is predicted.

    Raises:
        ConfigError: The table cannot be written; the message says what to name instead.
    """
    if file.suffix.lower() not in suffixes:
        raise ConfigError(f"--out: {file} is not a table. Name a new file that ends in {' or '.join(suffixes)}.")
    if file.exists() or file.is_symlink():
        raise ConfigError(f"--out: {file} exists. Name a new file.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {file} cannot be written: {error.strerror}. Name another file.") from error


def check_top_k(head: Any) -> None:
    """Refuse ``--top-k`` for a head without probabilities.

    Raises:
        ConfigError: The head has no probabilities; the message says what it predicts.
    """
    output = getattr(head, "predictions_output", None)
    if output != "probabilities":
        raise ConfigError(
            f"--top-k is for classes and labels with probabilities; this run predicts {output}. Leave it out."
        )


def check_min_confidence(head: Any, min_confidence: float) -> None:
    """Refuse ``--min-confidence`` that is not a probability, or for a head without probabilities.

    Raises:
        ConfigError: As above; the message says what the head predicts.
    """
    if not 0.0 <= min_confidence <= 1.0:
        raise ConfigError(
            f"--min-confidence (min_confidence): expected a probability, from 0 to 1. Received: {min_confidence}."
        )
    output = getattr(head, "predictions_output", None)
    if output != "probabilities":
        raise ConfigError(
            "--min-confidence (min_confidence) compares the probability of a class or label; this run predicts "
            f"{output}, which {_INSTEAD.get(str(output), 'have none. Leave it out.')}"
        )


def count_abstained(predictions: Sequence[Prediction]) -> str | None:
    """Return how many predictions abstain, in words; None if neither the run nor the call uses abstention."""
    found = [getattr(prediction, "abstain", None) for prediction in predictions if prediction.error is None]
    if not any(abstains is not None for abstains in found):
        return None
    return f"{sum(map(bool, found)):,} of {len(found):,} abstained"


def to_line(prediction: Prediction, top_k: int | None) -> str:
    """Return a prediction in one line: input, prediction and, if requested, the most probable names."""
    # A text may have many lines.
    shown = [one_line(" ".join(prediction.input.splitlines())), str(prediction)]
    if top_k is not None and isinstance(prediction, RankedPrediction):
        shown.append(", ".join(f"{one_line(name)} {probability:.4f}" for name, probability in prediction.top(top_k)))
    return "\t".join(shown)


def to_json(prediction: Prediction, top_k: int | None) -> dict[str, Any]:
    """Return a prediction as JSON; with ``top_k``, probabilities are those of the most probable names, in order."""
    if prediction.error is not None:
        return {"input": prediction.input, ERROR: prediction.error}
    given = prediction.given_fields()
    values = {name: value for name, value in asdict(prediction).items() if name in given}
    if top_k is not None and isinstance(prediction, RankedPrediction):
        values["probabilities"] = dict(prediction.top(top_k))
    return values
