"""The probe of a SavedModel: imports TensorFlow, and its text operations if the model has a tokenizer."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Batch = dict[str, Any]


def load(artifact: str, inputs: list[str]) -> tuple[Callable[[Batch], Batch], list[str]]:
    """Return the signature that has these inputs, and what the signature ``classes`` returns."""
    if inputs not in (["image_bytes"], ["pixels"]):
        import tensorflow_text  # noqa: F401 - the operations of its tokenizers
    signatures = tf.saved_model.load(artifact).signatures
    endpoints = (each for name, each in signatures.items() if name != "embed")
    serve = next(each for each in endpoints if set(each.structured_input_signature[1]) == set(inputs))

    def run(batch: Batch) -> Batch:
        outputs: Batch = serve(**{name: tf.constant(batch[name]) for name in inputs})
        return outputs

    names = signatures["classes"]()["names"]
    return run, [name.decode() for name in names.numpy().tolist()]
