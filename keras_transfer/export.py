"""From a fine-tuned model to what is served, with the proof that both say the same."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer import serving_probe
from keras_transfer.data.images import Resize, decode_image
from keras_transfer.errors import ExportError
from keras_transfer.stages import parts

# Sums taken in another order differ in the seventh digit of float32, the fourth of float16 and the third of bfloat16;
# after all layers and a softmax, by less than this.
_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Parity:
    """The proof: how many pictures were compared, and the largest difference of a probability."""

    pictures: int
    largest_difference: float


def export_saved_model(
    model: keras.Model,
    folder: Path,
    *,
    class_names: Sequence[str],
    resize: Resize,
    samples: Path,
    expected: NDArray[np.float32],
) -> Parity:
    """Write a SavedModel that takes picture files, then check it in a fresh process.

    Signatures: ``serving_default`` takes ``image_bytes: string[batch]``, ``serve_tensor`` takes
    ``pixels: float32[batch, size, size, 3]`` in 0..255. Both give ``probabilities: float32[batch, classes]``,
    ``label: string[batch]`` and ``score: float32[batch]``, the probability of that label.

    Args:
        model: From pixels to probabilities.
        folder: Does not exist yet; a version number, as TensorFlow Serving wants.
        class_names: In the order of the model's outputs; they travel inside.
        resize: How a picture becomes square.
        samples: A folder of encoded pictures for the check.
        expected: ``float32[n, classes]``, what the run's own predict says of them, in the order of their names.

    Returns:
        The proof.

    Raises:
        ExportError: The folder cannot be written, or the artifact does not say what the model says. Nothing is left.
    """
    with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
        artifact = Path(scratch) / "saved_model"
        _write(model, artifact, class_names=class_names, resize=resize)
        parity = _prove(artifact, samples, expected, class_names, _tolerance(model))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(artifact, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExportError(
                f"The SavedModel cannot be written to {folder}: {error.strerror}. Choose another --out."
            ) from error
    return parity


def _write(model: keras.Model, artifact: Path, *, class_names: Sequence[str], resize: Resize) -> None:
    size = model.input_shape[1]
    names = tf.constant(list(class_names))

    def serve_tensor(pixels: Any) -> dict[str, Any]:
        probabilities = model(pixels, training=False)
        return {
            "probabilities": probabilities,
            "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
            "score": tf.reduce_max(probabilities, axis=-1),
        }

    def serve(image_bytes: Any) -> dict[str, Any]:
        pixels = tf.map_fn(
            lambda content: decode_image(content, size=size, resize=resize),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        )
        return serve_tensor(pixels)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, [tf.TensorSpec([None], tf.string, "image_bytes")])
    archive.add_endpoint("serve_tensor", serve_tensor, [tf.TensorSpec([None, size, size, 3], tf.float32, "pixels")])
    archive.write_out(str(artifact), verbose=False)


def _tolerance(model: keras.Model) -> float:
    """How far probabilities may lie apart: as the coarsest arithmetic in the model lets them."""
    return max(_TOLERANCES.get(part.compute_dtype, 0.0) for part in parts(model))


def _prove(
    artifact: Path, samples: Path, expected: NDArray[np.float32], class_names: Sequence[str], tolerance: float
) -> Parity:
    answers = artifact.parent / "answers.json"
    command = [sys.executable, "-I", serving_probe.__file__, str(artifact), str(samples), str(answers)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ExportError(f"The SavedModel does not load or run in a fresh process: {last[0]}. Nothing was exported.")
    served = json.loads(answers.read_text(encoding="utf-8"))
    labels, probabilities = served["label"], np.array(served["probabilities"], np.float32)
    difference = float(np.abs(probabilities - expected).max())
    wanted = [class_names[index] for index in expected.argmax(axis=1)]
    # Two classes that tie to within the tolerance may come out either way.
    other = [
        i for i, (a, b) in enumerate(zip(labels, wanted, strict=True)) if a != b and not _ties(expected[i], tolerance)
    ]
    if difference > tolerance or other:
        raise ExportError(
            f"The SavedModel differs from the model: probabilities by up to {difference:.2g} (allowed: {tolerance:g}), "
            f"labels in {len(other)} of {len(labels)} pictures. Nothing was exported."
        )
    return Parity(len(labels), difference)


def _ties(probabilities: NDArray[np.float32], tolerance: float) -> bool:
    first, second = np.sort(probabilities)[[-1, -2]]
    return bool(first - second < tolerance)
