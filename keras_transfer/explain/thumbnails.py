"""Small images for a page, alone and under a heat map."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keras_transfer.explain.records import EncodedImage

SIDE = 160
"""Of a thumbnail, in pixels; small images are enlarged by a whole factor."""

_QUALITY = 80
_MOST_COLOUR = 0.6
# Evidence against an output, for numbers: blue and orange can also be distinguished by colour-blind people.
_AGAINST = np.array([33.0, 102.0, 172.0])


def draw_thumbnail(pixels: NDArray[np.float32]) -> EncodedImage:
    """Draw an image.

    Args:
        pixels: ``float32[height, width, channels]`` in 0..255. If there are not one or three channels, the first three
            are shown, or the first one.
    """
    return encode_jpeg(_scale(_to_rgb(pixels)), quality=_QUALITY)


def draw_overlay(pixels: NDArray[np.float32], heat: NDArray[np.float32]) -> EncodedImage:
    """Draw an image in grey under its heat map.

    Args:
        heat: ``float32[height, width]`` in -1..1. Warm colours are above 0, from dark red to yellow; blue is below 0.
    """
    grey = _to_rgb(pixels).mean(axis=-1, keepdims=True)
    return encode_jpeg(_scale(blend(grey, heat, against=_AGAINST, most=_MOST_COLOUR)), quality=_QUALITY)


def blend(
    grey: NDArray[np.floating], heat: NDArray[np.float32], *, against: NDArray[np.float64], most: float
) -> NDArray[np.float64]:
    """Blend a grey image with the colours of a heat map.

    Args:
        grey: ``[height, width, 1]`` in 0..255.
        heat: ``float32[height, width]`` in -1..1.
        against: The colour of values below 0.
        most: The largest share of a colour.

    Returns:
        ``float64[height, width, 3]`` in 0..255.
    """
    from matplotlib import colormaps

    warm = colormaps["inferno"](0.35 + 0.6 * np.clip(heat, 0.0, 1.0))[..., :3] * 255.0
    colour = np.where(heat[..., None] < 0, against, warm)
    share = most * np.sqrt(np.abs(heat[..., None]))
    return np.asarray(grey * (1.0 - share) + colour * share)


def _to_rgb(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    shown = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    return np.broadcast_to(shown, (*shown.shape[:2], 3))


def _scale(pixels: NDArray[np.floating]) -> Image.Image:
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    largest = max(image.size)
    if largest > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        return image
    factor = SIDE // largest
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def encode_jpeg(image: Image.Image, *, quality: int) -> EncodedImage:
    """Encode an image for a page."""
    with io.BytesIO() as file:
        image.save(file, "JPEG", quality=quality, optimize=True)
        return EncodedImage(file.getvalue(), "image/jpeg", image.size)
