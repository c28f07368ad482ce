"""From a fine-tuned model to what is served, with the proof that both say the same."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ExportError
from keras_transfer.export import serving_probe
from keras_transfer.heads import TargetHead
from keras_transfer.networks.stages import parts
from keras_transfer.storage.atomic import UNFINISHED, sync_tree

# Sums taken in another order differ in the seventh digit of float32, the fourth of float16 and the third of bfloat16;
# after all layers and a softmax, by less than this.
_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Parity:
    """The proof: how many examples were compared, and the largest difference of a prediction."""

    examples: int
    largest_difference: float


def export_saved_model(
    model: keras.Model,
    head: TargetHead,
    reader: Reader,
    folder: Path,
    *,
    run: Path,
    samples: Path,
    expected: NDArray[np.float32],
) -> Parity:
    """Write a SavedModel that takes what a client has, then check it in a fresh process.

    Signatures: ``serving_default`` takes encoded images (``image_bytes: string[batch]``) or texts (``text``, or
    ``text_a`` and ``text_b``); ``serve_tensor`` takes pixels, ``serve_tokens`` tokens by name. What all give
    is up to the head:

    - one class: ``probabilities: float32[batch, classes]``, ``label: string[batch]`` and ``score: float32[batch]``, the
      probability of that label;
    - labels: ``probabilities: float32[batch, labels]``, ``present: bool[batch, labels]``, whether each reaches its
      threshold, and ``names: string[batch, labels]``, the same in every row;
    - numbers: ``values: float32[batch, numbers]`` in the units of the training data, and ``names: string[batch,
      numbers]``.

    Names and thresholds travel inside.

    Args:
        model: From inputs to predictions.
        head: What they mean.
        reader: From what a client has to inputs.
        folder: Does not exist yet; a version number, as TensorFlow Serving wants.
        run: The run folder, from which a process on TensorFlow makes the model again where Keras runs on JAX.
        samples: A folder of raw examples for the check, as the reader writes them.
        expected: ``float32[n, outputs]``, what the run's own predict says of them, in the order of their names.

    Returns:
        The proof.

    Raises:
        ExportError: The folder cannot be written, or the artifact does not say what the model says. Nothing is left.
    """
    with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
        artifact = Path(scratch) / "saved_model"
        if keras.backend.backend() == "tensorflow":
            write_saved_model(model, head, reader, artifact)
        else:
            _write_in_tensorflow(run, artifact)
        parity = _prove(artifact, samples, expected, head, _tolerance(model))
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
                f"The SavedModel cannot be written to {folder}: {error.strerror}. Choose another --out."
            ) from error
    return parity


def write_saved_model(model: keras.Model, head: TargetHead, reader: Reader, artifact: Path) -> None:
    """Write a SavedModel, unproven.

    Args:
        model: From inputs to predictions; Keras runs on TensorFlow.
        head: What they mean.
        reader: From what a client has to inputs.
        artifact: The folder to write.
    """

    def answer(inputs: Any) -> dict[str, Any]:
        return head.answer(model(inputs, training=False))

    archive = keras.export.ExportArchive()
    archive.track(model)
    for resource in reader.resources:
        archive.track(resource)
    archive.add_endpoint("serving_default", lambda *raw: answer(reader.decode(*raw)), list(reader.raw_inputs))
    archive.add_endpoint(
        reader.tensor_endpoint, lambda *tensors: answer(reader.arrange(*tensors)), list(reader.tensor_inputs)
    )
    archive.write_out(str(artifact), verbose=False)


def _write_in_tensorflow(run: Path, artifact: Path) -> None:
    """Decoding and tokenizing are TensorFlow's, and one graph is to hold them and the network."""
    # The package is found wherever this process found it.
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "keras_transfer.run.saved_model_writer", str(run), str(artifact)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ExportError(
            f"The SavedModel cannot be written in a process on TensorFlow: {last[0]}. Nothing was exported."
        )


def _tolerance(model: keras.Model) -> float:
    """How far raw outputs may lie apart: as the coarsest arithmetic in the model lets them."""
    return max(_TOLERANCES.get(part.compute_dtype, 0.0) for part in parts(model))


def _prove(artifact: Path, samples: Path, expected: NDArray[np.float32], head: TargetHead, tolerance: float) -> Parity:
    answers = artifact.parent / "answers.json"
    command = [sys.executable, "-I", serving_probe.__file__, str(artifact), str(samples), str(answers)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ExportError(f"The SavedModel does not load or run in a fresh process: {last[0]}. Nothing was exported.")
    served = json.loads(answers.read_text(encoding="utf-8"))
    differences = np.abs(np.array(served[head.answer_key], np.float32) - expected)
    allowed = head.allowance(tolerance)
    # Floats follow from the predictions; names and decisions have to be the same, but where they hang on a hair.
    ours = head.answer(tf.constant(expected)).items()
    said = {name: serving_probe.to_plain(tensor) for name, tensor in ours if not tensor.dtype.is_floating}
    ties = head.is_tied(expected, tolerance)
    other = [i for i, tie in enumerate(ties) if not tie and any(served[n][i] != rows[i] for n, rows in said.items())]
    largest = float(differences.max())
    if not (differences <= allowed).all() or other:
        raise ExportError(
            f"The SavedModel differs from the model: {head.answer_key} by up to {largest:.2g} (allowed: "
            f"{allowed.max():.2g}), {' or '.join(said)} in {len(other)} of {len(expected)} examples. "
            "Nothing was exported."
        )
    return Parity(len(expected), largest)
