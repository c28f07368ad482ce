"""Images of stripes, each class in its own direction."""

import io

import numpy as np
from PIL import Image

CLASSES = ("across", "down", "slanted")


def draw_png(kind: int, number: int, size: int = 24) -> bytes:
    """Draw one image; the same every time."""
    random = np.random.default_rng([kind, number])
    y, x = np.mgrid[:size, :size]
    place = (y, x, x + y)[kind]
    wave = np.sin(place / random.uniform(1.0, 1.6) + random.uniform(0.0, 6.0))
    pixels = 128.0 + 100.0 * wave[..., None] + random.normal(0.0, 10.0, (size, size, 3))
    with io.BytesIO() as file:
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
        return file.getvalue()
