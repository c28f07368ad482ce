"""Encode images in memory as files, so that one decoder is used for them, for training and for the exported model."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from keras_transfer.data.formats.npy import encode_array

# PNG supports these exactly. Pillow's other modes with one number per pixel have no fixed range.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_NO_RANGE = ("I", "F")


_THUMBNAIL = 192


def make_thumbnail(content: bytes) -> bytes:
    """Return an image of at most 192 x 192 pixels as JPEG, upright, on white.

    Raises:
        OSError: Pillow cannot read it.
    """
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (_THUMBNAIL, _THUMBNAIL))
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    upright.thumbnail((_THUMBNAIL, _THUMBNAIL))
    white = Image.new("RGBA", upright.size, "white")
    buffer = io.BytesIO()
    Image.alpha_composite(white, upright).convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def encode_pixels(pixels: NDArray[Any]) -> bytes:
    """Encode an array: as PNG, which is lossless, or in NumPy's own format if it has more than four channels.

    Args:
        pixels: ``uint8[height, width]`` or ``uint8[height, width, channels]``; other types if all values are whole and
            in 0..255.

    Raises:
        ValueError: It has another shape, or other values.
    """
    pixels = _to_bytes(pixels)
    if pixels.ndim == 3 and pixels.shape[-1] > 4:
        return encode_array(pixels)
    return _save(Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels))


def encode_pillow(image: Image.Image) -> bytes:
    """Encode a PIL image as PNG, turned upright by its EXIF orientation as files are.

    Raises:
        ValueError: Its values have no fixed range, or it is closed.
        OSError: Its file is damaged.
    """
    if image.mode in _NO_RANGE:
        raise ValueError(f"a PIL image of mode {image.mode}; convert it to L or RGB")
    if not all(image.size):
        raise ValueError(f"a PIL image of {image.width} x {image.height} pixels")
    upright = ImageOps.exif_transpose(image)
    return _save(upright if upright.mode in _PNG_MODES else upright.convert("RGB"))


def _save(image: Image.Image) -> bytes:
    with io.BytesIO() as file:
        image.save(file, "PNG", compress_level=1)
        return file.getvalue()


def _to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(
            f"an array of shape {list(pixels.shape)}; expected [height, width] or [height, width, channels]"
        )
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        raise ValueError("an array of bool; expected uint8. Convert it: images.astype('uint8') * 255")
    whole = np.nan_to_num(pixels.astype(np.float64), nan=-1.0).round().clip(0, 255).astype(np.uint8)
    # For floats that are 0 or 1, it is unknown whether 1 is white or almost black.
    is_unclear = pixels.dtype.kind == "f" and pixels.max() == 1
    if is_unclear or not np.array_equal(whole, pixels):
        low, high = pixels.min(), pixels.max()
        raise ValueError(
            f"{pixels.dtype} pixels from {low:g} to {high:g}; expected whole numbers from 0 to 255. Convert them: "
            "images.round().astype('uint8'), or (images * 255).round().astype('uint8') if they are in 0..1"
        )
    return whole
