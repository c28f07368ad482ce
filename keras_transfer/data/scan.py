"""Open every picture before training, so that a broken one is named in seconds and not in the third hour."""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from keras_transfer.data.splits import Split, pictures_of
from keras_transfer.errors import DataError, list_lines

# What TensorFlow decodes inside the exported graph.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP")  # MPO: a JPEG with further pictures behind it, as phones write


def scan(splits: Sequence[Split], *, broken: str, memory: Path) -> tuple[list[Split], list[str]]:
    """Open every picture, in parallel; pictures that were whole and have not changed are not opened again.

    Args:
        splits: The pictures.
        broken: ``error`` or ``skip``.
        memory: The folder that remembers earlier scans; one that cannot be written is done without.

    Returns:
        The splits without their broken pictures, and a line for each of those.

    Raises:
        DataError: There are broken pictures and ``broken`` is ``error``, or none of a split is whole.
    """
    problems = {file: problem for split in splits for file, problem in _find_broken(split, memory).items()}
    found = [f"{file}: {problem}" for file, problem in problems.items()]
    kept = [
        split.select([i for i, file in enumerate(pictures_of(split).files) if file not in problems]) for split in splits
    ]
    emptied = [split.name for split, rest in zip(splits, kept, strict=True) if len(split) and not len(rest)]
    if found and (broken == "error" or emptied):
        skip = f"for no {emptied[0]} picture is left" if broken == "skip" else "or leave them out with data.broken=skip"
        raise DataError(
            f"{len(found)} of {sum(map(len, splits))} pictures cannot be read:\n{list_lines(found)}\n"
            f"Mend or remove them, {skip}."
        )
    return kept, found


def _find_broken(split: Split, memory: Path) -> dict[str, str]:
    """What is wrong with each broken file of a split."""
    pictures = pictures_of(split)
    record = memory / f"{hashlib.sha256(str(pictures.root).encode()).hexdigest()[:24]}.json"
    known = _recall(record)
    stamps = {file: _stamp(file) for file in pictures.files}
    unknown = [file for file, stamp in stamps.items() if known.get(file) != stamp]
    if not unknown:
        return {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = dict(zip(unknown, pool.map(find_problem, unknown, chunksize=16), strict=True))
    problems = {file: reason for file, reason in reasons.items() if reason is not None}
    _remember(record, known | {file: stamp for file, stamp in stamps.items() if file not in problems})
    return problems


def find_problem(file: str) -> str | None:
    """Decode one picture, as training will, and return what is wrong with it, or None."""
    try:
        if os.path.getsize(file) == 0:
            return "zero bytes"
        with Image.open(file, formats=None) as image:
            if image.format not in FORMATS:
                return f"{image.format} is not supported; convert it to JPEG or PNG"
            if image.format == "BMP" and image.mode in ("1", "P"):
                return "BMP with a palette is not supported; convert it to PNG"
            try:
                tf.io.decode_image(tf.io.read_file(file), expand_animations=False)
            except tf.errors.OpError:
                image.load()  # Pillow's reason is a better one; and some damage it forgives
                return "TensorFlow cannot decode it; save it anew as PNG"
    except UnidentifiedImageError:
        return "no picture"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return reason.splitlines()[0] if reason else type(error).__name__
    return None


def _stamp(file: str) -> list[int]:
    try:
        status = os.stat(file)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _recall(record: Path) -> dict[str, list[int]]:
    try:
        stamps = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _remember(record: Path, stamps: dict[str, list[int]]) -> None:
    """Memory is a convenience: where it cannot be kept, the next scan opens everything again."""
    beside = record.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(stamps), encoding="utf-8")
            beside.replace(record)
        finally:
            beside.unlink(missing_ok=True)
