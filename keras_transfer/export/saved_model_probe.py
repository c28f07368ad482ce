"""The probe of a SavedModel: imports TensorFlow, and its text operations if the model has a tokenizer."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Batch = dict[str, Any]


def load(artifact: str, inputs: list[str]) -> tuple[Callable[[Batch], Batch], list[str]]:
    """Return the model's ``serving_default``, and what its signature ``classes`` returns.

    Args:
        artifact: The SavedModel's folder.
        inputs: The names of what it takes.
    """
    if inputs != ["image_bytes"]:
        import tensorflow_text  # noqa: F401 - the operations of its tokenizers
    signatures = tf.saved_model.load(artifact).signatures
    serve = signatures["serving_default"]

    def run(batch: Batch) -> Batch:
        outputs: Batch = serve(**{name: tf.constant(values) for name, values in batch.items()})
        return outputs

    names = signatures["classes"]()["names"]
    return run, [name.decode() for name in names.numpy().tolist()]
