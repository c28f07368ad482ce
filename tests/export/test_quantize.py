"""Quantized files: which numbers have fewer bits, and that a temperature does not spoil them."""

import zipfile

import numpy as np
import pytest

from keras_transfer import ConfigError, ImageClassification
from keras_transfer.export import EXPORTERS
from keras_transfer.export.quantize import simplify


def export(run, folder, name, **settings):
    return run.export(folder, format=EXPORTS[name](max_drop=1.0, **settings))


EXPORTS = {name: EXPORTERS[name] for name in ("litert", "onnx")}


def test_a_temperature_is_applied_to_raw_outputs(finished_run):
    """Both are equal, up to rounding, and in the simplified model nothing takes the logarithm of a probability."""
    served = finished_run.served
    assert "Log" in {type(operation).__name__ for operation in served.model.operations}
    simple = simplify(served).model
    assert "Log" not in {type(operation).__name__ for operation in simple.operations}
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(simple.predict(pixels, verbose=0), served.model.predict(pixels, verbose=0), atol=1e-6)


def test_int8_of_a_network_of_images(finished_run, tmp_path):
    """Convolutions are int8; the head, and what clients see, are float32."""
    from ai_edge_litert import schema_py_generated as schema

    folder, drop = export(finished_run, tmp_path / "1", "litert", quantize="int8")
    assert drop.quantize == "int8" and drop.examples == len(finished_run.load_split("test"))
    description = EXPORTERS["litert"].read_description(folder)
    assert (description.quantize, description.proof) == ("int8", drop.to_json())
    assert zipfile.ZipFile(folder / "model.tflite").namelist() == ["keras_transfer.json"]
    graph = schema.ModelT.InitFromPackedBuf((folder / "model.tflite").read_bytes(), 0).subgraphs[0]
    kinds = [schema.TensorType.FLOAT32, schema.TensorType.INT8]
    assert {graph.tensors[place].type for place in (*graph.inputs, graph.outputs[0])} == {kinds[0]}
    types = [sorted({graph.tensors[place].type for place in operator.inputs[:2]}) for operator in graph.operators]
    # Three convolutions, whose pixels and kernels are int8, and a head of one dense layer.
    assert types.count([kinds[1]]) >= 3
    dense = [operator for operator in graph.operators if len(graph.tensors[operator.outputs[0]].shape) == 2]
    assert all(graph.tensors[operator.outputs[0]].type != kinds[1] for operator in dense[-2:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantize"),
    [
        pytest.param("litert", "float16", id="litert float16"),
        pytest.param("onnx", "float16", id="onnx float16"),
    ],
)
def test_other_kinds_are_written_and_run(name, quantize, finished_run, tmp_path):
    float_folder, _ = finished_run.export(tmp_path / "float", format=EXPORTS[name]())
    folder, drop = export(finished_run, tmp_path / "1", name, quantize=quantize)
    assert drop.quantize == quantize
    assert EXPORTERS[name].read_description(folder).proof == drop.to_json()
    sizes = [(each / EXPORTS[name].model_file).stat().st_size for each in (folder, float_folder)]
    assert sizes[0] < 1.1 * sizes[1]


@pytest.mark.slow
def test_the_page_of_a_run_reports_the_metric_drop_of_its_quantized_export(images, pebble, tmp_path):
    recipe = ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone="pebble",
        policy="head",
        export={"formats": [{"name": "litert", "quantize": "int8", "max_drop": 0.5}]},
    )
    page = (recipe.fit(tmp_path / "run").folder / "report.html").read_text(encoding="utf-8")
    assert "Quantized exports" in page and "export/litert/1" in page and '<data value="-0.5">' in page


def test_max_drop_is_only_for_quantized_exports():
    for exporter in EXPORTS.values():
        with pytest.raises(ConfigError, match="max_drop requires quantize; add quantize"):
            exporter(max_drop=0.02)
        with pytest.raises(ConfigError, match=r"quantize: Input should be 'int8' or 'float16'"):
            exporter(quantize="int4")
        assert exporter(**exporter().settings.model_dump()).quantize is None


def test_gemm_nodes_are_split_so_that_they_are_quantized():
    """With and without a bias, and with weights that are transposed."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from keras_transfer.export.onnx import split_gemm

    random = np.random.default_rng(0)
    first, bias, second = (random.normal(size=size).astype(np.float32) for size in ((5, 4), (5,), (5, 3)))
    nodes = [
        helper.make_node("Gemm", ["x", "first", "bias"], ["y"], name="one", transB=1),
        helper.make_node("Gemm", ["y", "second"], ["z"], name="two", beta=0.0),
    ]
    weights = {"first": first, "bias": bias, "second": second}
    tensors = [numpy_helper.from_array(x, name) for name, x in weights.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, size]) for name, size in (("x", 4), ("z", 3))]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], tensors)
    split_gemm(graph)
    assert [node.op_type for node in graph.node] == ["MatMul", "Add", "MatMul"]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = random.normal(size=(2, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["z"], {"x": x})[0], (x @ first.T + bias) @ second, rtol=1e-5)
