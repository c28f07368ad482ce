"""Arrays of cached features and images, read by position.

They are not memory-mapped: reading a mapped file that another process has truncated kills this process by SIGBUS, while
reading by position fails with an error.
"""

import errno
import math
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]


class StoredArray(Protocol):
    """An array whose records, along its first axis, are read on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""

    def read(self, start: int, stop: int) -> Array:
        """Return consecutive records of the array, ``[stop - start, ...]``.

        Raises:
            OSError: They cannot be read.
        """

    def take(self, view: int, rows: NDArray[np.int64]) -> Array:
        """Return rows of a view of an array ``[views, rows, ...]``.

        Raises:
            OSError: They cannot be read.
        """

    def problem(self) -> str | None:
        """Return why the array can no longer be read, or None."""


class ArrayFile:
    """An array in a ``.npy`` file.

    Args:
        file: A path, or an open file, which is read from its start and is closed with this object.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is not a ``.npy`` file, or contains Python objects.
    """

    def __init__(self, file: Path | BinaryIO) -> None:
        self._name = str(file) if isinstance(file, Path) else "a temporary file"
        self._file = file.open("rb", buffering=0) if isinstance(file, Path) else file
        self._descriptor = self._file.fileno()
        self._lock = threading.Lock()
        self._file.seek(0)
        version = np.lib.format.read_magic(self._file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"unknown version {version} of the .npy format")
        self.shape, is_fortran, self.dtype = read_header[version](self._file)
        if is_fortran or self.dtype.hasobject or not self.shape:
            raise ValueError("it is not an array of numbers by rows")
        self._start = self._file.tell()
        if os.fstat(self._descriptor).st_size < self._end:
            raise ValueError("it is truncated")

    def __del__(self) -> None:
        """Close the file."""
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all of it."""
        return self.read(0, self.shape[0]).astype(self.dtype if dtype is None else dtype, copy=False)

    def read(self, start: int, stop: int) -> Array:
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._fill(_bytes_of(out), start * self.dtype.itemsize * math.prod(self.shape[1:]))
        return out

    def take(self, view: int, rows: NDArray[np.int64]) -> Array:
        out = np.empty((len(rows), *self.shape[2:]), self.dtype)
        buffer, size = _bytes_of(out), self.dtype.itemsize * math.prod(self.shape[2:])
        first = view * self.shape[1]
        if len(rows) > 1 and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            self._fill(buffer, (first + int(rows[0])) * size)
            return out
        for number, row in enumerate(rows.tolist()):
            self._fill(buffer[number * size : (number + 1) * size], (first + row) * size)
        return out

    def problem(self) -> str | None:
        size = os.fstat(self._descriptor).st_size
        return None if size >= self._end else f"{self._name} was truncated to {size:,} of {self._end:,} bytes"

    @property
    def _end(self) -> int:
        return self._start + self.dtype.itemsize * math.prod(self.shape)

    def _fill(self, buffer: memoryview, offset: int) -> None:
        position = self._start + offset
        while len(buffer):
            count = self._read_at(buffer, position)
            if not count:
                raise OSError(errno.EIO, self.problem() or f"{self._name} ends too early")
            buffer, position = buffer[count:], position + count

    def _read_at(self, buffer: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, (buffer,), position)
        with self._lock:  # Windows
            self._file.seek(position)
            return self._file.readinto(buffer)  # type: ignore[attr-defined]


def _bytes_of(array: Array) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)


class HeldArray:
    """An array in memory."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return it."""
        return self._array.astype(self.dtype if dtype is None else dtype, copy=False)

    def read(self, start: int, stop: int) -> Array:
        return self._array[start:stop]

    def take(self, view: int, rows: NDArray[np.int64]) -> Array:
        return self._array[view][rows]

    def problem(self) -> str | None:
        return None


def read_held(file: BinaryIO) -> HeldArray:
    """Read all of a ``.npy`` file into memory."""
    file.seek(0)
    return HeldArray(np.lib.format.read_array(file, allow_pickle=False))


def size_of(arrays: Sequence[StoredArray]) -> int:
    """Return the size of arrays in bytes."""
    return sum(int(np.prod(array.shape)) * array.dtype.itemsize for array in arrays)


def write_arrays(
    files: Sequence[BinaryIO], shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any], batches: Iterable[Arrays]
) -> None:
    """Write arrays in pieces, each to a file.

    They are not memory-mapped: on a full disk that kills the process, while a write raises an error.

    Args:
        batches: Pieces of each array along its first axis, or along its first two axes flattened, in order.

    Raises:
        OSError: A file cannot be written.
        ValueError: The pieces do not add up to these shapes.
    """
    written = [0] * len(shapes)
    for file, shape in zip(files, shapes, strict=True):
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
    for batch in batches:
        for index, (file, array) in enumerate(zip(files, batch, strict=True)):
            _write_all(file, _bytes_of(np.ascontiguousarray(array, dtype)))
            written[index] += array.size
    expected = [int(np.prod(shape)) for shape in shapes]
    if written != expected:
        raise ValueError(f"The pieces of an entry hold {written} numbers. Its shapes need {expected}.")


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while len(data):  # a file without a buffer may write less than it is given
        data = data[file.write(data) :]
