"""Images as the model takes them: decoded, upright, on white, and square. Needs NumPy and Pillow."""

import contextlib
import io
from pathlib import Path

import numpy as np
from PIL import Image


def from_argument(argument):
    """Return the bytes of a file."""
    return Path(argument).read_bytes()


def load(folder, description):
    """Return a function from the bytes of an image file to the model's tensors."""
    Image.MAX_IMAGE_PIXELS = None  # the description has a limit of its own
    return lambda content: {"pixels": read(content, description["preprocessing"])}


def read(content, rule):
    """Return float32[size, size, channels] in 0..255."""
    x, channels = decode(content, rule["max_pixels"]).astype(np.float32), rule["channels"]
    if channels in (1, 3) and x.shape[2] in (2, 4):  # the last one is alpha
        x = x[..., :-1] * (x[..., -1:] / 255) + 255 * (1 - x[..., -1:] / 255)
    if channels == 1 and x.shape[2] == 3:
        x = x @ np.float32([[0.2989], [0.587], [0.114]])
    height, width, found = x.shape
    if found != channels and (found, channels) != (1, 3):
        raise ValueError(f"an image of {found} channels")
    rows, columns = weights(height, width, rule), weights(width, height, rule)
    x = 255 - np.moveaxis(np.tensordot(columns, np.tensordot(rows, 255 - x, (1, 0)), (1, 1)), 0, 1)
    return np.repeat(x, channels // x.shape[2], axis=2).clip(0, 255)


def decode(content, most):
    """Return uint8[height, width, channels], upright."""
    if content.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(content)).astype(np.uint8, casting="no")
    with Image.open(io.BytesIO(content), formats=["BMP", "GIF", "JPEG", "PNG", "WEBP"]) as image:
        if image.width * image.height > most:
            raise ValueError(f"more than {most} pixels")
        mode = {"1": "L", "P": "RGB", "PA": "RGBA"}.get(image.mode, image.mode)
        x = np.atleast_3d(image.convert("RGBA" if "transparency" in image.info else mode)).astype(int)
        exif = Image.Exif()
        with contextlib.suppress(Exception):  # damaged EXIF is ignored
            exif.load(image.info.get("exif", b""))
    if image.format == "GIF" and x.shape[2] == 4:
        x = np.where(x[..., 3:] > 0, x[..., :3], 255)
    x = x >> 8 if mode.startswith("I") else x  # 16 bits
    x = (255 - x[..., :3]) * (255 - x[..., 3:]) // 255 if mode == "CMYK" else x
    turn = exif.get(0x0112, 1)
    x = x.swapaxes(0, 1) if turn in (5, 6, 7, 8) else x
    x = x[:, ::-1] if turn in (2, 3, 6, 7) else x
    return x[::-1] if turn in (3, 4, 7, 8) else x


def weights(old, other, rule):
    """Return float32[size, old]: a triangle that widens as the image shrinks, as TensorFlow resizes with antialias."""
    size, kept = rule["size"], min(old, other) if rule["resize"] == "crop" else old
    padded = int(np.round(np.float32(old) * (np.float32(size) / np.float32(max(old, other)))))
    new = max(padded, 1) if rule["resize"] == "pad" else size
    distances = np.arange(kept) + 0.5 - (np.arange(new)[:, None] + 0.5) * kept / new
    triangle = np.maximum(1 - np.abs(distances) / max(kept / new, 1), 0)
    whole, top, left = np.zeros((size, old), np.float32), (size - new) // 2, (old - kept) // 2
    whole[top : top + new, left : left + kept] = triangle / triangle.sum(axis=1, keepdims=True)
    return whole  # remaining zeros become white
