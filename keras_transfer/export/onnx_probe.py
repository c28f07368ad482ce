"""The probe of an ONNX model: imports ONNX Runtime."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime

Batch = dict[str, Any]


def load(artifact: str, inputs: list[str]) -> tuple[Callable[[Batch], Batch], list[str]]:
    """Return the model, and the names in its metadata.

    Args:
        artifact: The file, or the folder of ``model.onnx``.
    """
    file = Path(artifact) / "model.onnx" if Path(artifact).is_dir() else Path(artifact)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    def run(batch: Batch) -> Batch:
        return dict(zip(outputs, session.run(outputs, {name: batch[name] for name in inputs}), strict=True))

    return run, json.loads(session.get_modelmeta().custom_metadata_map["names"])
