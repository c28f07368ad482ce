"""Check every image before training, so that a broken one is reported in seconds instead of hours."""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from keras_transfer.data.checks.broken import Scan, leave_out_broken
from keras_transfer.data.examples.images import ImageExamples
from keras_transfer.data.formats.decoders import DECODES_WEBP, decode_pixels, kind_of
from keras_transfer.data.formats.headers import read_header
from keras_transfer.data.formats.npy import MARK, read_array_shape
from keras_transfer.data.splits.splits import Split, images_of
from keras_transfer.errors import first_line, list_lines
from keras_transfer.storage.content_hashes import Stamp, hash_content, recall, remember

# The formats that TensorFlow decodes inside the exported graph.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP")  # MPO: a JPEG followed by further images, as written by phones
# Formats that Pillow does not support, by the bytes that such files start with.
_FOREIGN = {"HEIC": (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1"), "SVG": (b"<svg", b"<?xml")}
# Increase this when the checks change: images that an earlier scan passed are then checked again.
_FORMAT = 5


@dataclass(frozen=True)
class Look:
    """The result of checking an image.

    Attributes:
        problem: The problem of the image, or None.
        animated: Whether it has more than one frame.
        kind: The bytes that identify its format.
        content_hash: The hash of its content, if it was read.
    """

    problem: str | None
    animated: bool = False
    kind: bytes = b""
    content_hash: str = ""


def scan(splits: Sequence[Split], *, broken: str, max_pixels: int, channels: int, memory: Path) -> Scan:
    """Check every image, in parallel; images that passed earlier and have not changed are not read again.

    Args:
        broken: ``error`` or ``skip``.
        channels: Images that cannot be converted to this number of channels count as broken.
        memory: The folder of cached results; it is not used if it cannot be written.

    Returns:
        The splits without their broken images and with known formats, and the problems.

    Raises:
        DataError: There are broken images and ``broken`` is ``error``, or all images of a split are broken.
    """
    looks = [_look_at_all(split, max_pixels, channels, memory) for split in splits]
    problems = [_problems_of(split, each) for split, each in zip(splits, looks, strict=True)]
    found = leave_out_broken(splits, problems, broken=broken, plural="images")
    kept = [_with_kinds(split, each) for split, each in zip(found.splits, looks, strict=True)]
    notes = _note_animated([place for each in looks for place, look in each.items() if look.animated])
    return replace(found, splits=kept, notes=notes)


def _problems_of(split: Split, looks: dict[str, Look]) -> dict[int, str]:
    problems = ((row, looks[place].problem) for row, place in enumerate(images_of(split).places))
    return {row: problem for row, problem in problems if problem is not None}


def _with_kinds(split: Split, looks: dict[str, Look]) -> Split:
    kinds = frozenset(looks[place].kind for place in images_of(split).places)
    return split.with_examples(images_of(split).with_kinds(kinds))


def _note_animated(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    return [f"Animated images, of which only the first frame is used: {len(files)}", *list_lines(files).splitlines()]


def _look_at_all(split: Split, max_pixels: int, channels: int, memory: Path) -> dict[str, Look]:
    """The result for each image of a split. Images that passed are cached by content, so that they pass anywhere."""
    images = images_of(split)
    facts = [images.home, _FORMAT, max_pixels, channels, tf.__version__]
    record = memory / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]}.json"
    known = recall(record, (bool, str))
    places, stamps = images.places, images.stamps
    looks: dict[str, Look] = {}
    unknown = []
    for row, (place, stamp) in enumerate(zip(places, stamps, strict=True)):
        if stamp.content_hash in known:
            animated, kind = known[stamp.content_hash]
            looks[place] = Look(None, animated, kind.encode("latin-1"))
        else:
            unknown.append(row)
    if unknown:
        # Pillow warns about images that decode without an error.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(lambda row: look_at(images, row, max_pixels, channels), unknown))
        looks |= {places[row]: look for row, look in zip(unknown, found, strict=True)}
        images.remember(
            {row: Stamp(stamps[row].state, look.content_hash) for row, look in zip(unknown, found, strict=True)}
        )
        whole = {
            look.content_hash: [look.animated, look.kind.decode("latin-1")] for look in found if look.problem is None
        }
        remember(record, known | whole)
    return looks


def look_at(images: ImageExamples, row: int, max_pixels: int, channels: int) -> Look:
    """Check one image; it is decoded by TensorFlow only if its structure does not show that it is complete."""
    try:
        content = images.read(row)
    except (OSError, ValueError) as error:  # ValueError: an image in memory that cannot be encoded, an empty path
        return Look(first_line(error))
    # Any image can be shown in grey or in colour; for other numbers of channels it must be decoded.
    header = read_header(content) if channels in (1, 3) else None
    excess = None if header is None else _find_excess(header.width, header.height, max_pixels)
    if header is None or (excess is None and not header.has_whole_stream()):
        look = _look_closely(content, max_pixels, channels)
    else:
        look = Look(excess, header.animated)
    return replace(look, kind=kind_of(content), content_hash=hash_content(content))


def find_problem(images: ImageExamples, row: int, max_pixels: int, channels: int) -> str | None:
    """Decode one image as training does, and return its problem, or None."""
    with warnings.catch_warnings(action="ignore"):
        return look_closely_at(images, row, max_pixels, channels).problem


def look_closely_at(images: ImageExamples, row: int, max_pixels: int, channels: int) -> Look:
    """Check one image by decoding it as training does."""
    try:
        content = images.read(row)
    except (OSError, ValueError, SyntaxError) as error:  # ValueError: an image in memory that cannot be encoded
        return Look(first_line(error))
    return replace(_look_closely(content, max_pixels, channels), kind=kind_of(content))


def _look_closely(content: bytes, max_pixels: int, channels: int) -> Look:
    if not content:
        return Look("zero bytes")
    try:
        if content.startswith(MARK):
            height, width, found = read_array_shape(content)
            return Look(_find_excess(width, height, max_pixels) or _find_other_channels(found, channels))
        with Image.open(io.BytesIO(content)) as image:
            excess = _find_excess(*image.size, max_pixels)
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            return Look(excess or _find_fault(image, content, channels), animated)
    except UnidentifiedImageError:
        foreign = [name for name, marks in _FOREIGN.items() if any(mark in content[:256] for mark in marks)]
        return Look(_unsupported(foreign[0]) if foreign else "not an image")
    except Image.DecompressionBombError:
        return Look(f"more pixels than data.max_pixels={max_pixels:,}")
    except Exception as error:  # Pillow raises nearly every kind for damaged files: IndexError for a GIF
        return Look(first_line(error))


def _find_excess(width: int, height: int, max_pixels: int) -> str | None:
    if width * height <= max_pixels:
        return None
    return f"{width:,} x {height:,} pixels, more than data.max_pixels={max_pixels:,}"


def _find_other_channels(found: int, channels: int) -> str | None:
    # Grey and colour images with alpha are composed on white.
    if found == channels or (channels in (1, 3) and found <= 4):
        return None
    return f"{found} channels; data.channels is {channels}"


def _find_fault(image: Image.Image, content: bytes, channels: int) -> str | None:
    if image.format not in FORMATS:
        return _unsupported(str(image.format))
    if image.format == "WEBP" and not DECODES_WEBP:
        return f"TensorFlow {tf.__version__} does not decode WebP; upgrade it, or convert to JPEG or PNG"
    try:
        pixels = decode_pixels(tf.constant(content)).numpy()
    except tf.errors.OpError:
        image.load()  # Pillow gives a better reason, and tolerates some damage
        return "TensorFlow cannot decode it; save it again as PNG"
    # TensorFlow decodes some variants of these two formats differently.
    if image.format in ("GIF", "BMP") and not _agrees(pixels, image):
        return f"a variant of {image.format} that TensorFlow decodes differently; save it as PNG"
    return _find_other_channels(pixels.shape[-1], channels)


def _agrees(pixels: NDArray[np.uint8], image: Image.Image) -> bool:
    """Whether pixels are equal to those of Pillow, on white."""
    white = Image.new("RGBA", image.size, "white")
    decoded = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGBA")
    both = [np.asarray(Image.alpha_composite(white, layer), np.int16) for layer in (decoded, image.convert("RGBA"))]
    return both[0].shape == both[1].shape and int(np.abs(both[0] - both[1]).max()) <= 2


def _unsupported(name: str) -> str:
    return f"{name} is not supported; convert it to JPEG or PNG"
