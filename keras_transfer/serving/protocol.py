"""TensorFlow Serving's REST protocol: requests and responses of ``POST /v1/models/NAME:predict`` as JSON.

https://www.tensorflow.org/tfx/serving/api_rest describes it. The form of requests, the status of errors and the text of
``error`` follow TensorFlow Serving, so that its clients work unchanged.
"""

import base64
import binascii
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keras_transfer.console.text import show_value
from keras_transfer.serving.limits import Limits, Refusal

Row = tuple[Any, ...]
"""One input: a value for each tensor of its signature."""

Key = tuple[Hashable, ...]
"""What rows must have in common to share a batch."""

DEFAULT_SIGNATURE = "serving_default"
_DTYPES = {"string": "DT_STRING", "float32": "DT_FLOAT", "int32": "DT_INT32", "bool": "DT_BOOL"}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a signature.

    Attributes:
        dtype: ``string``, ``float32``, ``int32`` or ``bool``.
        shape: None for a size that may differ from call to call; the first one is that of the batch.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def to_json(self, signature: str) -> dict[str, Any]:
        """Return the tensor as in TensorFlow Serving's metadata."""
        dims = [{"size": str(-1 if size is None else size), "name": ""} for size in self.shape]
        return {
            "dtype": _DTYPES[self.dtype],
            "tensor_shape": {"dim": dims, "unknown_rank": False},
            "name": f"{signature}_{self.name}:0",
        }


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model under a name.

    Attributes:
        inputs: Empty for a signature without inputs.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class PredictRequest:
    """A parsed request.

    Attributes:
        form: For ``instances`` the response is row by row, for ``inputs`` column by column.
        rows: The inputs, a value per tensor: ``bytes``, or an array without the dimension of the batch.
    """

    signature: str
    form: Literal["instances", "inputs"]
    rows: Sequence[Row]


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse a body; ``NaN`` and ``Infinity`` are numbers, as for TensorFlow Serving.

    Raises:
        Refusal: It is not a JSON object in UTF-8.
    """
    if not body:
        raise Refusal(400, "JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except RecursionError as error:
        raise Refusal(400, "JSON Parse error: lists or objects are nested too deeply") from error
    except ValueError as error:
        raise Refusal(400, f"JSON Parse error: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise Refusal(400, f"JSON Value: {_show(document)} Is not object")
    return document


def parse_request(body: bytes, signatures: Mapping[str, Signature], limits: Limits) -> PredictRequest:
    """Parse the body of a predict request.

    Raises:
        Refusal: The body does not match the signature.
    """
    document = parse_json(body)
    name = document.get("signature_name", "") or DEFAULT_SIGNATURE
    if not isinstance(name, str):
        raise Refusal(400, "'signature_name' key must be a string value.")
    if name not in signatures:
        raise Refusal(400, f'Serving signature name: "{_cut(name)}" not found in signature def')
    inputs = signatures[name].inputs
    if not inputs:
        raise Refusal(400, f"Failed to get input map for signature: {name}")
    if "instances" in document and "inputs" in document:
        raise Refusal(400, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in document:
        return PredictRequest(name, "instances", _read_instances(document["instances"], inputs, limits))
    if "inputs" in document:
        return PredictRequest(name, "inputs", _read_columns(document["inputs"], inputs, limits))
    raise Refusal(400, "Missing 'inputs' or 'instances' key")


def _read_instances(instances: Any, inputs: Sequence[TensorInfo], limits: Limits) -> list[Row]:
    if not isinstance(instances, list):
        raise Refusal(400, "Expecting 'instances' to be a list/array")
    if not instances:
        raise Refusal(400, "No values in 'instances' array")
    limits.check_count(len(instances))
    are_objects = _is_named(instances[0])
    if not are_objects and len(inputs) > 1:
        raise Refusal(
            400, "instances is a plain list, but expecting list of objects as multiple input tensors required"
        )
    rows: list[Row] = []
    for number, element in enumerate(instances):
        if _is_named(element) != are_objects:
            expected, received = ("object", "list") if are_objects else ("value/list", "object")
            raise Refusal(400, f"Expecting {expected} but got {received} at item {number} of input list")
        if are_objects and set(element) != {one.name for one in inputs}:
            names = ",".join(sorted(one.name for one in inputs))
            raise Refusal(
                400, f"Failed to process element: {number} of 'instances' list. Keys must be equal to: {names}"
            )
        try:
            rows.append(tuple(_read_value(element[one.name] if are_objects else element, one) for one in inputs))
        except ValueError as error:
            raise Refusal(400, f"Failed to process element: {number} of 'instances' list. Error: {error}") from error
    _check_shapes(rows, inputs)
    return rows


def _read_columns(given: Any, inputs: Sequence[TensorInfo], limits: Limits) -> list[Row]:
    if not _is_named(given):
        if len(inputs) > 1:
            raise Refusal(
                400, "inputs is a plain value/list, but expecting an object as multiple input tensors required"
            )
        given = {inputs[0].name: given}
    columns = []
    for one in inputs:
        if one.name not in given:
            raise Refusal(400, f"Missing named input: {one.name} in 'inputs' object.")
        column = given[one.name]
        if not isinstance(column, list) or not column:
            raise Refusal(400, f"Expecting a list with a value per input for {one.name}")
        columns.append(column)
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{one.name} {len(column)}" for one, column in zip(inputs, columns, strict=True))
        raise Refusal(400, f"Inputs differ in the size of their first dimension: {sizes}")
    limits.check_count(len(columns[0]))
    try:
        rows = [
            tuple(_read_value(value, one) for value, one in zip(values, inputs, strict=True))
            for values in zip(*columns, strict=True)
        ]
    except ValueError as error:
        raise Refusal(400, str(error)) from error
    _check_shapes(rows, inputs)
    return rows


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _read_value(value: Any, tensor: TensorInfo) -> Any:
    """One row of a tensor."""
    if tensor.dtype == "string":
        return _read_string(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"lists of {tensor.name} differ in size") from error
    if array.dtype.kind not in ("iuf" if tensor.dtype == "float32" else "iu"):
        raise ValueError(f"JSON Value: {_show(value)} is not of expected type: {_DTYPES[tensor.dtype]}")
    expected = tensor.shape[1:]
    if array.ndim != len(expected) or any(a not in (None, b) for a, b in zip(expected, array.shape, strict=True)):
        sizes = ",".join("?" if size is None else str(size) for size in expected)
        raise ValueError(f"Expecting shape [{sizes}] of {tensor.name} but got: {list(array.shape)}")
    if tensor.dtype == "float32":
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    info = np.iinfo(tensor.dtype)
    if array.size and not (info.min <= int(array.min()) and int(array.max()) <= info.max):
        raise ValueError(f"{tensor.name} has numbers that are not {tensor.dtype}")
    return array.astype(tensor.dtype)


def _read_string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not _is_base64(value):
        raise ValueError(f"JSON Value: {_show(value)} is not of expected type: DT_STRING")
    return decode_base64(value["b64"])


def decode_base64(text: str) -> bytes:
    """Decode base64; white space and missing padding are allowed.

    Raises:
        ValueError: The text is not base64.
    """
    packed = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("Unable to base64 decode") from error


def _check_shapes(rows: Sequence[Row], inputs: Sequence[TensorInfo]) -> None:
    for place, one in enumerate(inputs):
        if one.dtype != "string" and len({row[place].shape for row in rows}) > 1:
            raise Refusal(400, f"Rows of {one.name} differ in shape. Pad them to the same one.")
    for row in rows:
        sizes = {value.shape for value, one in zip(row, inputs, strict=True) if one.shape[1:] == (None,)}
        if len(sizes) > 1:
            raise Refusal(400, f"The inputs {', '.join(one.name for one in inputs)} of a row differ in length.")


def format_answer(form: Literal["instances", "inputs"], outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the body of a response.

    Args:
        outputs: Outputs by name, each with a row per input.
    """
    columns = {name: to_lists(values) for name, values in outputs.items()}
    if form == "inputs":
        whole: Any = columns if len(columns) > 1 else next(iter(columns.values()))
        return _to_bytes({"outputs": whole})
    if len(columns) == 1:
        return _to_bytes({"predictions": next(iter(columns.values()))})
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return _to_bytes({"predictions": rows})


def to_lists(values: NDArray[Any]) -> list[Any]:
    """Convert an array to JSON types: texts for bytes, and floats with as many digits as float32 needs."""
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        return list(values.astype(str).astype(np.float64).tolist())
    if values.dtype.kind == "O":
        return [_to_text(value) for value in values.tolist()]
    return list(values.tolist())


def _to_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_text(inner) for inner in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _to_bytes(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def describe_status(version: int) -> dict[str, Any]:
    """Return the status of a model that is being served."""
    status = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": status}]}


def describe_metadata(name: str, version: int, signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Return the metadata of a model."""
    described = {
        key: {
            "inputs": {one.name: one.to_json(key) for one in signature.inputs},
            "outputs": {one.name: one.to_json("StatefulPartitionedCall") for one in signature.outputs},
            "method_name": "tensorflow/serving/predict",
        }
        for key, signature in signatures.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": described}},
    }


def _show(value: Any) -> str:
    return _cut(show_value(value))


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
