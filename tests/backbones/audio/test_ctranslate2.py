"""Reading tensors out of CTranslate2 models, and refusing what is damaged."""

import struct

import numpy as np
import pytest

from keras_transfer.backbones.audio.ctranslate2 import read_ctranslate2
from keras_transfer.errors import BackboneError

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(3, 5)).astype(np.float32)
FILTERS = RANDOM.normal(size=(3, 4, 2)).astype(np.float32)
TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value):
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def write(file, tensors, aliases=(), *, version=6):
    """Write what CTranslate2's converters write."""
    content = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    for name, value in tensors.items():
        content += text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        content += struct.pack("<BI", TYPES[value.dtype.name], value.nbytes) + value.tobytes()
    content += struct.pack("<I", len(aliases)) + b"".join(text(alias) + text(name) for alias, name in aliases)
    file.write_bytes(content)
    return file


def test_reads_tensors_with_a_prefix_from_one_file_or_from_parts(tmp_path):
    tensors = {
        "encoder/half": MATRIX.astype(np.float16),
        "encoder/heads": np.array(6, np.int16),
        "decoder/full": MATRIX,
    }
    file = write(tmp_path / "model.bin", tensors, [("encoder/tied", "encoder/half")])
    read = read_ctranslate2([file], prefix="encoder/")
    assert set(read) == {"encoder/half", "encoder/heads", "encoder/tied"}
    assert read["encoder/half"].dtype == np.float32
    np.testing.assert_array_equal(read["encoder/half"], MATRIX.astype(np.float16))
    np.testing.assert_array_equal(read["encoder/tied"], read["encoder/half"])
    assert int(read["encoder/heads"]) == 6
    content = file.read_bytes()
    parts = [tmp_path / "part1", tmp_path / "part2"]
    for part, piece in zip(parts, (content[:61], content[61:]), strict=True):
        part.write_bytes(piece)
    np.testing.assert_array_equal(read_ctranslate2(parts)["decoder/full"], MATRIX)


@pytest.mark.parametrize(("value", "rows"), [(MATRIX, (3, 1)), (FILTERS, (3, 1, 1))], ids=["matrix", "convolution"])
def test_quantized_weights_are_dequantized_by_their_scales(tmp_path, value, rows):
    per_row = 127 / np.abs(value).reshape(3, -1).max(axis=1)
    of_all = np.float32(1000)
    tensors = {
        "a/weight": np.rint(value * per_row.reshape(rows)).astype(np.int8),
        "a/weight_scale": per_row,
        "b/weight": np.rint(value * of_all).astype(np.int16),
        "b/weight_scale": np.array(of_all),
    }
    read = read_ctranslate2([write(tmp_path / "model.bin", tensors)])
    assert set(read) == {"a/weight", "b/weight"}
    for row in range(3):
        np.testing.assert_allclose(read["a/weight"][row], value[row], atol=0.51 / per_row[row])
    np.testing.assert_allclose(read["b/weight"], value, atol=0.51 / of_all)


def test_reads_what_ctranslate2_writes(tmp_path):
    specs = pytest.importorskip("ctranslate2.specs")
    spec = specs.WhisperSpec(1, 2, 1, 2)
    random = np.random.default_rng(1)

    def fill(layer, name, value):
        key = name.rsplit("/")[-1]
        if value is None and not key.endswith("_scale"):
            shape = (4, 4, 3) if "conv" in name and key == "weight" else (4, 4) if key == "weight" else (4,)
            setattr(layer, key, random.normal(size=shape).astype(np.float32))

    spec._visit(fill)
    spec.register_vocabulary(list("abcd"))
    spec.validate()
    written = {name: np.array(value.numpy()) for name, value in spec.variables().items()}
    spec.optimize(quantization="int8_float32")
    spec._serialize(str(tmp_path / "model.bin"))
    read = read_ctranslate2([tmp_path / "model.bin"])
    for name in ("encoder/layer_0/ffn/linear_0/weight", "encoder/conv1/weight", "decoder/layer_norm/gamma"):
        np.testing.assert_allclose(read[name], written[name], atol=0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda content: b"", "it ends early", id="zero bytes"),
        pytest.param(lambda content: content[:-30], "it ends early", id="truncated"),
        pytest.param(lambda content: content + b"x", "1 bytes are left over", id="longer"),
        pytest.param(lambda content: b"\5" + content[1:], "its version is 5", id="other version"),
        pytest.param(lambda content: b"RIFF" + content[4:], "its version is", id="not a model"),
        pytest.param(lambda content: content.replace(b"\5\0\0\0\0", b"\5\0\0\0\x09"), "index", id="type"),
        pytest.param(lambda content: content.replace(b"\5\0\0\0\0", b"\4\0\0\0\0"), "has 60 bytes", id="shape"),
    ],
)
def test_damage_is_reported(tmp_path, change, reason):
    file = write(tmp_path / "model.bin", {"w": MATRIX})
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BackboneError, match=reason) as error:
        read_ctranslate2([file])
    assert str(file) in str(error.value)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(BackboneError, match="cannot be read: No such file"):
        read_ctranslate2([tmp_path / "model.bin"])
