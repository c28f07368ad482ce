"""TensorFlow Serving's REST protocol: requests, responses and errors as in its documentation and source."""

import base64
import json

import numpy as np
import pytest

from keras_transfer.serving.limits import Limits, Refusal
from keras_transfer.serving.protocol import (
    Signature,
    TensorInfo,
    describe_metadata,
    format_answer,
    parse_request,
)

IMAGE = TensorInfo("image_bytes", "string", (None,))
PIXELS = TensorInfo("pixels", "float32", (None, 1, 2))
TOKENS = tuple(TensorInfo(name, "int32", (None, None)) for name in ("token_ids", "padding_mask"))
PAIR = (TensorInfo("text_a", "string", (None,)), TensorInfo("text_b", "string", (None,)))
SIGNATURES = {
    "serving_default": Signature((IMAGE,), ()),
    "serve_tensor": Signature((PIXELS,), ()),
    "serve_tokens": Signature(TOKENS, ()),
    "pairs": Signature(PAIR, ()),
    "classes": Signature((), ()),
}
LIMITS = Limits(request_inputs=3)
B64 = {"b64": base64.b64encode(b"\xff\x00").decode()}


def parse(document):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_request(body, SIGNATURES, LIMITS)


@pytest.mark.parametrize(
    ("document", "form", "rows"),
    [
        pytest.param({"instances": ["foo", "bar"]}, "instances", [(b"foo",), (b"bar",)], id="plain-list"),
        pytest.param({"instances": [B64]}, "instances", [(b"\xff\x00",)], id="base64"),
        pytest.param({"instances": [{"image_bytes": B64}]}, "instances", [(b"\xff\x00",)], id="named"),
        pytest.param(
            {"instances": ["é"], "signature_name": ""}, "instances", [("é".encode(),)], id="default-signature"
        ),
        pytest.param({"inputs": {"image_bytes": [B64, "a"]}}, "inputs", [(b"\xff\x00",), (b"a",)], id="columns"),
        pytest.param({"inputs": ["a"]}, "inputs", [(b"a",)], id="column-without-name"),
        pytest.param(
            {"instances": [{"text_a": "x", "text_b": "y"}], "signature_name": "pairs"},
            "instances",
            [(b"x", b"y")],
            id="several-inputs",
        ),
        pytest.param(
            {"inputs": {"text_a": ["x", "z"], "text_b": ["y", "w"]}, "signature_name": "pairs"},
            "inputs",
            [(b"x", b"y"), (b"z", b"w")],
            id="several-columns",
        ),
        pytest.param({"instances": [{"b64": "/w A="}]}, "instances", [(b"\xff\x00",)], id="base64-with-blanks"),
        pytest.param({"instances": [{"b64": "/wA"}]}, "instances", [(b"\xff\x00",)], id="base64-without-padding"),
        pytest.param({"instances": ["a"], "other": 1}, "instances", [(b"a",)], id="further-keys"),
    ],
)
def test_strings(document, form, rows):
    request = parse(document)
    assert (request.form, list(request.rows)) == (form, rows)


def test_numbers():
    request = parse(b'{"signature_name": "serve_tensor", "instances": [[[1, 2.5]], [[NaN, -Infinity]]]}')
    (first,), (second,) = request.rows
    assert first.dtype == np.float32
    np.testing.assert_array_equal(np.stack([first, second]), [[[1.0, 2.5]], [[np.nan, -np.inf]]])
    tokens = parse({"signature_name": "serve_tokens", "inputs": {"token_ids": [[5, 6]], "padding_mask": [[1, 0]]}})
    assert [[column.dtype, column.tolist()] for column in tokens.rows[0]] == [[np.int32, [5, 6]], [np.int32, [1, 0]]]


@pytest.mark.parametrize(
    ("document", "status", "message"),
    [
        pytest.param(b"", 400, "JSON Parse error: The document is empty", id="empty"),
        pytest.param(b"{", 400, "JSON Parse error: ", id="cut-off"),
        pytest.param(b"\xff\xfe{}", 400, "JSON Parse error: ", id="not-utf-8"),
        pytest.param(b'{"instances": ' + b"[" * 100_000, 400, "JSON Parse error: ", id="deep"),
        pytest.param(b'{"instances": ' + b"9" * 10_000 + b"}", 400, "JSON Parse error: ", id="long-number"),
        pytest.param([1], 400, "Is not object", id="list"),
        pytest.param({}, 400, "Missing 'inputs' or 'instances' key", id="no-key"),
        pytest.param({"instances": ["a"], "inputs": ["a"]}, 400, "expecting only one of", id="both-keys"),
        pytest.param({"instances": "a"}, 400, "'instances' to be a list/array", id="no-list"),
        pytest.param({"instances": []}, 400, "No values in 'instances' array", id="no-instances"),
        pytest.param({"instances": ["a"] * 4}, 413, "A request may have 3 inputs. Received: 4", id="too-many"),
        pytest.param({"instances": [1]}, 400, "not of expected type: DT_STRING", id="number-for-string"),
        pytest.param({"instances": [{"b64": "%"}]}, 400, "Unable to base64 decode", id="not-base64"),
        pytest.param({"instances": [{"b64": "a"}]}, 400, "Unable to base64 decode", id="half-base64"),
        pytest.param({"instances": [["a"]]}, 400, "not of expected type: DT_STRING", id="nested-string"),
        pytest.param({"instances": [{"image": "a"}]}, 400, "Keys must be equal to: image_bytes", id="other-name"),
        pytest.param(
            {"instances": ["a", {"image_bytes": "a"}]}, 400, "value/list but got object at item 1", id="mixed"
        ),
        pytest.param({"instances": ["a"], "signature_name": 3}, 400, "must be a string value", id="signature-number"),
        pytest.param(
            {"instances": ["a"], "signature_name": "x"},
            400,
            'Serving signature name: "x" not found in signature def',
            id="other-signature",
        ),
        pytest.param(
            {"instances": ["a"], "signature_name": "classes"},
            400,
            "Failed to get input map for signature: classes",
            id="signature-without-inputs",
        ),
        pytest.param({"inputs": {"image": ["a"]}}, 400, "Missing named input: image_bytes", id="missing-column"),
        pytest.param({"inputs": {"image_bytes": "a"}}, 400, "Expecting a list with a value per input", id="no-column"),
        pytest.param(
            {"inputs": {"text_a": ["x"], "text_b": ["y", "z"]}, "signature_name": "pairs"},
            400,
            "differ in the size of their first dimension: text_a 1, text_b 2",
            id="columns-differ",
        ),
        pytest.param(
            {"instances": ["x"], "signature_name": "pairs"}, 400, "instances is a plain list", id="plain-pairs"
        ),
        pytest.param(
            {"inputs": ["x"], "signature_name": "pairs"}, 400, "inputs is a plain value/list", id="plain-columns"
        ),
        pytest.param(
            {"instances": [[[1, "a"]]], "signature_name": "serve_tensor"},
            400,
            "not of expected type: DT_FLOAT",
            id="string-for-number",
        ),
        pytest.param(
            {"instances": [[[1, 2], [3]]], "signature_name": "serve_tensor"}, 400, "differ in size", id="ragged"
        ),
        pytest.param(
            {"instances": [[[1, 2, 3]]], "signature_name": "serve_tensor"},
            400,
            "Expecting shape [1,2] of pixels but got: [1, 3]",
            id="other-shape",
        ),
        pytest.param(
            {"inputs": {"token_ids": [[1.5]], "padding_mask": [[1]]}, "signature_name": "serve_tokens"},
            400,
            "not of expected type: DT_INT32",
            id="fraction-for-whole-number",
        ),
        pytest.param(
            {"inputs": {"token_ids": [[2**31]], "padding_mask": [[1]]}, "signature_name": "serve_tokens"},
            400,
            "token_ids has numbers that are not int32",
            id="large-number",
        ),
        pytest.param(
            {"inputs": {"token_ids": [[1, 2]], "padding_mask": [[1]]}, "signature_name": "serve_tokens"},
            400,
            "differ in length",
            id="mask-of-other-length",
        ),
        pytest.param(
            {"inputs": {"token_ids": [[1, 2], [1]], "padding_mask": [[1, 1], [1]]}, "signature_name": "serve_tokens"},
            400,
            "Rows of token_ids differ in shape",
            id="rows-of-other-length",
        ),
    ],
)
def test_what_is_refused(document, status, message):
    with pytest.raises(Refusal) as refusal:
        parse(document)
    assert refusal.value.status == status
    assert message in refusal.value.message
    assert len(refusal.value.message) < 400


def test_responses_by_row_and_by_column():
    outputs = {
        "probabilities": np.array([[0.2, 0.8], [1e-9, 1.0]], np.float32),
        "label": np.array([b"chien \xc3\xa9", b""], object),
        "ok": np.array([True, False]),
    }
    rows = [
        {"probabilities": [0.2, 0.8], "label": "chien é", "ok": True},
        {"probabilities": [1e-9, 1.0], "label": "", "ok": False},
    ]
    assert json.loads(format_answer("instances", outputs)) == {"predictions": rows}
    columns = {name: [row[name] for row in rows] for name in outputs}
    assert json.loads(format_answer("inputs", outputs)) == {"outputs": columns}
    one = {"values": np.array([[np.nan]], np.float32)}
    assert format_answer("instances", one) == b'{"predictions": [[NaN]]}'
    assert format_answer("inputs", one) == b'{"outputs": [[NaN]]}'


def test_floats_are_exact():
    values = np.random.default_rng(0).normal(0, 1, (50, 20)).astype(np.float32) ** 9
    found = json.loads(format_answer("inputs", {"values": values}))["outputs"]
    np.testing.assert_array_equal(np.array(found, np.float32), values)


def test_metadata():
    outputs = (TensorInfo("score", "float32", (None,)),)
    described = describe_metadata("pets", 3, {"serving_default": Signature((IMAGE,), outputs)})
    assert described["model_spec"] == {"name": "pets", "signature_name": "", "version": "3"}
    signature = described["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    batch = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"]["image_bytes"] == {
        "dtype": "DT_STRING",
        "tensor_shape": batch,
        "name": "serving_default_image_bytes:0",
    }
    assert {key: signature["outputs"]["score"][key] for key in ("dtype", "tensor_shape")} == {
        "dtype": "DT_FLOAT",
        "tensor_shape": batch,
    }
