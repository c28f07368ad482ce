"""Convert the model's results to predictions and explanations for people and programs."""

import base64
from collections.abc import Sequence
from typing import Any

from keras_transfer.data.examples.base import Examples
from keras_transfer.errors import ConfigError
from keras_transfer.explain.records import EncodedImage
from keras_transfer.heads import BrokenInput, Prediction
from keras_transfer.run.predicted import check_min_confidence, check_top_k
from keras_transfer.run.predictor import Predictor
from keras_transfer.run.run import Run
from keras_transfer.serving.inputs import Given
from keras_transfer.serving.limits import Refusal
from keras_transfer.serving.model import ModelAnswers
from keras_transfer.tasks.base import predict_examples

_UNREADABLE = "cannot be read"
_NOT_FINITE = "the prediction is NaN or infinite"


def check_options(opened: Predictor, top_k: int | None, min_confidence: float | None) -> None:
    """Check options of a request.

    Raises:
        Refusal: The model does not support such an option.
    """
    try:
        if top_k is not None:
            check_top_k(opened.head)
        if min_confidence is not None:
            check_min_confidence(opened.head, min_confidence)
    except ConfigError as error:
        raise Refusal(
            400, str(error).replace("--top-k", "top_k").replace("--min-confidence", "min_confidence")
        ) from error


def to_predictions(
    opened: Predictor, given: Sequence[Given], answers: ModelAnswers | None, min_confidence: float | None
) -> list[Prediction]:
    """Return one prediction per input, in order.

    Args:
        answers: Results for the inputs that have a row, in order; None if there are none.
    """
    predictions: list[Prediction] = []
    place = 0
    for one in given:
        if one.row is None or answers is None:
            predictions.append(BrokenInput(one.name, one.problem))
            continue
        if answers.ok[place]:
            prediction = opened.head.to_prediction(one.name, answers.predicted[place])
            predictions.append(prediction if min_confidence is None else prediction.abstain_below(min_confidence))
        else:
            problem = _NOT_FINITE if answers.read[place] else find_problem(opened, one)
            predictions.append(BrokenInput(one.name, problem))
        place += 1
    return predictions


def find_problem(opened: Predictor, given: Given) -> str:
    """Return why an input cannot be read, in the words of ``predict``."""
    return read_example(opened, given)[1] or _UNREADABLE


def read_example(opened: Predictor, given: Given) -> tuple[Examples, str | None]:
    """Read an input in the same way as ``predict``.

    Returns:
        An example, or None and the problem of the input.
    """
    values: list[Any] = list(given.row or ())
    if not opened.reader.raw_inputs[0].name.endswith("_bytes"):
        texts = tuple(value.decode("utf-8", "surrogateescape") for value in values)
        values = [texts if len(texts) > 1 else text for text in texts[:1]]
    examples, problems = opened.task.inputs(opened.config).read(values, [given.name] * len(values))
    return examples, given.problem or problems.get(0)


def explain_input(run: Run, given: Given) -> dict[str, Any]:
    """Explain one input by the most probable outputs.

    Returns:
        A JSON object: names of ``outputs``, the ``image`` and ``overlays`` for each output as data URLs, ``pieces`` of
        text.

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
