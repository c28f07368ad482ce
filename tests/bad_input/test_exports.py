"""Exports that are impossible: each message says what to do, and nothing is written."""

import importlib.util

import pytest

CASES = [
    pytest.param("onx", {}, ["no export format named 'onx'", "Did you mean onnx"], id="format"),
    pytest.param("onnx", {"missing": "tf2onnx"}, ["tf2onnx", "pip install 'keras-transfer[onnx]'"], id="no ONNX"),
    pytest.param("litert", {"missing": "ai_edge_litert"}, ["ai_edge_litert", "keras-transfer[litert]"], id="no LiteRT"),
    pytest.param("onnx", {"exists": True}, ["exists. Choose another --out."], id="folder exists"),
]


@pytest.mark.parametrize(("name", "fault", "needs"), CASES)
def test_export(name, fault, needs, finished_run, refused, monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec

    def find(package, *arguments):
        return None if package == fault.get("missing") else find_spec(package, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    out = tmp_path / "out"
    if fault.get("exists"):
        out.mkdir()
    refused("export", finished_run.folder, "--format", name, "--out", out, needs=needs)
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize(
    ("formats", "needs"),
    [
        pytest.param("[{name: onnx, opset: 99}]", ["export.formats.0.opset", "less than or equal to 18"], id="opset"),
        pytest.param("[{name: onnx, opsett: 17}]", ["opsett", "Did you mean opset?"], id="unknown setting"),
        pytest.param("[litertt]", ["export.formats", "litertt", "litert"], id="unknown format"),
    ],
)
def test_recipe(formats, needs, images, refused):
    refused("check", "image/quickstart", f"data.source={images}", f"export.formats={formats}", needs=needs)
