"""OpenAPI descriptions of routes that parse bodies themselves."""

from typing import Any

DESCRIPTION = "A model by keras_transfer. An answer that is an error has one key, `error`, which says what is wrong."
TAGS: list[Any] = ["TensorFlow Serving"]

_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    media = {media_type: {"schema": schema} for media_type, schema in content.items()}
    return {"requestBody": {"required": True, "content": media}}


def _answers(statuses: dict[int, str], schema: dict[str, Any] = _ERROR) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": schema}}
    return {status: {"description": text, "content": content} for status, text in statuses.items()}


_REFUSALS = _answers(
    {
        400: "The request is invalid.",
        401: "A token is needed.",
        408: "The body did not arrive in time.",
        413: "The body is too large, or has too many inputs.",
        415: "The content type is not supported.",
        429: "The queue is full; try again later.",
        503: "The server is stopping.",
        504: "No answer in time.",
    }
)
NOT_READY: dict[int | str, dict[str, Any]] = {503: _REFUSALS[503]}

_FILES = {"type": "object", "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}}}
_LISTS = {
    "type": "object",
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "byte"}},
        "texts": {"type": "array", "items": {}},
    },
    "description": "`files` in base64 for a model of files; `texts` for a model of texts, of pairs as lists of two.",
}
_INPUTS = _body({"multipart/form-data": _FILES, "application/json": _LISTS})
_SEGMENT = {
    "type": "object",
    "properties": {
        "start": {"type": "number", "description": "In seconds."},
        "end": {"type": ["number", "null"]},
        "text": {"type": "string"},
    },
}
_PREDICTION = {
    "input": {"type": "string"},
    "error": {"type": "string", "description": "Why there is no prediction; in that case the only key."},
    "label": {"type": "string", "description": "Of models of classes."},
    "labels": {"type": "array", "items": {"type": "string"}, "description": "Of models of labels."},
    "values": {"type": "object", "description": "Of models of numbers, by name."},
    "text": {"type": "string", "description": "Of models that transcribe speech."},
    "score": {"type": "number", "description": "A probability; of a text, a mean log-probability, at most 0."},
    "segments": {"type": "array", "items": _SEGMENT, "description": "Of a text with timestamps."},
}
_PREDICTIONS = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "predictions": {
            "type": "array",
            "items": {"type": "object", "properties": _PREDICTION},
        },
    },
}

PREDICT: dict[str, Any] = {
    "openapi_extra": _INPUTS,
    "responses": {
        **_answers({200: "Done.", 422: "None of the inputs can be read; each says why."}, _PREDICTIONS),
        **_REFUSALS,
    },
}
EXPLAIN: dict[str, Any] = {
    "openapi_extra": _INPUTS,
    "responses": {
        **_answers({200: "Done."}, {"type": "object"}),
        **_REFUSALS,
        **_answers({422: "The input cannot be read.", 501: "The format that is served has no explanations."}),
    },
}
TENSORFLOW_SERVING: dict[str, Any] = {
    "tags": TAGS,
    "openapi_extra": _body(
        {
            "application/json": {
                "type": "object",
                "properties": {
                    "signature_name": {"type": "string"},
                    "instances": {"type": "array", "items": {}},
                    "inputs": {},
                },
            }
        }
    ),
    "responses": {
        **_answers({200: "Done."}, {"type": "object", "properties": {"predictions": {}, "outputs": {}}}),
        **_REFUSALS,
        **_answers({404: "There is no such model or version."}),
    },
}
