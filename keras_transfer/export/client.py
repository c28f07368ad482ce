"""``serve.py`` beside a model of a format without decoder or tokenizer: from files or texts to answers.

The program needs the format's runtime and NumPy; ``inputs.py``, which the reader writes beside it, Pillow or
tokenizers. It is proved as an artifact is: in a fresh process, on raw examples, one of which cannot be read.
"""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keras_transfer.export.base import Exporter, Served
from keras_transfer.export.proof import compare, run_on_samples, run_probe, tolerance_of

_PROGRAM = Path(__file__).with_name("serve.py")
_PROBE = Path(__file__).with_name("client_probe.py")
# The program's pixels differ from the reader's by a thousandth of a level, which may be one step of a quantized model.
_QUANTIZED_TOLERANCE = 0.05


def write_client(served: Served, artifact: Path) -> str:
    """Write ``serve.py`` and what it reads.

    Returns:
        Empty; or why it takes tensors, and not what a client has.
    """
    shutil.copyfile(_PROGRAM, artifact / "serve.py")
    return served.reader.write_client(artifact) or ""


def prove_client(
    exporter: Exporter, served: Served, artifact: Path, *, samples: Path, expected: NDArray[np.float32]
) -> None:
    """Check in a fresh process that ``serve.py`` answers as the model does.

    Args:
        artifact: The folder that holds it; files for the check are written beside it.
        expected: ``float32[n, outputs]``, the model's predictions for them.

    Raises:
        ExportError: It does not run, differs, or fails for a batch with an input that cannot be read.
    """
    head, tolerance = served.head, tolerance_of(served.model)
    if exporter.quantize is not None:
        # What the artifact predicts, which the metric has approved.
        tensors = artifact.parent / "tensors"
        answers = run_probe(exporter, served.reader.tensor_inputs, artifact, tensors, head.predictions_output)
        expected = np.array(answers["outputs"][head.predictions_output], np.float32)
        tolerance = _QUANTIZED_TOLERANCE
    changed = {"endpoint": "raw", "probe": _PROBE, "title": f"serve.py of the {exporter.title}"}
    client: Exporter = type("Client", (type(exporter),), changed)(**exporter.settings.model_dump())
    compare(client, run_on_samples(client, served.reader, artifact, samples), expected, head, tolerance)
