"""The probe of a SavedModel: imports TensorFlow, and its text operations if the model has a tokenizer."""

import sys
from collections.abc import Callable
from typing import Any

Batch = dict[str, Any]

_WITHOUT_TEXT = (["image_bytes"], ["pixels"], ["wav_bytes"], ["samples"])


def load(artifact: str, inputs: list[str]) -> tuple[Callable[[Batch], Batch], list[str]]:
    """Return the signature that has these inputs, and what the signature ``classes`` returns."""
    has_text = inputs not in _WITHOUT_TEXT
    if not has_text:
        # TensorFlow imports Keras if it is installed, which takes almost half of the time. A server has none; only
        # TensorFlow Text needs it. Where Keras is imported already, this changes nothing.
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    import tensorflow as tf

    if has_text:
        import tensorflow_text  # noqa: F401 - the operations of its tokenizers
    signatures = tf.saved_model.load(artifact).signatures
    endpoints = (each for name, each in signatures.items() if name != "embed")
    serve = next(each for each in endpoints if set(each.structured_input_signature[1]) == set(inputs))

    def run(batch: Batch) -> Batch:
        outputs: Batch = serve(**{name: tf.constant(batch[name]) for name in inputs})
        return outputs

    names = signatures["classes"]()["names"]
    return run, [name.decode() for name in names.numpy().tolist()]
