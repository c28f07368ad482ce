"""Exporters: what a format adds, and the proof that all formats share.

An exporter writes a model in its format. :func:`export_run` does the rest: the process on another backend if the format
needs one, the proof in a fresh process on raw held-out examples, and the folder that is there whole or not at all.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.configurable import Configurable
from keras_transfer.config.schema import NamedSettings
from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ConfigError, ExportError, TransferError
from keras_transfer.export import probe
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import Floats
from keras_transfer.heads.target import HIGH, LOW, OK
from keras_transfer.networks.keras_file import write_keras_file
from keras_transfer.networks.keras_internals import parts
from keras_transfer.registry import Registry
from keras_transfer.storage.atomic import UNFINISHED, sync_tree

# Sums taken in another order differ in the seventh digit of float32, the fourth of float16 and the third of bfloat16;
# after all layers and a softmax, by less than this.
_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Parity:
    """The result of the proof.

    Attributes:
        examples: How many examples were compared.
        largest_difference: The largest difference between a prediction of the export and one of the model.
    """

    examples: int
    largest_difference: float

    def __str__(self) -> str:
        return f"verified in a fresh process: {self.examples} examples match within {self.largest_difference:.1g}"


@dataclass(frozen=True)
class Served:
    """What is exported.

    Attributes:
        model: From inputs to predictions.
        head: What the predictions mean: names, thresholds, what a client receives.
        reader: From what a client sends to inputs.
        run: The run folder, from which a process on another backend makes the same.
    """

    model: keras.Model
    head: TargetHead
    reader: Reader
    run: Path

    def save_model(self, file: Path) -> None:
        """Save the model to a ``.keras`` file that Keras can load without this package.

        Its BatchNorm layers run on a fused kernel here, under a class of this package; in the file they are Keras' own.
        """
        write_keras_file(self.model, file)


class Exporter(Configurable, ABC):
    """Writes models in one format.

    A subclass is registered under its name in :data:`EXPORTERS`, or by a package in the entry-point group
    ``keras_transfer.exporters``.

    Args:
        settings: As :attr:`Settings` declares them.

    Raises:
        ConfigError: A setting is unknown or has a wrong type.
    """

    name: ClassVar[str]
    """What recipes and the command line call the format: ``saved_model``."""

    title: ClassVar[str]
    """What messages call an artifact: ``SavedModel``."""

    probe: ClassVar[Path]
    """A Python file that imports only what runs the format.

    Its function ``load(artifact, inputs)`` takes the artifact's folder and the names of the inputs. It returns a
    function from a batch, a dictionary of lists or arrays by input name, to outputs by name, and the class names that
    it has read from the artifact.
    """

    endpoint: ClassVar[Literal["raw", "tensors"]] = "raw"
    """What an artifact takes: what a client has (bytes of image files, texts), or the reader's ``tensor_inputs``."""

    backend: ClassVar[str | None] = None
    """The Keras backend that :meth:`write` needs; None if any will do."""

    @classmethod
    def title_in_messages(cls) -> str:
        """Return what messages call the format."""
        return f"export.formats: {cls.name}"

    @abstractmethod
    def write(self, served: Served, artifact: Path) -> None:
        """Write an artifact. What is written is not public before it has been verified.

        The outputs hold the predictions under ``served.head.predictions_output``, ``float32[batch, outputs]``; outputs
        that are not floats, such as labels, must be those of ``served.head.serving_outputs``. The class names are
        inside. With the endpoint ``raw``, the outputs are those of ``served.head.masked_outputs``: ``ok: bool[batch]``
        is false for inputs that cannot be read, which do no harm to the others.

        Args:
            served: The model, with what its inputs and outputs mean.
            artifact: An empty folder to write into.

        Raises:
            ExportError: The format cannot hold this model.
        """


def _check_class(loaded: Any) -> type[Exporter]:
    if not (isinstance(loaded, type) and issubclass(loaded, Exporter)):
        raise ConfigError(
            f"The entry point of an exporter must be a subclass of keras_transfer.Exporter. Received: {loaded!r}. "
            "Fix or uninstall the package that has it."
        )
    return loaded


EXPORTERS: Registry[type[Exporter]] = Registry(
    "export format", ConfigError, group="keras_transfer.exporters", take=_check_class
)
"""The classes of exporters, by the name of their format."""


def make_exporters(formats: Sequence[NamedSettings]) -> list[Exporter]:
    """Make the exporters of a run.

    Args:
        formats: The recipe's ``export.formats``.

    Returns:
        An exporter for each.

    Raises:
        ConfigError: There is no such format, or a setting is wrong.
    """
    return [EXPORTERS[given.name](**given.settings) for given in formats]


def export_run(
    exporter: Exporter, served: Served, folder: Path, *, samples: Path, expected: NDArray[np.float32]
) -> Parity:
    """Write an artifact, and check in a fresh process that it predicts what the model predicts.

    Args:
        exporter: Of the format.
        served: The model, with what its inputs and outputs mean.
        folder: Does not exist yet; a version number, as TensorFlow Serving expects.
        samples: A folder of raw examples for the check, as the reader writes them.
        expected: ``float32[n, outputs]``, the model's predictions for them, in the order of their names.

    Returns:
        The proof.

    Raises:
        ExportError: The folder cannot be written, or the artifact's predictions differ. Nothing is left behind.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
            artifact = Path(scratch) / exporter.name
            artifact.mkdir()
            _write(exporter, served, artifact)
            answers = _run_probe(exporter, served.reader, artifact, samples)
            parity = _compare(exporter, answers, expected, served.head, tolerance_of(served.model))
            _place(exporter, artifact, folder)
    except OSError as error:
        raise ExportError(
            f"The {exporter.title} cannot be written to the folder for temporary files: {error.strerror or error}. "
            f"Received: TMPDIR={os.environ.get('TMPDIR', '')!r}. Set TMPDIR to a folder with space for one copy of the "
            "model. Nothing was exported."
        ) from error
    return parity


def _write(exporter: Exporter, served: Served, artifact: Path) -> None:
    try:
        if exporter.backend in (None, keras.backend.backend()):
            exporter.write(served, artifact)
        else:
            _write_on_backend(exporter, served.run, artifact)
    except TransferError:
        raise
    except Exception as error:  # converters raise anything for what they do not support
        if os.strerror(errno.ENOSPC) in str(error):  # TensorFlow has an exception of its own for it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        reason = (str(error).splitlines() or [""])[0]
        raise ExportError(
            f"The {exporter.title} cannot be written: {type(error).__name__}: {reason}. Nothing was exported."
        ) from error
    if not any(artifact.iterdir()):
        raise ExportError(f"The exporter {exporter.name} wrote no files. Nothing was exported.")


def _write_on_backend(exporter: Exporter, run: Path, artifact: Path) -> None:
    """Decoding and tokenizing are TensorFlow's, and one graph is to hold them and the network."""
    # The package is found wherever this process found it.
    environment = {**os.environ, "KERAS_BACKEND": str(exporter.backend), "PYTHONPATH": os.pathsep.join(sys.path)}
    settings = exporter.settings.model_dump_json()
    command = [sys.executable, "-m", "keras_transfer.run.export_process"]
    command += [str(run), exporter.name, settings, str(artifact)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ExportError(
            f"The {exporter.title} cannot be written in a process with KERAS_BACKEND={exporter.backend}: "
            f"{_last_line(result.stderr)}. Nothing was exported."
        )


def tolerance_of(model: keras.Model) -> float:
    """Return how far raw outputs may differ: as far as the coarsest arithmetic in the model allows."""
    return max(_TOLERANCES.get(part.compute_dtype, 0.0) for part in parts(model))


def _run_probe(exporter: Exporter, reader: Reader, artifact: Path, samples: Path) -> dict[str, Any]:
    scratch = artifact.parent
    examples, specs = samples, reader.raw_inputs
    if exporter.endpoint == "tensors":
        examples, specs = scratch / "tensors", reader.tensor_inputs
        _write_tensors(reader, samples, examples)
    job = {
        "probe": str(exporter.probe),
        "artifact": str(artifact),
        "examples": str(examples),
        "inputs": [spec.name for spec in specs],
        "endpoint": exporter.endpoint,
        "answers": str(scratch / "answers.json"),
    }
    (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
    # -I: neither the working folder nor PYTHONPATH is searched, as in a client's process.
    command = [sys.executable, "-I", probe.__file__, str(scratch / "job.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ExportError(
            f"The {exporter.title} does not load or run in a fresh process: {_last_line(result.stderr)}. "
            "Nothing was exported."
        )
    answers: dict[str, Any] = json.loads((scratch / "answers.json").read_text(encoding="utf-8"))
    return answers


def _write_tensors(reader: Reader, samples: Path, folder: Path) -> None:
    """Decode or tokenize the raw examples as a client would, a batch each."""
    folder.mkdir()
    names = [spec.name for spec in reader.tensor_inputs]
    for number, raw in enumerate(_read_raw(reader, samples)):
        inputs = reader.decode(*(tf.constant([value]) for value in raw))
        tensors = inputs if isinstance(inputs, Mapping) else dict(zip(names, [inputs], strict=True))
        np.savez(folder / f"{number:03}.npz", allow_pickle=False, **{name: np.array(tensors[name]) for name in names})


def _read_raw(reader: Reader, samples: Path) -> Iterator[list[Any]]:
    for file in sorted(samples.iterdir()):
        if file.suffix == ".json":
            values = json.loads(file.read_text(encoding="utf-8"))
            yield [values[spec.name] for spec in reader.raw_inputs]
        else:
            yield [file.read_bytes()]


def _compare(
    exporter: Exporter, answers: dict[str, Any], expected: NDArray[np.float32], head: TargetHead, tolerance: float
) -> Parity:
    served, names = answers["outputs"], tuple(answers["names"])
    if names != tuple(head.names):
        raise ExportError(
            f"The {exporter.title} has other class names than the model: {', '.join(names)}. "
            f"Expected: {', '.join(head.names)}. Nothing was exported."
        )
    if head.predictions_output not in served or np.shape(served[head.predictions_output]) != expected.shape:
        found = ", ".join(f"{name} {list(np.shape(values))}" for name, values in served.items())
        raise ExportError(
            f"The {exporter.title} has no output {head.predictions_output} of shape {list(expected.shape)}. "
            f"Outputs: {found}. Nothing was exported."
        )
    differences = np.abs(np.array(served[head.predictions_output], np.float32) - expected)
    allowed = head.allowance(tolerance)
    # Names and decisions must be equal, unless they depend on less than the tolerance.
    own = head.serving_outputs(tf.constant(expected)).items()
    decisions = {name: probe.to_plain(tensor) for name, tensor in own if not tensor.dtype.is_floating}
    intervals = {name: np.asarray(tensor) for name, tensor in own if name in (LOW, HIGH)}
    if exporter.endpoint == "tensors":
        decisions = {name: rows for name, rows in decisions.items() if name in served}
        intervals = {name: rows for name, rows in intervals.items() if name in served}
    missing = [name for name in (*decisions, *intervals) if name not in served]
    if missing:
        raise ExportError(f"The {exporter.title} lacks the outputs {', '.join(missing)}. Nothing was exported.")
    ties = head.is_tied(expected, tolerance)
    other = [
        row
        for row, tied in enumerate(ties)
        if not tied and any(served[name][row] != rows[row] for name, rows in decisions.items())
    ]
    if exporter.endpoint == "raw":
        _check_unreadable(exporter, answers, expected, head, allowed)
    largest = float(differences.max())
    if not (differences <= allowed).all() or other:
        raise ExportError(
            f"The {exporter.title} differs from the model: {head.predictions_output} by up to {largest:.2g} (allowed: "
            f"{allowed.max():.2g}), {' or '.join(decisions) or 'labels'} in {len(other)} of {len(expected)} examples. "
            "Nothing was exported."
        )
    for name, bounds in intervals.items():
        _check_bounds(exporter, name, np.array(served[name], np.float32), bounds, allowed)
    return Parity(len(expected), largest)


def _check_bounds(exporter: Exporter, name: str, served: Floats, bounds: Floats, allowed: Floats) -> None:
    """Bounds of intervals are as near to ours as the numbers are, up to the last digit of a number of their size."""
    if served.shape != bounds.shape or not (np.abs(served - bounds) <= allowed + np.spacing(np.abs(bounds))).all():
        raise ExportError(
            f"The {exporter.title} has other bounds of intervals than the model: {name} is {served.tolist()!s:.80}. "
            f"Expected: {bounds.tolist()!s:.80}. Nothing was exported."
        )


def _check_unreadable(
    exporter: Exporter, answers: dict[str, Any], expected: NDArray[np.float32], head: TargetHead, allowed: Floats
) -> None:
    """An input that cannot be read is named by ``ok``, and does no harm to those before and behind it."""
    samples, mixed = answers["outputs"].get(OK), answers["unreadable"]
    predicted = np.array(mixed.get(head.predictions_output), np.float32)
    read = [0, 2]
    if (
        samples != [True] * len(expected)
        or mixed.get(OK) != [True, False, True]
        or not (np.abs(predicted[read] - expected[[0, -1]]) <= allowed).all()
    ):
        raise ExportError(
            f"The {exporter.title} must return {OK}: bool[batch], false for an input that cannot be read, and answer "
            f"the others as usual. Received for a batch of which the second cannot be read: {mixed.get(OK)}. "
            "Nothing was exported."
        )


def _place(exporter: Exporter, artifact: Path, folder: Path) -> None:
    unfinished = folder.with_name(UNFINISHED + folder.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(artifact, unfinished)
        sync_tree(unfinished)
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ExportError(
            f"The {exporter.title} cannot be written to {folder}: {error.strerror}. Choose another --out."
        ) from error


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
