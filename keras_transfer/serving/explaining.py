"""What in an input speaks for a prediction, for the page."""

import base64
from typing import Any

from keras_transfer.explain.records import EncodedImage
from keras_transfer.run.run import Run
from keras_transfer.serving.answers import read_example
from keras_transfer.serving.inputs import Given
from keras_transfer.serving.limits import Refusal
from keras_transfer.tasks.base import predict_examples


def explain_input(run: Run, given: Given) -> dict[str, Any]:
    """Explain one input by the most probable outputs.

    Returns:
        As JSON: names of ``outputs``, the ``image`` and ``overlays`` for each output as data URLs, ``pieces`` of text.

    Raises:
        Refusal: The input cannot be read.
    """
    examples, problem = read_example(run, given)
    if problem is not None:
        raise Refusal(422, f"{given.name[:100]}: {problem}")
    outputs = run.head.explained_outputs(predict_examples(run, examples), None)
    (shown,) = run.task.show(run, examples, outputs)
    return {
        "outputs": [run.target.names[output] for output in outputs[0]],
        "image": _to_data(shown.image),
        "overlays": [_to_data(overlay) for overlay in shown.overlays],
        "pieces": [{"text": piece.text, "attribution": float(piece.attribution)} for piece in shown.pieces],
        "note": shown.note or shown.problem,
    }


def _to_data(image: EncodedImage | None) -> str | None:
    if image is None:
        return None
    return f"data:{image.media_type};base64,{base64.b64encode(image.content).decode('ascii')}"
