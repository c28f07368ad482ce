"""Reading tensors out of ONNX files that the onnx package wrote, and refusing everything else."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from keras_transfer.backbones.audio.onnx_tensors import read_onnx_tensors
from keras_transfer.errors import BackboneError

TENSORS = {
    "kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "half": np.array([0.5, -2], np.float16),
    "double": np.array([[1e-300]], np.float64),
    "shape": np.array([-1, 1, 96], np.int64),
    "count": np.array(7, np.int32),
    "nothing": np.zeros((0, 3), np.float32),
}


def write(path, initializers):
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    inputs = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [inputs], [output], initializers)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_tensors_are_read_as_they_were_written(tmp_path):
    path = write(tmp_path / "a.onnx", [numpy_helper.from_array(value, name) for name, value in TENSORS.items()])
    read = read_onnx_tensors(path)
    assert list(read) == list(TENSORS)
    for name, value in TENSORS.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def elsewhere():
    tensor = numpy_helper.from_array(TENSORS["kernel"], "kernel")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    return tensor


def numbers():
    return helper.make_tensor("kernel", TensorProto.FLOAT, [2], [1.0, 2.0])


def wrong_shape():
    tensor = numpy_helper.from_array(TENSORS["kernel"], "kernel")
    tensor.dims[0] = 2**40
    return tensor


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(elsewhere, "stored in another file", id="a tensor in another file"),
        pytest.param(numbers, "not stored as bytes", id="numbers one by one"),
        pytest.param(wrong_shape, "reshape", id="a shape that does not fit"),
    ],
)
def test_other_tensors_are_refused(make, words, tmp_path):
    with pytest.raises(BackboneError, match=rf"cannot be read as an ONNX file: .*{words}"):
        read_onnx_tensors(write(tmp_path / "a.onnx", [make()]))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff" * 30, id="a number without an end"),
        pytest.param(b"\x3b", id="a kind of field that there is not"),
        pytest.param(b"\x3a\x05abc", id="a field past the end"),
        pytest.param(b"\x3a\x80\x80", id="a length that is cut off"),
    ],
)
def test_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="Use the file as its publisher wrote it"):
        read_onnx_tensors(path)
