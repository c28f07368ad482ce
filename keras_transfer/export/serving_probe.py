"""Run an exported model as a server would: in a process of its own that imports TensorFlow and nothing of ours.

Usage: python serving_probe.py SAVED_MODEL EXAMPLES ANSWERS

EXAMPLES is a folder, taken in the order of its files' names: encoded images, or JSON files with the texts of an
example by the name of the input. ANSWERS is the JSON file to write.
"""

import json
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf


def main(saved_model: str, examples: str, answers: str) -> None:
    """Feed every example to ``serving_default``, half of them in one batch and half alone, and keep the answers."""
    values = [_read(file) for file in sorted(Path(examples).iterdir())]
    if "image_bytes" not in values[0]:
        import tensorflow_text  # noqa: F401 - the operations of its tokenizers
    serve = tf.saved_model.load(saved_model).signatures["serving_default"]
    middle = (len(values) + 1) // 2
    batches = [values[:middle], *([value] for value in values[middle:])]
    outputs = [serve(**{name: tf.constant([value[name] for value in batch]) for name in batch[0]}) for batch in batches]
    answer = {name: [row for output in outputs for row in to_plain(output[name])] for name in outputs[0]}
    Path(answers).write_text(json.dumps(answer), encoding="utf-8")
    ours = sorted(name for name in sys.modules if name.split(".")[0] in ("keras_transfer", "keras_hub"))
    if ours:
        raise SystemExit(f"the probe must not import {ours}")


def to_plain(tensor: Any) -> list[Any]:
    """Return what a tensor holds as JSON can hold it."""

    def decode(value: Any) -> Any:
        if isinstance(value, list):
            return [decode(inner) for inner in value]
        return value.decode() if isinstance(value, bytes) else value

    return [decode(row) for row in tensor.numpy().tolist()]


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".json":
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values
    return {"image_bytes": file.read_bytes()}


if __name__ == "__main__":
    main(*sys.argv[1:])
