"""Examples that are not files: their encoded bytes are written to an array in the cache in one pass."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.data.examples.files import EncodedFiles
from keras_transfer.errors import DataError
from keras_transfer.storage.cache_store import FeatureStore, cache_folder
from keras_transfer.storage.content_hashes import HASH, hash_content
from keras_transfer.storage.stored_arrays import ArrayFile

_FILES = _BYTES, _BOUNDS, _DIGESTS, _ROWS = ["bytes.npy", "bounds.npy", "digests.npy", "rows.jsonl"]


@dataclass(frozen=True)
class Record:
    """An example that is written to the array.

    Attributes:
        content: The bytes of a file.
        columns: The values of its other columns, by name.
    """

    name: str
    content: bytes
    columns: dict[str, Any]


def cache_records(
    records: Iterable[Record], *, source: str, plural: str, facts: object | None
) -> tuple[EncodedFiles, pd.DataFrame]:
    """Write examples to the cache, unless they are already there.

    Args:
        records: Read once, and not at all if they are cached; only one is in memory at a time.
        plural: What messages call the examples: ``images``.
        facts: JSON values that determine the content, as the cache key; None if only the content itself does.

    Returns:
        The examples, and a table with one row of their columns each.

    Raises:
        DataError: They cannot be written.
    """
    store = FeatureStore(cache_folder() / "features", max_bytes=None)
    key = None if facts is None else hashlib.sha256(json.dumps(["images", HASH, facts]).encode()).hexdigest()
    found = None if key is None else _find(store, key)
    if found is None:
        try:
            with store.begin() as folder:
                count, content = _write(folder, records)
                key = key or content
                store.publish(folder, key, f"{count:,} {plural} of {source}", _FILES)
        except OSError as error:
            raise DataError(
                f"Cannot write the {plural} of {source} to {cache_folder()}: {error.strerror or error}. "
                "Free some space, or set KERAS_TRANSFER_CACHE to another folder."
            ) from error
        found = _find(store, key)
    if found is None:
        raise DataError(
            f"The {plural} of {source} cannot be read from {cache_folder()}: they were removed by another process, or "
            "replaced by another user's damaged entry. Run again, or set KERAS_TRANSFER_CACHE to another folder."
        )
    return found


def _find(store: FeatureStore, key: str) -> tuple[EncodedFiles, pd.DataFrame] | None:
    """The examples of a cache entry; None if there is no such entry, or a damaged one."""
    files = store.find_files(key)
    try:
        return None if files is None else _load(files)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        store.discard(key, error)
        return None


def _write(folder: Path, records: Iterable[Record]) -> tuple[int, str]:
    """Return the number of examples, and a digest of all of them."""
    ends, digests, rows = [0], bytearray(), hashlib.sha256()
    with (folder / _BYTES).open("wb") as file, (folder / _ROWS).open("wb") as lines:
        _write_header(file, 0)
        for record in records:
            file.write(record.content)
            ends.append(ends[-1] + len(record.content))
            digests += bytes.fromhex(hash_content(record.content))
            line = json.dumps([record.name, record.columns], default=_to_json).encode() + b"\n"
            lines.write(line)
            rows.update(line)
        # NumPy's headers are padded, so that the number of bytes may grow.
        file.seek(0)
        _write_header(file, ends[-1])
    bounds = np.array([ends[:-1], ends[1:]], np.int64).T
    np.save(folder / _BOUNDS, bounds)
    np.save(folder / _DIGESTS, np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32))
    return len(bounds), hashlib.sha256(bytes(digests) + rows.digest()).hexdigest()


def _write_header(file: Any, count: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count,)})


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _load(files: list[Path]) -> tuple[EncodedFiles, pd.DataFrame]:
    if [file.name for file in files] != _FILES:
        raise ValueError("unexpected files")
    data = ArrayFile(files[0])
    bounds, digests = (np.load(file, allow_pickle=False) for file in files[1:3])
    with files[3].open("rb") as lines:
        rows = [json.loads(line) for line in lines]
    names = tuple(name for name, _ in rows)
    found = [(bounds.dtype, bounds.shape), (digests.dtype, digests.shape), (data.dtype, data.shape[1:])]
    number, byte = np.dtype(np.int64), np.dtype(np.uint8)
    if found != [(number, (len(rows), 2)), (byte, (len(rows), 32)), (byte, ())]:
        raise ValueError("its arrays have the wrong type or shape")
    if not ((bounds >= 0) & (bounds <= data.shape[0])).all() or (bounds[:, 0] > bounds[:, 1]).any():
        raise ValueError("the bounds of its files are invalid")
    if not all(isinstance(name, str) and isinstance(columns, dict) for name, columns in rows):
        raise ValueError("its rows are not names and columns")
    examples = EncodedFiles(str(files[0].parent), names, data, bounds, digests)
    return examples, pd.DataFrame([columns for _, columns in rows], dtype=object)
