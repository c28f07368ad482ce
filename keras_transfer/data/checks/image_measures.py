"""Measurements of images, computed once and cached by content."""

import hashlib
import io
import os
import string
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_transfer.data.examples.images import ImageExamples
from keras_transfer.errors import DataError
from keras_transfer.storage.content_hashes import recall, remember

SIDE = 8
"""Fields of a perceptual hash on a side."""

# Blur is measured at the scale of a few pixels of the network's input: networks take 160 to 300 pixels.
_SHARP_SIDE = 256
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageMeasures:
    """The measurements of an image.

    Attributes:
        grey: The grey of 8 x 8 fields, in hexadecimal; empty if Pillow cannot read the image.
        width: In pixels, as it is shown; 0 if Pillow cannot read the image.
        height: In pixels.
        deviation: Standard deviation of the grey levels, of 255.
        low: The grey level that 5 % of the pixels are below.
        high: The grey level that 5 % of the pixels are above.
        sharpness: Variance of the Laplacian over the variance of the grey levels, in at most 256 pixels a side: 20 for
            noise, near 0 for a blurred image.
    """

    grey: str
    width: int = 0
    height: int = 0
    deviation: float = 0.0
    low: float = 0.0
    high: float = 0.0
    sharpness: float = 0.0


def measure_images(images: ImageExamples, memory: Path) -> list[ImageMeasures]:
    """Measure images in parallel. Each content is decoded once; images that were measured before are not read again.

    Args:
        memory: The folder of cached results; it is not used if it cannot be written.

    Raises:
        DataError: An image can no longer be read.
    """
    record = memory / f"{hashlib.sha256(images.home.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.json"
    kinds = (str, int, int, float, float, float, float)
    known = {content: ImageMeasures(*row) for content, row in recall(record, kinds).items() if _is_grey(row[0])}
    contents = images.content_hashes
    unknown = {content: row for row, content in enumerate(contents) if content not in known}
    if unknown:
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda row: measure_image(images, row), unknown.values(), chunksize=16)
            known |= zip(unknown, found, strict=True)
        remember(record, {content: astuple(one) for content, one in known.items()})
    return [known[content] for content in contents]


def _is_grey(text: str) -> bool:
    return not text or (len(text) == 2 * SIDE**2 and not set(text) - set(string.hexdigits))


def measure_image(images: ImageExamples, row: int) -> ImageMeasures:
    """Measure one image."""
    try:
        content = images.read(row)
    except OSError as error:
        raise DataError(f"Cannot read {images.places[row]} any longer: {error.strerror}. Run again.") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _TURNED:
                width, height = height, width
            # A JPEG is decoded at a half to an eighth of its size; smaller ones would look different.
            image.draft("L", (32 * SIDE, 32 * SIDE))
            grey = image.convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ImageMeasures("")
    fields = grey.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes().hex()
    return ImageMeasures(fields, width, height, *_measure_levels(grey))


def _measure_levels(grey: Image.Image) -> tuple[float, float, float, float]:
    """Deviation, low and high grey levels, and sharpness."""
    histogram = np.array(grey.histogram(), np.float64)
    shares = histogram.cumsum() / histogram.sum()
    low, high = (float(np.searchsorted(shares, share)) for share in (0.05, 0.95))
    factor = _SHARP_SIDE / max(grey.size)
    if factor < 1.0:
        size = (max(round(grey.width * factor), 1), max(round(grey.height * factor), 1))
        grey = grey.resize(size, Image.Resampling.BOX)
    levels = np.asarray(grey, np.float32)
    variance = float(levels.var())
    sharpness = 0.0
    if min(levels.shape) > 2 and variance > 0.0:
        neighbours = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
        sharpness = float((4.0 * levels[1:-1, 1:-1] - neighbours).var()) / variance
    return round(variance**0.5, 3), low, high, round(sharpness, 6)
