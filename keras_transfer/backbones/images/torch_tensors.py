"""Read tensors from a legacy PyTorch file without PyTorch, and without running the functions that a pickle names.

Before version 1.6 ``torch.save`` wrote five pickles in a row (a magic number, the protocol, facts about the machine,
the object, the keys of the storages), followed by the bytes of each storage. A pickle may name any function for the
reader to call; this reader allows only the few names that a dictionary of tensors needs and refuses all others. Layout:
``_legacy_save`` in torch/serialization.py.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.errors import BackboneError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# The exceptions that a damaged pickle may cause; MemoryError is for a length that is impossible.
_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    MemoryError,
)


class _Storage:
    """The flat memory of one or more tensors; filled after the pickle is read."""

    def __init__(self, dtype: str, size: int) -> None:
        self.dtype = np.dtype(dtype)
        self.size = size
        self.values: NDArray[Any] | None = None


class _Tensor:
    """Replaces the result of ``torch._utils._rebuild_tensor_v2``."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def to_numpy(self) -> NDArray[Any]:
        values = self.storage.values
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if values is None or self.offset < 0 or min((*self.strides, 0)) < 0 or last >= values.size:
            raise pickle.UnpicklingError("a tensor reaches past the end of its storage")
        steps = tuple(step * values.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps, writeable=False)
        return np.array(view)


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not allowed")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, size, _view = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind!r} outside the file")
        return self.storages.setdefault(key, _Storage(dtype, size))


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read a dictionary of tensors that ``torch.save`` wrote in its legacy format.

    Args:
        path: The ``.pth`` file.

    Returns:
        The tensors by name, in the order of the file, in their own types and shapes.

    Raises:
        BackboneError: The file is not of this format, is damaged, or names anything but tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except _DAMAGE as error:
        raise BackboneError(
            f"Weights file {path} cannot be read as a legacy PyTorch dictionary of tensors: {error}. "
            "Use the file as its publisher wrote it; nothing in it was run."
        ) from error


def _read(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    magic, _protocol, _system = (_TensorUnpickler(file).load() for _ in range(3))
    if magic != _MAGIC_NUMBER:
        raise pickle.UnpicklingError("wrong magic number")
    unpickler = _TensorUnpickler(file)
    tensors = unpickler.load()
    for key in _TensorUnpickler(file).load():
        storage = unpickler.storages[key]
        size = int.from_bytes(file.read(8), "little")
        if size != storage.size:
            raise pickle.UnpicklingError(f"storage {key} has {size} values; expected {storage.size}")
        content = file.read(size * storage.dtype.itemsize)
        storage.values = np.frombuffer(content, dtype=storage.dtype, count=size)
    return {name: tensor.to_numpy() for name, tensor in tensors.items() if isinstance(tensor, _Tensor)}
