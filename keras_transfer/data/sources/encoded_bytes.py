"""Images that are not files: one pass writes their encoded bytes to an array in the cache, which is then mapped."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.data.examples.images import EncodedImages
from keras_transfer.errors import DataError
from keras_transfer.storage.cache_store import FeatureStore, cache_folder
from keras_transfer.storage.content_hashes import HASH, hash_content

_BYTES, _BOUNDS, _DIGESTS, _ROWS = "bytes.npy", "bounds.npy", "digests.npy", "rows.jsonl"


@dataclass(frozen=True)
class Record:
    """An image that is written to the array.

    Attributes:
        name: Its name in messages and predictions.
        content: The bytes of an image file.
        columns: The values of its other columns, by name.
    """

    name: str
    content: bytes
    columns: dict[str, Any]


def cache_images(records: Iterable[Record], *, source: str, facts: object | None) -> tuple[EncodedImages, pd.DataFrame]:
    """Write images to the cache, or find them there.

    Args:
        records: Read once, and not at all if the cache has them; one image is in memory at a time.
        source: The source's name, for messages.
        facts: JSON values that determine the content, as the key of the cache; None if only the content itself does.

    Returns:
        The images, and a table with one row of their columns each.

    Raises:
        DataError: They cannot be written.
    """
    store = FeatureStore(cache_folder() / "features", max_bytes=None)
    key = None if facts is None else hashlib.sha256(json.dumps(["images", HASH, facts]).encode()).hexdigest()
    files = None if key is None else store.find_files(key)
    if files is None:
        try:
            with store.begin() as folder:
                count, content = _write(folder, records)
                key = key or content
                store.publish(folder, key, f"{count:,} images of {source}", [_BYTES, _BOUNDS, _DIGESTS, _ROWS])
        except OSError as error:
            raise DataError(
                f"Cannot write the images of {source} to {cache_folder()}: {error.strerror or error}. "
                "Free some space, or set KERAS_TRANSFER_CACHE to another folder."
            ) from error
        files = store.find_files(key)
    if files is None:
        raise DataError(f"Another process removed the images of {source} from {cache_folder()}. Run again.")
    return _load(files)


def _write(folder: Path, records: Iterable[Record]) -> tuple[int, str]:
    """Return how many there are, and a digest of all of them."""
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


def _load(files: list[Path]) -> tuple[EncodedImages, pd.DataFrame]:
    data, bounds, digests = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files[:3])
    with files[3].open("rb") as lines:
        rows = [json.loads(line) for line in lines]
    images = EncodedImages(
        str(files[0].parent), tuple(name for name, _ in rows), data, np.asarray(bounds), np.asarray(digests)
    )
    return images, pd.DataFrame([columns for _, columns in rows], dtype=object)
