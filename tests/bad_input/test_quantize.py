"""Wrong words for a quantized export."""

import pytest


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        pytest.param(["--quantize", "int8"], ["saved_model", "int8", "litert", "onnx"], id="a format that cannot"),
        pytest.param(["--format", "litert", "--max-drop", "0.1"], ["--max-drop", "--quantize"], id="max-drop alone"),
        pytest.param(
            ["--format", "litert", "--quantize", "int8", "--max-drop", "2"], ["max_drop", "less than"], id="above 1"
        ),
        pytest.param(
            ["--format", "onnx", "--quantize", "int8"], ["pixels", "litert", "float16"], id="int8 onnx of images"
        ),
        pytest.param(["--data", "images"], ["--data", "--quantize"], id="data alone"),
        pytest.param(
            ["--format", "litert", "--quantize", "int8", "--root", "x"], ["--root", "--data"], id="options of no table"
        ),
        pytest.param(
            ["--format", "litert", "--quantize", "int8", "--data", "not/there"], ["not/there"], id="no such data"
        ),
    ],
)
def test_wrong_words(words, needs, finished_run, refused, tmp_path):
    refused("export", finished_run.folder, "--out", tmp_path / "out", *words, needs=needs)
    assert not (tmp_path / "out").exists()
