"""Open every picture before training, so that a broken one is named in seconds and not in the third hour."""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from keras_transfer.data.memory import recall, remember
from keras_transfer.data.pictures import PictureExamples
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
    problems = [_find_broken(split, memory) for split in splits]
    found = [f"{file}: {problem}" for broken_ones in problems for file, problem in broken_ones.items()]
    kept = [
        split.select([i for i, file in enumerate(pictures_of(split).places) if file not in broken_ones])
        for split, broken_ones in zip(splits, problems, strict=True)
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
    record = memory / f"{hashlib.sha256(pictures.home.encode()).hexdigest()[:24]}.json"
    known = recall(record)
    stamps = dict(zip(pictures.places, pictures.states, strict=True))
    unknown = [row for row, (file, stamp) in enumerate(stamps.items()) if not stamp or known.get(file) != stamp]
    if not unknown:
        return {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = list(pool.map(lambda row: find_problem(pictures, row), unknown, chunksize=16))
    files = pictures.places
    problems = {files[row]: reason for row, reason in zip(unknown, reasons, strict=True) if reason is not None}
    remember(record, known | {file: stamp for file, stamp in stamps.items() if file not in problems})
    return problems


def find_problem(pictures: PictureExamples, row: int) -> str | None:
    """Decode one picture, as training will, and return what is wrong with it, or None."""
    try:
        content = pictures.read(row)
        if not content:
            return "zero bytes"
        with Image.open(io.BytesIO(content), formats=None) as image:
            if image.format not in FORMATS:
                return f"{image.format} is not supported; convert it to JPEG or PNG"
            if image.format == "BMP" and image.mode in ("1", "P"):
                return "BMP with a palette is not supported; convert it to PNG"
            try:
                tf.io.decode_image(content, expand_animations=False)
            except tf.errors.OpError:
                image.load()  # Pillow's reason is a better one; and some damage it forgives
                return "TensorFlow cannot decode it; save it anew as PNG"
    except UnidentifiedImageError:
        return "no picture"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return reason.splitlines()[0] if reason else type(error).__name__
    return None
