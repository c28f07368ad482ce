"""Exports: an artifact is written, verified, and moved to its folder atomically."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.errors import ExportError, TransferError
from keras_transfer.export.base import NOTHING_EXPORTED, Exporter, Served
from keras_transfer.export.metric_drop import LabelledRows, MetricDrop, prove_quantized, write_calibration
from keras_transfer.export.proof import Parity, compare, last_line, prove, run_on_samples, run_probe, tolerance_of
from keras_transfer.storage.atomic import UNFINISHED, sync_tree

_PROGRAM = Path(__file__).with_name("serve.py")
_PROBE = Path(__file__).with_name("client_probe.py")
# The program's pixels differ from the reader's by a thousandth of a level, which may be one quantization step.
_QUANTIZED_TOLERANCE = 0.05


def write_client(served: Served, artifact: Path) -> str:
    """Write ``serve.py`` and the files that it reads.

    Returns:
        An empty string; or why it takes tensors instead of a client's raw inputs.
    """
    shutil.copyfile(_PROGRAM, artifact / "serve.py")
    return served.reader.write_client(artifact) or ""


def prove_client(
    exporter: Exporter, served: Served, artifact: Path, *, samples: Path, expected: NDArray[np.float32]
) -> None:
    """Verify in a fresh process that the outputs of ``serve.py`` match those of the model.

    Args:
        artifact: The folder of the artifact; files for the check are written next to it.
        samples: A folder of raw examples, as the reader writes them.
        expected: ``float32[n, outputs]``, the model's predictions for the samples.

    Raises:
        ExportError: It does not run, differs, or fails for a batch with an input that cannot be read.
    """
    head, tolerance = served.head, tolerance_of(served.model)
    if exporter.quantize is not None:
        # The artifact's predictions, which the metric check has accepted.
        tensors = artifact.parent / "tensors"
        answers = run_probe(exporter, served.reader.tensor_inputs, artifact, tensors, head.predictions_output)
        expected = np.array(answers["outputs"][head.predictions_output], np.float32)
        tolerance = _QUANTIZED_TOLERANCE
    changed = {"endpoint": "raw", "probe": _PROBE, "title": f"serve.py of the {exporter.title}"}
    client: Exporter = type("Client", (type(exporter),), changed)(**exporter.settings.model_dump())
    compare(client, run_on_samples(client, served.reader, artifact, samples), expected, head, tolerance)


def export_run(
    exporter: Exporter,
    served: Served,
    folder: Path,
    *,
    samples: Path,
    expected: NDArray[np.float32],
    rows: LabelledRows | None = None,
) -> Parity | MetricDrop:
    """Write an artifact, and verify in a fresh process that its predictions match those of the model.

    For a quantized one, the metric on labelled rows is checked instead.

    Args:
        folder: Does not exist yet; a version number, as TensorFlow Serving expects.
        samples: A folder of raw examples, as the reader writes them.
        expected: ``float32[n, outputs]``, the model's predictions for the samples, in the order of their names.

    Raises:
        ExportError: The folder cannot be written, the artifact's predictions differ, or the metric drops by more than
            is allowed. Nothing is left behind.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="keras-transfer-") as scratch:
            artifact = Path(scratch) / exporter.name
            artifact.mkdir()
            if rows is not None and rows.calibration is not None:
                served = replace(served, calibration=Path(scratch) / "calibration")
                write_calibration(served.reader, rows.calibration, Path(scratch) / "calibration")
            _write(exporter, served, artifact)
            client = write_client(served, artifact) if exporter.has_client else ""
            proof: Parity | MetricDrop
            if rows is None:
                proof = prove(exporter, served, artifact, samples=samples, expected=expected)
            else:
                proof = prove_quantized(exporter, served, artifact, samples=samples, rows=rows.proof)
                exporter.record_proof(artifact, proof.to_json())
            if exporter.has_client and not client:
                prove_client(exporter, served, artifact, samples=samples, expected=expected)
                client = "serve.py gives the same answers"
            _place(exporter, artifact, folder)
    except OSError as error:
        raise ExportError(
            f"The {exporter.title} cannot be written to the folder for temporary files: {error.strerror or error}. "
            f"Received: TMPDIR={os.environ.get('TMPDIR', '')!r}. Set TMPDIR to a folder with space for one copy of the "
            "model. Nothing was exported."
        ) from error
    return replace(proof, client=client)


def _write(exporter: Exporter, served: Served, artifact: Path) -> None:
    try:
        if exporter.backend in (None, keras.backend.backend()):
            exporter.write(replace(served, quantize=exporter.quantize), artifact)
        else:
            _write_on_backend(exporter, served, artifact)
    except TransferError:
        raise
    except Exception as error:  # converters raise anything for what they do not support
        if os.strerror(errno.ENOSPC) in str(error):  # TensorFlow has a separate exception for it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        reason = (str(error).splitlines() or [""])[0]
        raise ExportError(
            f"The {exporter.title} cannot be written: {type(error).__name__}: {reason}. {NOTHING_EXPORTED}"
        ) from error
    if not any(artifact.iterdir()):
        raise ExportError(f"The exporter {exporter.name} wrote no files. {NOTHING_EXPORTED}")


def _write_on_backend(exporter: Exporter, served: Served, artifact: Path) -> None:
    """Decoding and tokenizing run in TensorFlow, and one graph has to contain them and the network."""
    # The package is found where this process found it.
    environment = {**os.environ, "KERAS_BACKEND": str(exporter.backend), "PYTHONPATH": os.pathsep.join(sys.path)}
    settings = exporter.settings.model_dump_json()
    command = [sys.executable, "-m", "keras_transfer.run.export_process"]
    command += [str(served.run), exporter.name, settings, str(artifact)]
    command += [] if served.calibration is None else [str(served.calibration)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ExportError(
            f"The {exporter.title} cannot be written in a process with KERAS_BACKEND={exporter.backend}: "
            f"{last_line(result.stderr)}. {NOTHING_EXPORTED}"
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
