"""Code that is copied next to exported models reads images as the reader does, with Pillow and NumPy."""

import io
import runpy

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.data.formats.images import decode_image
from keras_transfer.data.readers.base import CLIENTS

# Of 255: sums in another order. Grey of a palette is a mean of equal colours, whose weights have the sum 0.9999.
LEVELS = 2e-3


def draw(height, width, channels):
    random = np.random.default_rng(height + channels)
    small = random.integers(0, 256, (height // 6, width // 6, channels), np.uint8)
    planes = [Image.fromarray(small[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def encode(image, kind, **options):
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def make_files():
    colour, alpha, ink = (draw(97, 151, channels) for channels in (3, 4, 4))
    rgb, rgba, grey = Image.fromarray(colour), Image.fromarray(alpha), Image.fromarray(draw(60, 40, 1)[..., 0])
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    files = {
        "JPEG": encode(rgb, "JPEG", quality=80),
        "grey JPEG": encode(grey, "JPEG"),
        "CMYK JPEG": encode(Image.fromarray(ink, "CMYK"), "JPEG"),
        "PNG": encode(rgb, "PNG"),
        "PNG with alpha": encode(rgba, "PNG"),
        "grey PNG with alpha": encode(Image.merge("LA", (grey, grey)), "PNG"),
        "PNG with a transparent colour": encode(rgb, "PNG", transparency=tuple(map(int, colour[0, 0]))),
        "PNG with a palette": encode(palette, "PNG", transparency=3),
        "PNG of 16 bits": encode(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "PNG of 1 bit": encode(grey.convert("1"), "PNG"),
        "GIF": encode(palette, "GIF", transparency=5),
        "BMP with a palette": encode(palette, "BMP"),
        "WebP": encode(rgba, "WEBP"),
        "tiny": encode(rgb.resize((7, 3)), "PNG"),
    }
    for turn in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        files[f"turned {turn}"] = encode(rgb, "JPEG" if turn % 2 else "PNG", exif=exif)
    with io.BytesIO() as file:
        np.save(file, colour)
        files["npy"] = file.getvalue()
    return files


@pytest.mark.parametrize(("resize", "channels"), [("crop", 3), ("pad", 3), ("stretch", 1)])
def test_pixels_match_the_reader(resize, channels):
    read = runpy.run_path(str(CLIENTS / "images.py"))["read"]
    rule = {"size": 48, "resize": resize, "channels": channels, "max_pixels": 10**6}
    differences = {
        name: np.abs(
            read(content, rule) - decode_image(tf.constant(content), size=48, resize=resize, channels=channels)
        ).max()
        for name, content in make_files().items()
    }
    allowed = {name: 0.03 if channels == 1 else LEVELS for name in differences}
    assert {name: value for name, value in differences.items() if not value <= allowed[name]} == {}


@pytest.mark.parametrize(
    ("name", "channels", "pixels"),
    [
        pytest.param("JPEG", 3, 14_646, id="more pixels than allowed"),
        pytest.param("PNG", 4, 10**6, id="other channels"),
        pytest.param("GIF", 4, 10**6, id="a transparent GIF has no alpha"),
        pytest.param("cut off", 3, 10**6, id="cut off"),
        pytest.param("TIFF", 3, 10**6, id="a format that the reader does not take"),
        pytest.param("floats", 3, 10**6, id="an array of floats"),
    ],
)
def test_what_the_reader_refuses_is_refused(name, channels, pixels):
    read, files = runpy.run_path(str(CLIENTS / "images.py"))["read"], make_files()
    files |= {"cut off": files["JPEG"][:500], "TIFF": encode(Image.fromarray(draw(30, 30, 3)), "TIFF")}
    with io.BytesIO() as file:
        np.save(file, draw(30, 30, 3).astype(np.float32))
        files["floats"] = file.getvalue()
    with pytest.raises((OSError, ValueError, TypeError)):
        read(files[name], {"size": 48, "resize": "crop", "channels": channels, "max_pixels": pixels})
