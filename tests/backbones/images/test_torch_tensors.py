"""Reading tensors out of PyTorch's legacy format, and refusing everything else."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from keras_transfer.backbones.images.torch_tensors import read_tensors
from keras_transfer.errors import BackboneError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class _Global:
    """Pickles as a call of a function that need not be there."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments


class _Storage:
    def __init__(self, key, size, kind="FloatStorage"):
        self.key, self.size, self.kind = key, size, kind


class _LegacyPickler(pickle._Pickler):
    """Writes what torch.save writes, without PyTorch."""

    def persistent_id(self, value):
        if isinstance(value, _Storage):
            return ("storage", _Global("torch", value.kind), value.key, "cpu", value.size, None)
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, _Rebuilt):
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def write(path, tensors, storages):
    """Write tensors ``{name: _Rebuilt}`` over storages ``{key: array}``."""
    with path.open("wb") as file:
        for value in (MAGIC_NUMBER, 1001, {"little_endian": True}):
            pickle.dump(value, file, protocol=2)
        _LegacyPickler(file, protocol=2).dump(tensors)
        pickle.dump(list(storages), file, protocol=2)
        for values in storages.values():
            file.write(values.size.to_bytes(8, "little") + values.tobytes())
    return path


@pytest.fixture
def file(tmp_path):
    values = np.arange(6, dtype="<f4")
    tensors = OrderedDict(
        whole=_Rebuilt(_Storage("0", 6), 0, (2, 3), (3, 1), False, OrderedDict()),
        turned=_Rebuilt(_Storage("0", 6), 0, (3, 2), (1, 3), False, OrderedDict()),
        part=_Rebuilt(_Storage("0", 6), 4, (2,), (1,), False, OrderedDict()),
    )
    return write(tmp_path / "good.pth", tensors, {"0": values})


def test_views_of_one_storage(file):
    tensors = read_tensors(file)
    assert list(tensors) == ["whole", "turned", "part"]
    np.testing.assert_array_equal(tensors["whole"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tensors["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(tensors["part"], [4, 5])


@pytest.mark.parametrize("place", [0, 3])
def test_a_pickle_that_names_a_function_is_refused_and_nothing_runs(tmp_path, file, place):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'was_run'}",)

    attack = pickle.dumps(Attack(), protocol=2)
    if place:
        start = b"".join(pickle.dumps(value, protocol=2) for value in (MAGIC_NUMBER, 1001, {}))
        attack = start + attack
    file.write_bytes(attack)
    with pytest.raises(BackboneError, match=r"refers to \w+\.system.*nothing in it was run"):
        read_tensors(file)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BackboneError, match=r"good\.pth cannot be read"):
        read_tensors(file)


@pytest.mark.parametrize("content", [b"not a pickle at all", b"\x80", b"\x00" * 100, b"PK\x03\x04", b"I123\n."])
def test_not_a_pickle(file, content):
    file.write_bytes(content)
    with pytest.raises(BackboneError, match=r"good\.pth cannot be read"):
        read_tensors(file)


def test_the_newer_zip_format(file):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    file.write_bytes(memory.getvalue())
    with pytest.raises(BackboneError, match=r"good\.pth cannot be read"):
        read_tensors(file)


@pytest.mark.parametrize(
    "rebuilt",
    [
        _Rebuilt(_Storage("0", 6), 0, (7,), (1,)),
        _Rebuilt(_Storage("0", 6), 5, (2,), (1,)),
        _Rebuilt(_Storage("0", 6), -1, (2,), (1,)),
        _Rebuilt(_Storage("0", 6), 0, (2,), (-1,)),
        _Rebuilt(_Storage("0", 6), 0, (10**9, 10**9), (10**9, 1)),
    ],
    ids=["longer", "past the end", "before the start", "backwards", "huge"],
)
def test_a_tensor_outside_its_storage(tmp_path, rebuilt):
    file = write(tmp_path / "bad.pth", {"x": rebuilt}, {"0": np.arange(6, dtype="<f4")})
    with pytest.raises(BackboneError, match="past the end"):
        read_tensors(file)


def test_a_storage_that_no_tensor_uses(tmp_path):
    tensors = {"x": _Rebuilt(_Storage("0", 6), 0, (6,), (1,))}
    file = write(tmp_path / "bad.pth", tensors, {"1": np.arange(6, dtype="<f4")})
    with pytest.raises(BackboneError, match="cannot be read"):
        read_tensors(file)
