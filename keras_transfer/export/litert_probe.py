"""The probe of a LiteRT model: imports LiteRT's interpreter."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

Batch = dict[str, Any]


def load(artifact: str, inputs: list[str]) -> tuple[Callable[[Batch], Batch], list[str]]:
    """Return the model, and the names in the file.

    Args:
        artifact: The file, or the folder of ``model.tflite``.
    """
    file = Path(artifact) / "model.tflite" if Path(artifact).is_dir() else Path(artifact)
    # By default, the interpreter uses one thread.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    runner = Interpreter(model_path=str(file), num_threads=cores).get_signature_runner("serving_default")

    def run(batch: Batch) -> Batch:
        outputs: Batch = runner(**{name: batch[name] for name in inputs})
        return outputs

    with zipfile.ZipFile(file) as archive:
        return run, json.loads(archive.read("keras_transfer.json"))["names"]
