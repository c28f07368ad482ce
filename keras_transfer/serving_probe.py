"""Run an exported model as a server would: in a process of its own that imports TensorFlow and nothing of ours.

Usage: python serving_probe.py SAVED_MODEL PICTURES ANSWERS

PICTURES is a folder of encoded files, taken in the order of their names; ANSWERS is the JSON file to write.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf


def main(saved_model: str, pictures: str, answers: str) -> None:
    """Feed every picture to ``serving_default``, half of them in one batch and half alone, and keep the answers."""
    serve = tf.saved_model.load(saved_model).signatures["serving_default"]
    contents = [file.read_bytes() for file in sorted(Path(pictures).iterdir())]
    middle = (len(contents) + 1) // 2
    batches = [contents[:middle], *([content] for content in contents[middle:])]
    outputs = [serve(image_bytes=tf.constant(batch)) for batch in batches]
    answer = {name: [row for output in outputs for row in output[name].numpy().tolist()] for name in outputs[0]}
    answer["label"] = [label.decode() for label in answer["label"]]
    Path(answers).write_text(json.dumps(answer), encoding="utf-8")
    ours = sorted(name for name in sys.modules if name.split(".")[0] == "keras_transfer")
    if ours:
        raise SystemExit(f"the probe must not import {ours}")


if __name__ == "__main__":
    main(*sys.argv[1:])
