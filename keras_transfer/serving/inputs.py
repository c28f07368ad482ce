"""Parse the body of ``POST /predict``: files in a form, or texts in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from keras_transfer.serving.limits import Limits, Refusal
from keras_transfer.serving.model import ServedModel
from keras_transfer.serving.protocol import Row, decode_base64, parse_json

_JSON, _FORM = "application/json", "multipart/form-data"


@dataclass(frozen=True)
class Given:
    """One input.

    Attributes:
        name: Its name in the response: a file's name, or the text.
        row: A value for each tensor of ``serving_default``; None if it cannot be read.
        problem: Why it cannot be read.
    """

    name: str
    row: Row | None
    problem: str = ""


async def read_inputs(request: Request, kind: ServedModel, limits: Limits) -> list[Given]:
    """Read the inputs of a request, at least one.

    Args:
        request: With a form or JSON.
        kind: The model, which defines what an input is.
        limits: Limits on the number of inputs, and on the length of texts.

    Raises:
        Refusal: The body is of another kind.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == _FORM:
        given = await _read_form(request, kind, limits)
    elif content_type == _JSON:
        given = _read_json(parse_json(await request.body()), kind, limits)
    else:
        raise Refusal(415, f"Send {_expect(kind)}. Received: Content-Type {content_type[:100] or 'missing'}.")
    if not given:
        raise Refusal(400, f"There is no input. Send {_expect(kind)}.")
    limits.check_count(len(given))
    return given


def _expect(kind: ServedModel) -> str:
    if kind.takes_files:
        return f'{_FORM} with a file in each part, or {_JSON} with {{"files": [BASE64, ...]}}'
    pairs = "" if len(kind.raw_names) == 1 else " of two texts each, as lists"
    return f'{_JSON} with {{"texts": [...]}}{pairs}'


async def _read_form(request: Request, kind: ServedModel, limits: Limits) -> list[Given]:
    if len(kind.raw_names) > 1:
        raise Refusal(415, f"Send {_expect(kind)}. Received: a form.")
    try:
        form = await request.form(
            max_files=limits.request_inputs, max_fields=limits.request_inputs, max_part_size=limits.body_bytes
        )
    except HTTPException as error:
        raise Refusal(400, f"The form cannot be read: {error.detail}") from error
    given = []
    for field, value in form.multi_items():
        if isinstance(value, UploadFile):
            content, name = await value.read(), value.filename or field
            given.append(Given(name, (content,)) if kind.takes_files else _take_text_file(name, content, limits))
        elif kind.takes_files:
            raise Refusal(400, f"The part {field[:100]!r} of the form is not a file. Send {_expect(kind)}.")
        else:
            given.append(_take_texts((value,), limits))
    await form.close()
    return given


def _take_text_file(name: str, content: bytes, limits: Limits) -> Given:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Given(name, None, f"not UTF-8: byte {error.start + 1:,} is 0x{content[error.start]:02x}")
    taken = _take_texts((text,), limits)
    return Given(name, taken.row, taken.problem)


def _read_json(document: Mapping[str, Any], kind: ServedModel, limits: Limits) -> list[Given]:
    key = "files" if kind.takes_files else "texts"
    unknown = sorted(set(document) - {key})
    if unknown or key not in document or not isinstance(document[key], list):
        received = ", ".join(repr(name)[:50] for name in unknown[:3]) or "no list"
        raise Refusal(400, f"Send {_expect(kind)}. Received: {received}.")
    values = document[key]
    if kind.takes_files:
        return [_take_base64(value, number) for number, value in enumerate(values, start=1)]
    return [_take_json_text(value, number, kind, limits) for number, value in enumerate(values, start=1)]


def _take_base64(value: Any, number: int) -> Given:
    name = f"file {number}"
    text = value.get("b64") if isinstance(value, dict) else value
    if not isinstance(text, str):
        return Given(name, None, "expected base64")
    try:
        return Given(name, (decode_base64(text),))
    except ValueError:
        return Given(name, None, "not base64")


def _take_json_text(value: Any, number: int, kind: ServedModel, limits: Limits) -> Given:
    size = len(kind.raw_names)
    parts = (value,) if size == 1 else tuple(value) if isinstance(value, list) else ()
    if len(parts) != size or not all(isinstance(part, str) for part in parts):
        return Given(f"text {number}", None, "expected a text" if size == 1 else f"expected a list of {size} texts")
    return _take_texts(parts, limits)


def _take_texts(texts: tuple[str, ...], limits: Limits) -> Given:
    name = " | ".join(texts)
    longest = max(map(len, texts))
    if longest > limits.text_characters:
        problem = f"{longest:,} characters; at most {limits.text_characters:,} are read"
        return Given(f"{name[:100]}…", None, problem)
    return Given(name, tuple(text.encode("utf-8", "surrogatepass") for text in texts))
