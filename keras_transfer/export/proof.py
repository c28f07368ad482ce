"""The verification that all formats share: a fresh process loads the artifact and compares its predictions."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ExportError
from keras_transfer.export import probe
from keras_transfer.export.base import NOTHING_EXPORTED, Exporter, Served
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import Floats
from keras_transfer.heads.target import HIGH, LOW, OK
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.types import Tensors

# Sums taken in another order differ in the seventh digit of float32, the fourth of float16 and the third of bfloat16;
# after all layers and a softmax, by less than this.
_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Parity:
    """The result of verification.

    Attributes:
        examples: How many examples were compared.
        largest_difference: The largest difference between a prediction of the export and one of the model.
        client: The result of checking ``serve.py``; empty for a format that has none.
        exact: Whether strings were compared, which are equal; the difference is then that of the other outputs.
    """

    examples: int
    largest_difference: float
    client: str = ""
    exact: bool = False

    def __str__(self) -> str:
        found = f"verified in a fresh process: {self.examples} examples match within {self.largest_difference:.1g}"
        if self.exact:
            found = (
                f"verified in a fresh process: {self.examples} texts are equal, and scores match within "
                f"{self.largest_difference:.1g}"
            )
        return f"{found}; {self.client}" if self.client else found


def prove(
    exporter: Exporter, served: Served, artifact: Path, *, samples: Path, expected: NDArray[np.float32]
) -> Parity:
    """Verify in a fresh process that an artifact's predictions match those of the model.

    Args:
        artifact: The folder of the artifact; files for the check are written next to it.
        samples: A folder of raw examples, as the reader writes them.
        expected: ``float32[n, outputs]``, the model's predictions for the samples, in the order of their names.

    Raises:
        ExportError: The artifact cannot be run, or its predictions differ.
    """
    answers = run_on_samples(exporter, served.reader, artifact, samples)
    if served.head.is_exact:
        return compare_exactly(exporter, answers, expected, served.head, tolerance_of(served.model))
    return compare(exporter, answers, expected, served.head, tolerance_of(served.model))


def tolerance_of(model: keras.Model) -> float:
    """Return how far raw outputs may differ: as far as the coarsest arithmetic in the model allows."""
    return max(_TOLERANCES.get(part.compute_dtype, 0.0) for part in parts(model))


def run_on_samples(exporter: Exporter, reader: Reader, artifact: Path, samples: Path) -> dict[str, Any]:
    """Run an artifact in a fresh process on raw examples, or on tensors of them.

    Args:
        artifact: The folder of the artifact; files for the check are written next to it.

    Returns:
        ``outputs`` by name, with a value per example; ``names``; with the endpoint ``raw`` also ``unreadable``.

    Raises:
        ExportError: The artifact cannot be loaded or run.
    """
    if exporter.endpoint == "raw":
        return run_probe(exporter, reader.raw_inputs, artifact, samples)
    tensors = artifact.parent / "tensors"
    _write_tensors(reader, samples, tensors)
    return run_probe(exporter, reader.tensor_inputs, artifact, tensors)


def run_probe(
    exporter: Exporter, specs: Sequence[Any], artifact: Path, examples: Path, only: str | None = None
) -> dict[str, Any]:
    """Run an artifact in a fresh process on files of examples.

    Args:
        examples: A folder of files as above, or of ``.npz`` files, a batch each.
        only: The output whose values are needed; by default all of them.
    """
    scratch = artifact.parent
    job = {
        "probe": str(exporter.probe),
        "artifact": str(artifact),
        "examples": str(examples),
        "inputs": [spec.name for spec in specs],
        "endpoint": exporter.endpoint,
        "only": only,
        "answers": str(scratch / "answers.json"),
    }
    (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
    # -I: neither the working folder nor PYTHONPATH is searched, as in a client's process.
    command = [sys.executable, "-I", probe.__file__, str(scratch / "job.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ExportError(
            f"The {exporter.title} does not load or run in a fresh process: {last_line(result.stderr)}. "
            f"{NOTHING_EXPORTED}"
        )
    answers: dict[str, Any] = json.loads((scratch / "answers.json").read_text(encoding="utf-8"))
    return answers


def _write_tensors(reader: Reader, samples: Path, folder: Path) -> None:
    """Decode or tokenize the raw examples as a client would."""
    folder.mkdir()
    names = [spec.name for spec in reader.raw_inputs]
    for number, batch in enumerate(probe.read_batches(samples, names)):
        inputs = reader.decode(*(tf.constant(batch[name]) for name in names))
        np.savez(folder / f"{number:03}.npz", allow_pickle=False, **to_tensors(reader, inputs))


def to_tensors(reader: Reader, inputs: Tensors) -> dict[str, NDArray[Any]]:
    """Return a batch of inputs as arrays, by the names that an artifact with the endpoint ``tensors`` takes."""
    names = [spec.name for spec in reader.tensor_inputs]
    tensors = inputs if isinstance(inputs, Mapping) else dict(zip(names, [inputs], strict=True))
    return {name: np.array(tensors[name]) for name in names}


def predictions_in(exporter: Exporter, answers: dict[str, Any], head: TargetHead, expected: tuple[int, ...]) -> Floats:
    """Return the predictions among an artifact's outputs.

    Args:
        answers: As :func:`run_on_samples` returns them.

    Raises:
        ExportError: The artifact has other names than the head, or no such output.
    """
    served = answers["outputs"]
    _check_names(exporter, answers, head)
    if head.predictions_output not in served or np.shape(served[head.predictions_output]) != expected:
        found = ", ".join(f"{name} {list(np.shape(values))}" for name, values in served.items())
        raise ExportError(
            f"The {exporter.title} has no output {head.predictions_output} of shape {list(expected)}. "
            f"Outputs: {found}. {NOTHING_EXPORTED}"
        )
    return np.array(served[head.predictions_output], np.float32)


def _check_names(exporter: Exporter, answers: dict[str, Any], head: TargetHead) -> None:
    names = tuple(answers["names"])
    if names != tuple(head.names):
        raise ExportError(
            f"The {exporter.title} has other class names than the model: {', '.join(names)}. "
            f"Expected: {', '.join(head.names)}. {NOTHING_EXPORTED}"
        )


def compare(
    exporter: Exporter, answers: dict[str, Any], expected: NDArray[np.float32], head: TargetHead, tolerance: float
) -> Parity:
    """Compare all outputs of an artifact with those computed from predictions.

    Args:
        answers: As :func:`run_on_samples` returns them.
        expected: ``float32[n, outputs]``, the predictions.

    Raises:
        ExportError: An output is missing, or differs.
    """
    served = answers["outputs"]
    differences = np.abs(predictions_in(exporter, answers, head, expected.shape) - expected)
    allowed = head.allowance(tolerance)
    # Names and decisions must be equal, unless they change within the tolerance.
    is_raw = exporter.endpoint == "raw"
    own = (head.serving_outputs if is_raw else head.tensor_outputs)(tf.constant(expected)).items()
    checked = {name: tensor for name, tensor in own if is_raw or name in served}
    decisions = {name: probe.to_plain(tensor) for name, tensor in checked.items() if not tensor.dtype.is_floating}
    intervals = {name: np.asarray(tensor) for name, tensor in checked.items() if name in (LOW, HIGH)}
    missing = [name for name in (*decisions, *intervals) if name not in served]
    if missing:
        raise ExportError(f"The {exporter.title} lacks the outputs {', '.join(missing)}. {NOTHING_EXPORTED}")
    ties = head.is_tied(expected, tolerance)
    other = [
        row
        for row, tied in enumerate(ties)
        if not tied and any(served[name][row] != rows[row] for name, rows in decisions.items())
    ]
    if is_raw:
        _check_unreadable(exporter, answers, expected, head, allowed)
    largest = float(differences.max())
    if not (differences <= allowed).all() or other:
        raise ExportError(
            f"The {exporter.title} differs from the model: {head.predictions_output} by up to {largest:.2g} (allowed: "
            f"{allowed.max():.2g}), {' or '.join(decisions) or 'labels'} in {len(other)} of {len(expected)} examples. "
            f"{NOTHING_EXPORTED}"
        )
    for name, bounds in intervals.items():
        _check_bounds(exporter, name, np.array(served[name], np.float32), bounds, allowed)
    return Parity(len(expected), largest)


def compare_exactly(
    exporter: Exporter, answers: dict[str, Any], expected: NDArray[np.float32], head: TargetHead, tolerance: float
) -> Parity:
    """Compare all outputs of an artifact: strings must be equal, numbers close.

    Args:
        answers: As :func:`run_on_samples` returns them.
        expected: ``float32[n, outputs]``, the predictions.

    Raises:
        ExportError: An output is missing, or differs.
    """
    _check_names(exporter, answers, head)
    served, mixed = answers["outputs"], answers["unreadable"]
    own = head.serving_outputs(tf.constant(expected))
    texts = {name: probe.to_plain(x) for name, x in own.items() if x.dtype == tf.string}
    numbers = {name: np.asarray(x) for name, x in own.items() if x.dtype.is_floating}
    missing = [name for name in (*own, OK) if name not in served or name not in mixed]
    if missing:
        raise ExportError(f"The {exporter.title} lacks the outputs {', '.join(missing)}. {NOTHING_EXPORTED}")
    other = [(name, row) for name, rows in texts.items() for row, one in enumerate(rows) if served[name][row] != one]
    if other:
        name, row = other[0]
        raise ExportError(
            f"The {exporter.title} differs from the model: {name} in {len(other)} of {len(expected)} examples, such as "
            f"{served[name][row]!r:.80}. Expected: {texts[name][row]!r:.80}. {NOTHING_EXPORTED}"
        )
    largest = max((float(np.abs(np.array(served[name]) - rows).max()) for name, rows in numbers.items()), default=0.0)
    # The tolerance is for logarithms of probabilities, which are larger than these.
    if not largest <= 10 * tolerance:
        raise ExportError(
            f"The {exporter.title} differs from the model: {', '.join(numbers)} by up to {largest:.2g} (allowed: "
            f"{10 * tolerance:.2g}). {NOTHING_EXPORTED}"
        )
    if (
        served[OK] != [True] * len(expected)
        or mixed[OK] != [True, False, True]
        or any(mixed[name] != [rows[0], "", rows[-1]] for name, rows in texts.items())
    ):
        raise ExportError(_unreadable_message(exporter, mixed))
    return Parity(len(expected), largest, exact=True)


def _check_bounds(exporter: Exporter, name: str, served: Floats, bounds: Floats, allowed: Floats) -> None:
    """Check that bounds of intervals are as close as the numbers are, up to the rounding of numbers of their size."""
    if served.shape != bounds.shape or not (np.abs(served - bounds) <= allowed + np.spacing(np.abs(bounds))).all():
        raise ExportError(
            f"The {exporter.title} has other bounds of intervals than the model: {name} is {served.tolist()!s:.80}. "
            f"Expected: {bounds.tolist()!s:.80}. {NOTHING_EXPORTED}"
        )


def _check_unreadable(
    exporter: Exporter, answers: dict[str, Any], expected: NDArray[np.float32], head: TargetHead, allowed: Floats
) -> None:
    """Check that ``ok`` marks an unreadable input, and that it does not affect the inputs before and after it."""
    samples, mixed = answers["outputs"].get(OK), answers["unreadable"]
    predicted = np.array(mixed.get(head.predictions_output), np.float32)
    read = [0, 2]
    if (
        samples != [True] * len(expected)
        or mixed.get(OK) != [True, False, True]
        or not (np.abs(predicted[read] - expected[[0, -1]]) <= allowed).all()
    ):
        raise ExportError(_unreadable_message(exporter, mixed))


def _unreadable_message(exporter: Exporter, mixed: dict[str, Any]) -> str:
    return (
        f"The {exporter.title} must return {OK}: bool[batch], false for an input that cannot be read, and answer "
        f"the others as usual. Received for a batch of which the second cannot be read: {mixed.get(OK)}. "
        f"{NOTHING_EXPORTED}"
    )


def last_line(text: str) -> str:
    """Return the last line of a process's output: the message of its error."""
    return (text.strip().splitlines() or ["no message"])[-1]
