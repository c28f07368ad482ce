"""Decode all recordings once into one array: a training step then reads samples, and no files."""

import hashlib
import json
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.console import track
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.examples.samples import Samples
from keras_transfer.data.formats.recordings import decode_clips, resample
from keras_transfer.errors import DataError, list_lines
from keras_transfer.storage.cache_store import FeatureStore, cache_folder
from keras_transfer.storage.content_hashes import HASH
from keras_transfer.storage.stored_arrays import ArrayFile, HeldArray, StoredArray, read_held

_FORMAT = 1
_FILES = _DATA, _BOUNDS = ["samples.npy", "bounds.npy"]
_MOST_HELD_BYTES = 1 << 26
_MOST_THREADS = 8
_Floats = NDArray[np.float32]
_Stored = tuple[StoredArray, NDArray[np.int64]]
# A row with its samples or its problem.
_Decoded = tuple[int, _Floats | str]


def decode_recordings(recordings: Recordings, sample_rate: int, *, cached: bool) -> Samples:
    """Decode recordings in parallel, or load their samples from the cache.

    Zeros at the end of a recording are left out: batches are padded with zeros, and predictors ignore them.

    Args:
        cached: Whether to write the samples to the cache. Otherwise, or if it cannot be written, they are in memory, or
            in a temporary file if they are large.

    Raises:
        DataError: Some cannot be decoded, or there is no space for their samples.
    """
    hashes = recordings.content_hashes
    store = FeatureStore(cache_folder() / "features", max_bytes=None)
    key = _make_key(hashes, sample_rate)
    stored = _find(store, key, len(recordings))
    if stored is None and cached:
        stored = _write_entry(store, key, recordings, hashes, sample_rate)
    data, bounds = stored or _hold(recordings, sample_rate)
    return Samples(recordings, sample_rate, data, bounds, hashes)


def _make_key(hashes: list[str], sample_rate: int) -> str:
    digest = hashlib.sha256(json.dumps(["samples", _FORMAT, HASH, sample_rate]).encode())
    for content in hashes:
        digest.update(f"{content}\n".encode())
    return digest.hexdigest()


def _find(store: FeatureStore, key: str, rows: int) -> _Stored | None:
    """The samples of a cache entry; None if there is no such entry, or a damaged one."""
    files = store.find_files(key)
    try:
        return None if files is None else _load(files, rows)
    except (OSError, ValueError) as error:
        store.discard(key, error)
        return None


def _load(files: list[Path], rows: int) -> _Stored:
    if [file.name for file in files] != _FILES:
        raise ValueError("unexpected files")
    data, bounds = ArrayFile(files[0]), np.load(files[1], allow_pickle=False)
    found = (data.dtype, data.shape[1:], bounds.dtype, bounds.shape)
    if found != (np.dtype(np.float32), (), np.dtype(np.int64), (rows, 2)):
        raise ValueError("its arrays have the wrong type or shape")
    if not ((bounds >= 0) & (bounds <= data.shape[0])).all() or (bounds[:, 0] > bounds[:, 1]).any():
        raise ValueError("the bounds of its recordings are invalid")
    is_small = data.shape[0] * data.dtype.itemsize <= _MOST_HELD_BYTES
    return (HeldArray(np.asarray(data)) if is_small else data), bounds


def _write_entry(
    store: FeatureStore, key: str, recordings: Recordings, hashes: list[str], sample_rate: int
) -> _Stored | None:
    """Write samples to the cache; return None if that is impossible."""
    count = len(recordings)
    decoded = track(_decode_all(recordings, sample_rate), "decoding recordings", count)
    try:
        with store.begin() as folder:
            with (folder / _DATA).open("wb") as file:
                bounds = _write_samples(file, decoded, recordings)
            np.save(folder / _BOUNDS, bounds)
            _check_unchanged(recordings, hashes)
            store.publish(folder, key, f"samples of {count:,} recordings at {sample_rate:,} Hz", _FILES)
    except OSError:
        return None
    return _find(store, key, count)


def _check_unchanged(recordings: Recordings, hashes: list[str]) -> None:
    """Refuse files that changed while they were decoded: their samples would be cached for the old content."""
    pairs = zip(recordings.places, hashes, recordings.content_hashes, strict=True)
    changed = [place for place, before, now in pairs if before != now]
    if changed:
        raise DataError(
            f"{len(changed)} recordings changed while they were decoded:\n{list_lines(changed)}\nRun again."
        )


def _hold(recordings: Recordings, sample_rate: int) -> _Stored:
    """Store samples in memory, or in a temporary file if they are large."""
    file: Any = tempfile.SpooledTemporaryFile(max_size=_MOST_HELD_BYTES)
    try:
        bounds = _write_samples(file, _decode_all(recordings, sample_rate), recordings)
        file.flush()
    except (OSError, MemoryError) as error:
        raise DataError(
            f"There is no space for the samples of {len(recordings):,} recordings in {tempfile.gettempdir()}: {error}. "
            "Free some, or set TMPDIR to another folder."
        ) from error
    is_small = bounds.max(initial=0) * np.dtype(np.float32).itemsize <= _MOST_HELD_BYTES // 2
    return (read_held(file) if is_small else ArrayFile(file)), bounds


def _write_samples(file: Any, decoded: Iterable[_Decoded], recordings: Recordings) -> NDArray[np.int64]:
    """Write an array of all samples; return the bounds of each recording.

    Raises:
        DataError: Some cannot be decoded.
    """
    bounds, end, problems = np.zeros((len(recordings), 2), np.int64), 0, list[tuple[int, str]]()
    _write_header(file, 0)
    for row, samples in decoded:
        if isinstance(samples, str):
            problems.append((row, samples))
        elif not problems:
            file.write(samples.tobytes())
            bounds[row] = end, end + len(samples)
            end += len(samples)
    if problems:
        places = recordings.places
        lines = [f"{places[row]}: {problem}" for row, problem in sorted(problems)]
        raise DataError(
            f"{len(lines)} recordings cannot be decoded:\n{list_lines(lines)}\nReplace them, or leave them out."
        )
    # NumPy's headers are padded, so that the number of samples may grow.
    file.seek(0)
    _write_header(file, end)
    return bounds


def _write_header(file: Any, count: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)


def _decode_all(recordings: Recordings, sample_rate: int) -> Iterator[_Decoded]:
    """Rows with their samples or problems, decoded a few files ahead of their use."""
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    ahead: deque[Future[list[_Decoded]]] = deque()
    # Python objects may share a name; otherwise only clips have the same file several times.
    files = [[row] for row in range(len(recordings))] if recordings.spans is None else recordings.rows_by_file()
    with ThreadPoolExecutor(threads) as pool:
        for rows in files:
            ahead.append(pool.submit(_decode_file, recordings, rows, sample_rate))
            if len(ahead) > 2 * threads:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def _decode_file(recordings: Recordings, rows: list[int], sample_rate: int) -> list[_Decoded]:
    """Decode a recording, or all clips of one."""
    try:
        found, rate = decode_clips(recordings.read(rows[0]), [recordings.span(row) for row in rows])
        return [(row, _finish(samples, rate, sample_rate)) for row, samples in zip(rows, found, strict=True)]
    except (OSError, ValueError) as error:
        problem = (getattr(error, "strerror", None) or str(error)) if isinstance(error, OSError) else str(error)
        return [(row, problem) for row in rows]


def _finish(samples: _Floats | str, rate: int, sample_rate: int) -> _Floats | str:
    """Resample, refuse recordings without sound, and strip the zeros at the end."""
    if isinstance(samples, str):
        return samples
    samples = resample(samples, rate, sample_rate)
    if not len(samples):
        return "no samples"
    if not np.isfinite(samples).all():
        return "samples that are NaN or infinite"
    if samples[-1]:
        return np.ascontiguousarray(samples)
    sounding = np.flatnonzero(samples)
    return np.ascontiguousarray(samples[: sounding[-1] + 1 if len(sounding) else 1])
